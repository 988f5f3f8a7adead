"""Reads folders of GeoTIFF tiles with any sensors and classes (see README.md here)."""

import functools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from data.reading import location, raw
from data.reading.raw import DataError, parse_day_number
from data.tiles.description import WHERE, Description, Sensor, read_description
from data.tiles.layout import DATES_TAG, DESCRIPTION, LABELS
from omnisat_jax.dates import YEARS, find_date
from omnisat_jax.errors import UserError
from omnisat_jax.files.geotiff import GeoTIFF, is_geotiff, open_geotiff
from omnisat_jax.files.geotiff_sidecars import SIDECARS
from omnisat_jax.files.paths import below, entries, need_folder
from omnisat_jax.missing import NO_DATA_INT16
from omnisat_jax.rasters.bands import BandNames
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

__all__ = ["READING", "WHERE", "open_raw", "raw_files"]
READING = 2  # raised whenever the same files are read as other values, so that no records of before are used; 2: known bands of partly unknown pixels are kept
SAME_PLACE = 0.01  # pixels by which a sensor and the labels may be misaligned, due to rounding
SAME_NUMBER = 1e-9  # tolerated relative difference of two scales or offsets, due to rounding


def open_raw(root: StrPath, *, unlabelled: bool = False) -> raw.RawDataset:
    """Indexes a folder of tiles.

    Args:
      root: the folder.
      unlabelled: whether tiles without a file of labels have none; otherwise that is a fault.

    Raises:
      DataError: a description that is missing, unreadable or contradicts the files.
    """
    root = need_folder(root, what="a folder of tiles", advice=f"{WHERE}.")
    description = read_description(root)
    files = {name: _files(root, name, description) for name in (*description.sensors, LABELS)}
    for name, held in files.items():
        if not held and not (unlabelled and name == LABELS):
            advice = raw.LABEL_ADVICE if name == LABELS else f"{WHERE}."
            raise DataError(tile="-", path=root / name, expected=f"tiles of {name}, as dataset.json lists", found="none", advice=advice)
    if files[LABELS] and not description.classes:
        raise DataError(
            tile="-", path=root / DESCRIPTION, expected=f"classes and ignore, as there are files in {LABELS}", found="neither",
            advice="Name the classes, or remove the labels.",
        )  # fmt: skip
    sides = {name: raw.usual_size(held, functools.partial(_side, root, held)) for name, held in files.items() if held}
    # Labels that are not there are as fine as the finest sensor, so that they can be cut into any patches.
    sides.setdefault(LABELS, max(sides.values()))
    modalities = {
        name: raw.RawModality(
            sensor.kind, (sides[name], sides[name], len(sensor.bands)), sensor.dtype, sensor.bands, sensor.scale, sensor.offset,
            location.usual_pixel(files[name], root),
        )  # fmt: skip
        for name, sensor in description.sensors.items()
    }
    modalities["location"] = raw.location_modality()
    reader = _Reader(root, description, files, modalities, sides[LABELS])
    readers = {name: functools.partial(reader.sensor, name=name) for name in description.sensors}
    return raw.RawDataset(
        name=description.name,
        root=root,
        simulated=description.simulated,
        citation=description.citation,
        task="segment",
        classes=description.classes,
        ignore=description.ignore,
        background=description.background,
        label_side=sides[LABELS],
        modalities=modalities,
        parts=description.parts,
        readers=readers | {"location": reader.location},
        labels=reader.labels,
        path_of=reader.path_of,
        colours=description.colours,
        unlabelled=frozenset(set(description.tiles) - files[LABELS].keys()) if unlabelled else frozenset(),
    )


def raw_files(root: StrPath) -> list[pathlib.Path]:
    """Every file that determines the content of the records."""
    root = need_folder(root, what="a folder of tiles", advice=f"{WHERE}.")
    description = read_description(root)
    kinds = (*SIDECARS, ".tfw", ".tifw", ".wld")
    found = [path for name in (*description.sensors, LABELS) for path in entries(below(root, name)) if path.is_file()]
    return [root / DESCRIPTION, *(path for path in found if is_geotiff(path) or path.name.endswith(kinds))]


