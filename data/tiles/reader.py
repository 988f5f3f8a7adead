"""Reads folders of GeoTIFF tiles, any sensors and classes (see README.md here)."""

import collections
import functools
import pathlib

import numpy as np

from data.reading import raw
from data.reading.raw import EPOCH, YEARS, DataError
from data.tiles.bands import BandNames
from data.tiles.description import WHERE, Sensor, read_description
from data.tiles.layout import DATES_TAG, DESCRIPTION, LABELS, parse_day
from omnisat_jax.errors import UserError
from omnisat_jax.files.geotiff import SIDECARS, Footprint, GeoTIFF, is_geotiff, open_geotiff
from omnisat_jax.files.paths import below, entries, need_folder
from omnisat_jax.missing import NO_DATA_INT16

__all__ = ["WHERE", "open_raw", "raw_files"]
SAMPLE = 32  # tiles whose headers say how large tiles are
SAME_PLACE = 0.01  # px that a sensor may lie away from the labels by, which is rounding
SAME_NUMBER = 1e-9  # relative difference of two scales or offsets that is rounding


def open_raw(root) -> raw.RawDataset:
    """Indexes a folder of tiles.

    Raises:
      DataError: a description that is missing, unreadable or contradicts the files.
    """
    root = need_folder(root, what="a folder of tiles", advice=f"{WHERE}.")
    about = read_description(root)
    files = {name: _files(root, name, about) for name in (*about.sensors, LABELS)}
    for name, held in files.items():
        if not held:
            raise DataError(tile="-", path=root / name, expected=f"tiles of {name}, as dataset.json lists", found="none", advice=f"{WHERE}.")
    sides = {name: _usual_side(root, held) for name, held in files.items()}
    modalities = {
        name: raw.RawModality(sensor.kind, (sides[name], sides[name], len(sensor.bands)), sensor.dtype, sensor.bands)
        for name, sensor in about.sensors.items()
    }
    modalities["location"] = raw.location_modality()
    reader = _Reader(root, about, files, modalities, sides[LABELS])
    readers = {name: functools.partial(reader.sensor, name=name) for name in about.sensors}
    return raw.RawDataset(
        name=about.name,
        root=root,
        simulated=about.simulated,
        citation=about.citation,
        task="segment",
        classes=about.classes,
        ignore=about.ignore,
        background=about.background,
        label_side=sides[LABELS],
        modalities=modalities,
        parts=about.parts,
        readers=readers | {"location": reader.location},
        labels=reader.labels,
        path_of=reader.path_of,
        colours=about.colours,
    )


def raw_files(root):
    """Every file that decides what the records hold."""
    root = need_folder(root, what="a folder of tiles", advice=f"{WHERE}.")
    about = read_description(root)
    kinds = (*SIDECARS, ".tfw", ".tifw", ".wld")
    found = [path for name in (*about.sensors, LABELS) for path in entries(below(root, name)) if path.is_file()]
    return [root / DESCRIPTION, *(path for path in found if is_geotiff(path) or path.name.endswith(kinds))]


def _files(root, name, about):
    """{tile: file} of one folder, only of tiles that dataset.json lists."""
    tiles, found = set(about.tiles), {}
    folder = below(root, name)
    if folder.exists() and not folder.is_dir():
        raise DataError(tile="-", path=folder, expected="a folder of tiles", found="a file")
    for path in filter(is_geotiff, entries(folder)):
        if path.stem in found:
            raise DataError(tile=path.stem, path=path, expected="one GeoTIFF per tile", found=f"{found[path.stem].name} as well")
        if path.stem in tiles:  # what dataset.json does not list is not part of the dataset
            found[path.stem] = path
    return found


def _usual_side(root, files):
    """Pixels per side of most of the tiles, by the headers of a sample: so that odd files are found, not all others.

    Raises:
      DataError: that of the first tile, where none of the sample can be read.
    """
    names = list(files)
    sample = names[:: max(1, -(-len(names) // SAMPLE))]
    sides, first = collections.Counter(), None
    for tile in sample:
        try:
            with open_geotiff(files[tile], tile=tile, root=root) as source:
                source.need()
                sides[source.width] += 1
        except DataError as error:
            first = first or error
    if not sides:
        raise first
    return sides.most_common(1)[0][0]


class _Reader:
    """Reads one tile."""

    def __init__(self, root, about, files, modalities, label_side):
        self.root, self.about, self.files = root, about, files
        self.modalities, self.label_side = modalities, label_side

    def path_of(self, tile, name) -> pathlib.Path:
        folder = LABELS if name == "location" else name
        return self.files[folder].get(tile) or below(self.root, folder, f"{tile}.tif")

    def sensor(self, tile, name):
        modality, sensor = self.modalities[name], self.about.sensors[name]
        path = self.files[name].get(tile)
        if path is None:
            return raw.absent(modality)

        def bands(tags):  # GDAL calls the last of four bytes alpha
            return len(sensor.bands) * (len(tags.get(DATES_TAG, "").split(",")) if sensor.kind == "series" else 1)

        with open_geotiff(path, tile=tile, what=f"a tile of {name}: a GeoTIFF", root=self.root, bands=bands) as source:
            days = _days(source) if sensor.kind == "series" else ("",)
            self._need_form(source, modality, days)
            _need_scale(source, sensor, len(days))
            order = _band_order(source, sensor, days)
            self._need_place(source)
            values, known = source.read()
        if modality.dtype == "uint8" and not known.all() and known.any():
            raise DataError(
                tile=tile, path=path, expected="no unknown pixel, as uint8 has no number for it",
                found=f"{(~known).mean():.1%} that the file declares unknown", advice=f'Give {name} "dtype": "int16" in dataset.json.',
            )  # fmt: skip
        if modality.dtype == "int16":
            values, known = values.astype(np.int16), known & (values.astype(np.int16) != NO_DATA_INT16)
        if not known.any():
            return raw.absent(modality, remark=f"{path.name} has no known pixel")
        frames, known = (_frames(array, order) for array in (values, known))
        if modality.dtype == "int16":
            frames = np.where(known, frames, np.int16(NO_DATA_INT16))
        elif modality.dtype == "float32":
            frames = np.where(known, frames, np.float32(np.nan))
        if sensor.kind == "image":
            return {"values": frames}
        dates = np.array([(parse_day(day) - EPOCH).days for day in days], np.int32)
        frames, dates = raw.sort_by_date(tile, path, frames, dates)
        if modality.dtype == "int16":
            frames, valid = raw.mask_integers(frames, (frames == NO_DATA_INT16).any(-1))
        elif modality.dtype == "float32":
            frames, valid = raw.mask_floats(frames)
        else:
            valid = np.ones(len(frames), bool)
        return {"values": frames, "dates": dates, "valid": valid}

    def location(self, tile):
        """Longitude and latitude of the centre of the labels."""
        path = self.files[LABELS].get(tile)
        if path is None:
            return raw.absent(self.modalities["location"])
        with open_geotiff(path, tile=tile, what="labels: a GeoTIFF", root=self.root) as source:
            footprint = source.footprint
            if footprint is None:
                return raw.absent(self.modalities["location"], remark="the labels have no coordinate reference system")
            place = _longitude_latitude(source, footprint)
        return {"values": place[None].astype(np.float32)}

    def labels(self, tile):
        path, classes, side = self.path_of(tile, LABELS), len(self.about.classes), self.label_side
        with open_geotiff(path, tile=tile, what="labels: a GeoTIFF", root=self.root) as source:
            source.need(bands=1, side=side, dtype="uint8", what="labels:")
            source.need_plain()
            _ = source.footprint  # raises where it is half there
            values, known = source.read()
        labels = np.where(known, values, self.about.ignore).astype(np.uint8)
        wrong = (labels >= classes) & (labels != self.about.ignore)
        if wrong.any():
            expected = f"classes 0 to {classes - 1}, or {self.about.ignore} where nothing is known"
            raise DataError(tile=tile, path=path, expected=expected, found=f"{int(labels[wrong][0])}")
        return {"labels": labels[0], "parcels": np.zeros((side, side), np.int64)}

    def _need_form(self, source, modality, days):
        side, _, bands = modality.shape
        # Unknown pixels of uint8 files need a type that has a number for them.
        narrow = modality.dtype == "int16" and set(source.dtypes) == {"uint8"}
        what = f"{len(days)} dates of {bands} bands:" if modality.kind == "series" else ""
        source.need(bands=len(days) * bands, side=side, dtype="uint8" if narrow else modality.dtype, what=what)

    def _need_place(self, source):
        """Refuses a sensor that lies elsewhere than the labels of its tile; labels that cannot be read are found by `labels`."""
        path = self.files[LABELS].get(source.tile)
        here = source.footprint
        if path is None:
            return
        try:
            with open_geotiff(path, tile=source.tile, what="labels: a GeoTIFF", root=self.root) as labels:
                there = labels.footprint
        except DataError:
            return
        if here is None and there is None:
            return
        if here is None or there is None:
            missing = "no place" if here is None else f"{here}, while the labels have none"
            expected = f"{there}, as the labels" if there else f"no place, or labels with one ({path.name})"
            raise source.error(expected, missing, "Write the reference system and the place into the file.", "georeference")
        if found := there.differs(here, SAME_PLACE * min(here.pixel, there.pixel)):
            raise source.error(f"{there}, as the labels", found, "Cut the tile again.", "georeference")


def _frames(values, order):
    """(T*C,H,W) as (T,H,W,C), bands in the order of dataset.json."""
    stack = values.reshape(len(order), -1, *values.shape[1:])
    stack = np.stack([frame[list(bands)] for frame, bands in zip(stack, order, strict=True)])
    return np.ascontiguousarray(stack.transpose(0, 2, 3, 1))


def _days(source: GeoTIFF) -> tuple[str, ...]:
    """The dates that a tile's tag lists."""
    days = tuple(source.tags.get(DATES_TAG, "").split(","))
    for day in days:
        if parse_day(day) is None:
            raise source.error(
                f"dates YYYYMMDD from {YEARS[0]} to {YEARS[1]} in the tag {DATES_TAG}, joined by commas", f"{day!r}",
                "Write the tag (gdal_edit.py -mo), or cut the tiles again.",
            )  # fmt: skip
    return days


def _need_scale(source: GeoTIFF, sensor: Sensor, dates: int):
    """Refuses a tile whose own scale and offset are others than those of dataset.json."""
    for what, found, expected in (("scale", source.scales, sensor.scale), ("offset", source.offsets, sensor.offset)):
        for number, (has, wanted) in enumerate(zip(found, expected * dates, strict=True)):
            if not abs(has - wanted) <= SAME_NUMBER * abs(wanted):
                band = sensor.bands[number % len(sensor.bands)]
                raise source.error(
                    f"{what} {wanted:.12g} of band {band}, as in dataset.json", f"{has:.12g}",
                    f'Correct the file (gdal_edit.py -{what}) or the "{what}" in dataset.json.',
                )  # fmt: skip


def _band_order(source: GeoTIFF, sensor: Sensor, days):
    """For each date the positions of the bands of dataset.json, by the descriptions of the file where it has some."""
    bands, rows = len(sensor.bands), []
    for number, day in enumerate(days):
        names = []
        for text in source.names[number * bands : (number + 1) * bands]:
            first, _, rest = text.partition(" ")
            if day and parse_day(first) and first != day:
                raise source.error(f"bands of {day} at this place, as the tag {DATES_TAG} says", f"a band described as {text!r}")
            names.append(rest if day and first == day else text)
        rows.append(names)
    try:
        order = BandNames(source.path, rows[0], sensor.bands)
        return [order.order(source.path, names) for names in rows]
    except UserError as error:
        raise source.error(f"the bands {', '.join(sensor.bands)}, as in dataset.json", f"other descriptions ({error})") from error


def _longitude_latitude(source: GeoTIFF, footprint: Footprint):
    try:
        place = footprint.longitude_latitude()
    except Exception as error:  # whatever the projection library says of numbers that lie nowhere
        raise source.error("a place on Earth", f"{footprint} ({error})", kind="georeference") from error
    if not (np.isfinite(place).all() and abs(place[0]) <= 180 and abs(place[1]) <= 90):
        raise source.error("a place on Earth", f"{footprint}", kind="georeference")
    return place