def _files(root: pathlib.Path, name: str, description: Description) -> dict[str, pathlib.Path]:
    """{tile: file} of the folder of a modality or of the labels, for the tiles that dataset.json lists."""
    tiles, found = set(description.tiles), {}
    folder = below(root, name)
    if folder.exists() and not folder.is_dir():
        raise DataError(tile="-", path=folder, expected="a folder of tiles", found="a file")
    for path in filter(is_geotiff, entries(folder)):
        if path.stem in found:
            raise DataError(tile=path.stem, path=path, expected="one GeoTIFF per tile", found=f"{found[path.stem].name} as well")
        if path.stem in tiles:
            found[path.stem] = path
    return found


def _side(root: pathlib.Path, files: Mapping[str, pathlib.Path], tile: str) -> int:
    """Pixels per side of a tile, from its header."""
    with open_geotiff(files[tile], tile=tile, root=root) as source:
        source.need()
        return source.width


class _Reader:
    """Reads single tiles.

    Attributes:
      root: the folder.
      description: content of dataset.json.
      files: modality or "labels" -> {tile: its file}.
      modalities: name -> how it is stored.
      label_side: pixels per side of labels.
    """

    def __init__(
        self,
        root: pathlib.Path,
        description: Description,
        files: Mapping[str, Mapping[str, pathlib.Path]],
        modalities: Mapping[str, raw.RawModality],
        label_side: int,
    ):
        self.root, self.description, self.files = root, description, files
        self.modalities, self.label_side = modalities, label_side

    def path_of(self, tile: str, name: str) -> pathlib.Path:
        folder = self._placed_by(tile) if name == "location" else name
        return self.files[folder].get(tile) or below(self.root, folder, f"{tile}.tif")

    def _placed_by(self, tile: str) -> str:
        """The folder whose file says where a tile lies: the labels, or the first sensor of a tile without labels."""
        return next((name for name in (LABELS, *self.description.sensors) if tile in self.files[name]), LABELS)

    def sensor(self, tile: str, name: str) -> raw.Entry:
        modality, sensor = self.modalities[name], self.description.sensors[name]
        path = self.files[name].get(tile)
        if path is None:
            return raw.absent(modality)

        def bands(tags: Mapping[str, str]) -> int:  # GDAL calls the last of four uint8 bands alpha
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
                tile=tile, path=path, expected="no unknown pixel, as uint8 cannot represent it",
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
        dates = np.array([parse_day_number(day) for day in days], np.int32)
        frames, dates = raw.sort_by_date(tile, path, frames, dates)
        if modality.dtype == "float32":
            frames, valid = raw.mask_floats(frames)
        else:  # a pixel may be known in some bands only
            valid = np.any(raw.known_values(frames), axis=(1, 2, 3))
        return {"values": frames, "dates": dates, "valid": valid}

    def location(self, tile: str) -> raw.Entry:
        """Longitude and latitude of the center of the labels, or of the first sensor of a tile without labels."""
        name = self._placed_by(tile)
        path = self.files[name].get(tile)
        if path is None:
            return raw.absent(self.modalities["location"])
        with open_geotiff(path, tile=tile, what=f"{name}: a GeoTIFF", root=self.root) as source:
            footprint = source.footprint
        if footprint is None:
            return raw.absent(self.modalities["location"], remark=f"its {name} has no coordinate reference system")
        return {"values": location.place_of(footprint, tile, path).centre[None].astype(np.float32)}

    def labels(self, tile: str) -> raw.Entry:
        path, classes, side = self.path_of(tile, LABELS), len(self.description.classes), self.label_side
        ignore = self.description.ignore
        raw.need_labels(path, tile)
        with open_geotiff(path, tile=tile, what="labels: a GeoTIFF", root=self.root) as source:
            source.need(bands=1, side=side, dtype="uint8", what="labels:")
            source.need_plain()
            _ = source.footprint  # raises if it is incomplete
            values, known = source.read()
        labels = np.where(known, values, ignore).astype(np.uint8)
        wrong = (labels >= classes) & (labels != ignore)
        if wrong.any():
            expected = f"classes 0 to {classes - 1}, or {ignore} for unknown"
            raise DataError(tile=tile, path=path, expected=expected, found=f"{int(labels[wrong][0])}")
        return {"labels": labels[0], "parcels": np.zeros((side, side), np.int64)}

    def _need_form(self, source: GeoTIFF, modality: raw.RawModality, days: Sequence[str]) -> None:
        side, _, bands = modality.shape
        # uint8 files with unknown pixels are declared as int16, which can represent them.
        narrow = modality.dtype == "int16" and set(source.dtypes) == {"uint8"}
        what = f"{number_of(len(days), 'date')} of {number_of(bands, 'band')}:" if modality.kind == "series" else ""
        source.need(bands=len(days) * bands, side=side, dtype="uint8" if narrow else modality.dtype, what=what)

    def _need_place(self, source: GeoTIFF) -> None:
        """Refuses a sensor that does not lie where the labels of its tile lie, or the first sensor of a tile without labels.

        A file that cannot be read is reported by its own reader.
        """
        name = self._placed_by(source.tile)
        path = self.files[name].get(source.tile)
        here = source.footprint
        if path is None or path == source.path:
            return
        what = "the labels" if name == LABELS else name
        try:
            with open_geotiff(path, tile=source.tile, what=f"{name}: a GeoTIFF", root=self.root) as first:
                there = first.footprint
        except DataError:
            return
        if here is None and there is None:
            return
        if here is None or there is None:
            missing = "no georeference" if here is None else f"{here}, while {what} {'have' if name == LABELS else 'has'} none"
            expected = f"{there}, like {what}" if there else f"no georeference, or {name} with one ({path.name})"
            raise source.error(expected, missing, "Write the reference system and the transform into the file.", "georeference")
        if found := there.differs(here, SAME_PLACE * min(here.pixel, there.pixel)):
            raise source.error(f"{there}, like {what}", found, "Cut the tile again.", "georeference")


def _frames(values: np.ndarray, order: Sequence[Sequence[int]]) -> np.ndarray:
    """(T*C,H,W) as (T,H,W,C), bands in the order of dataset.json."""
    stack = values.reshape(len(order), -1, *values.shape[1:])
    stack = np.stack([frame[list(bands)] for frame, bands in zip(stack, order, strict=True)])
    return np.ascontiguousarray(stack.transpose(0, 2, 3, 1))


def _days(source: GeoTIFF) -> tuple[str, ...]:
    """The dates in the tag of a tile."""
    days = tuple(source.tags.get(DATES_TAG, "").split(","))
    for day in days:
        if find_date(day) is None:
            raise source.error(
                f"dates YYYYMMDD from {YEARS[0]} to {YEARS[1]} in the tag {DATES_TAG}, joined by commas", f"{day!r}",
                "Write the tag (gdal_edit.py -mo), or cut the tiles again.",
            )  # fmt: skip
    return days


def _need_scale(source: GeoTIFF, sensor: Sensor, dates: int) -> None:
    """Refuses a tile whose scale and offset differ from those of dataset.json."""
    for what, found, expected in (("scale", source.scales, sensor.scale), ("offset", source.offsets, sensor.offset)):
        for number, (has, wanted) in enumerate(zip(found, expected * dates, strict=True)):
            if not abs(has - wanted) <= SAME_NUMBER * abs(wanted):
                band = sensor.bands[number % len(sensor.bands)]
                raise source.error(
                    f"{what} {wanted:.12g} of band {band}, as in dataset.json", f"{has:.12g}",
                    f'Correct the file (gdal_edit.py -{what}) or the "{what}" in dataset.json.',
                )  # fmt: skip


def _band_order(source: GeoTIFF, sensor: Sensor, days: Sequence[str]) -> list[tuple[int, ...]]:
    """For each date, the positions of the bands of dataset.json, from the descriptions in the file if it has any."""
    bands, rows = len(sensor.bands), []
    for number, day in enumerate(days):
        names = []
        for text in source.names[number * bands : (number + 1) * bands]:
            first, _, rest = text.partition(" ")
            if day and find_date(first) and first != day:
                raise source.error(f"bands of {day} at this position, as in the tag {DATES_TAG}", f"a band described as {text!r}")
            names.append(rest if day and first == day else text)
        rows.append(names)
    try:
        order = BandNames(source.path, rows[0], sensor.bands)
        return [order.order(source.path, names) for names in rows]
    except UserError as error:
        raise source.error(f"the bands {', '.join(sensor.bands)}, as in dataset.json", f"other descriptions ({error})") from error
