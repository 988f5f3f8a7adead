"""Reads folders in PASTIS, PASTIS-R or PASTIS-HD layout (see README.md here), with whatever modalities they hold."""

import contextlib
import functools
import json
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from data.reading import location, raw
from data.reading.raw import DataError
from data.reading.sentinel import S2_BANDS, measured
from omnisat_jax.errors import Finding, reason
from omnisat_jax.files import paths
from omnisat_jax.files.geotiff import ImageForm, open_geotiff, read_image
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.files.npy import npy_shape, read_npy
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

CLASSES = (
    "Background", "Meadow", "Soft winter wheat", "Corn", "Winter barley", "Winter rapeseed", "Spring barley",
    "Sunflower", "Grapevine", "Beet", "Winter triticale", "Winter durum wheat", "Fruits, vegetables, flowers",
    "Potatoes", "Leguminous fodder", "Soybeans", "Orchard", "Mixed cereal", "Sorghum",
)  # fmt: skip
VOID = 19
CITATION = (
    "PASTIS (Garnot & Landrieu, ICCV 2021), PASTIS-R (Garnot et al., ISPRS 2022), PASTIS-HD (Astruc et al., ECCV 2024). "
    "Etalab Open Licence 2.0."
)
WHERE = (
    "PASTIS-HD is published at https://zenodo.org/records/10908628 (SPOT images; about 12 GB uncompressed) on top of PASTIS-R, "
    "https://zenodo.org/records/5735646 (Sentinel-1 and -2 series and labels; 54 GB zipped)"
)
# name -> (folder, file prefix, bands)
SERIES = {"s2": ("DATA_S2", "S2", 10), "s1a": ("DATA_S1A", "S1A", 3), "s1d": ("DATA_S1D", "S1D", 3)}
RADAR_BANDS = ("VV", "VH", "VV/VH")
SPOT = ("DATA_SPOT/PASTIS_SPOT6_RVB_1M00_2019", "SPOT6_RVB_1M00_2019", 3)
RESOLUTION = 10.0  # m per pixel of the series and the labels
SPOT_PIXELS = 10  # per side under a pixel of the series
ANNOTATIONS = "ANNOTATIONS"
METADATA = "metadata.geojson"
PARCELS = 10**9  # parcel numbers per place, at most


def open_raw(root: StrPath, *, unlabelled: bool = False) -> raw.RawDataset:
    """Indexes a folder in PASTIS layout.

    Args:
      root: the folder.
      unlabelled: whether tiles without a TARGET file have no labels; otherwise that is a fault.

    Raises:
      DataError: metadata that are missing, unreadable or without tiles; no modality; no readable labels, or no readable SPOT image.
    """
    root = paths.need_folder(root, what="a folder in PASTIS layout", advice="Check --config.data.raw_dir.")
    collection = read_json(
        root / METADATA, what="the tiles' metadata", root=root,
        advice="Check --config.data.raw_dir: it must be the folder that holds a complete metadata.geojson.",
    )  # fmt: skip
    features = _features(collection)
    _need_rows(root, features)
    held = {name: files for name in (*SERIES, "spot") if (files := _held(root, name, features))}
    if not held:
        raise DataError(
            tile="-", path=root, expected=f"one of the folders {', '.join(f[0] for f in (*SERIES.values(), SPOT))}",
            found="none with files of the metadata's tiles", advice="Check --config.data.raw_dir.",
        )  # fmt: skip
    reader = _Reader(root, features, held, *location.places(collection, features))
    without = frozenset(tile for tile in features if not os.path.lexists(reader.annotation(tile, "TARGET"))) if unlabelled else frozenset()
    labelled = [tile for tile in features if tile not in without]
    size = raw.usual_size(labelled or features, reader.label_side if labelled else reader.sensor_side)
    modalities = {}
    for name in held:
        if name == "spot":
            side = raw.usual_size(held[name], reader.spot_side)
            modalities[name] = raw.RawModality("image", (side, side, SPOT[2]), "uint8", ("R", "G", "B"), resolution=RESOLUTION / SPOT_PIXELS)
        else:
            dtype, bands = ("int16", S2_BANDS) if name == "s2" else ("float32", RADAR_BANDS)
            modalities[name] = raw.RawModality("series", (size, size, SERIES[name][2]), dtype, bands, resolution=RESOLUTION)
    if reader.places:
        modalities["location"] = raw.location_modality()
    reader.modalities, reader.size = modalities, size
    parts = {}
    for tile, feature in features.items():
        parts.setdefault(f"fold_{feature.get('properties').get('Fold').integer(1, 5)}", []).append(tile)
    readers = {name: functools.partial(reader.series, name=name) for name in modalities if name in SERIES}
    readers |= {name: getattr(reader, name) for name in modalities if name not in SERIES}
    return raw.RawDataset(
        name="pastis",
        root=root,
        simulated=collection.find("simulated", False).boolean(),
        citation=CITATION,
        task="segment",
        classes=CLASSES,
        ignore=VOID,
        background=0,
        label_side=size,
        modalities=modalities,
        parts={part: tuple(tiles) for part, tiles in sorted(parts.items())},
        readers=readers,
        labels=reader.labels,
        path_of=reader.path_of,
        inspect=reader.inspect,
        unlabelled=without,
    )


def raw_files(root: StrPath) -> list[pathlib.Path]:
    """Every file that determines the content of the records."""
    root = pathlib.Path(root)
    folders = [*(folder for folder, *_ in SERIES.values()), SPOT[0], ANNOTATIONS]
    files = [root / METADATA, *(path for folder in folders for path in paths.entries(root / folder))]
    return [path for path in files if path.is_file()]


def _features(collection: Value) -> dict[str, Value]:
    """{tile: its GeoJSON feature}; errors about a feature name its tile."""
    features = {}
    for feature in collection.get("features").list():
        tile = feature.get("properties").get("ID_PATCH").name("the number or name of a tile", number=True)
        if tile in features:
            raise feature.error("each ID_PATCH once", f"{tile} again")
        features[tile] = Value(feature.value, feature.path, feature.key, tile)
    if not features:
        raise collection.error("at least one tile", "none")
    return features


def _held(root: pathlib.Path, name: str, features: Mapping[str, Value]) -> dict[str, pathlib.Path]:
    """{tile: its file of a modality}, for tiles that have one."""
    found = raw.files_by_name(_path(root, name, "").parent)
    return {tile: found[path.name] for tile in features if (path := _path(root, name, tile)).name in found}


def _need_rows(root: pathlib.Path, features: Mapping[str, Value]) -> None:
    """Refuses files of tiles that the metadata do not list: they would be left out in silence.

    Raises:
      DataError: naming the first such tile.
    """
    for folder, prefix, suffix in (*((*spec[:2], ".npy") for spec in SERIES.values()), (*SPOT[:2], ".tif"), (ANNOTATIONS, "TARGET", ".npy")):
        files = {name.removeprefix(f"{prefix}_").removesuffix(suffix): path for name, path in raw.files_by_name(root / folder).items()}
        lost = [tile for tile, path in sorted(files.items()) if tile not in features and path.name.lower() == f"{prefix}_{tile}{suffix}".lower()]
        if lost:
            raise DataError(
                tile=lost[0], path=root / METADATA, expected=f"a feature for each tile with files, such as {files[lost[0]].name}",
                found=f"none for {number_of(len(lost), 'tile')} of {folder}",
                advice="Restore metadata.geojson from the archive, or move the files of tiles that are not to be used out of the folder.",
            )  # fmt: skip


def _path(root: pathlib.Path, name: str, tile: str) -> pathlib.Path:
    if name == "location":
        return root / METADATA
    folder, prefix, _ = SPOT if name == "spot" else SERIES[name]
    return root / folder / f"{prefix}_{tile}{'.tif' if name == 'spot' else '.npy'}"


def parse_dates(tile: str, path: StrPath, field: Any, name: str) -> np.ndarray:
    """Days since 1970-01-01 (T,) int32 from a dates field: a mapping of positions 0, 1, 2, ... to YYYYMMDD, or that mapping as a JSON string.

    Args:
      tile, path: for messages.
      field: value of the field in the metadata.
      name: sensor in the name of the field, such as "S2".

    Raises:
      DataError: another form, or a date that does not exist.
    """
    try:
        mapping = json.loads(field) if isinstance(field, str) else field
        if not isinstance(mapping, dict):
            raise ValueError(f"{type(mapping).__name__} instead of a mapping")
        dates = {str(position): value for position, value in mapping.items()}
        if wrong := set(dates) ^ set(map(str, range(len(dates)))):
            raise ValueError(f"positions {', '.join(sorted(wrong)[:5])} are missing or extra: expected 0, 1, 2, ...")
        return np.array([raw.parse_day_number(_digits(dates[str(position)])) for position in range(len(dates))], np.int32)
    except (ValueError, RecursionError) as error:
        raise DataError(
            tile=tile, path=path, expected=f"dates-{name} as {{position: YYYYMMDD}}", found=reason(error),
            advice="Correct the metadata of this tile.",
        ) from error  # fmt: skip


def _digits(value: object) -> str:
    """YYYYMMDD as a string, from a number or string; table software turns whole numbers into 20180917.0."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{type(value).__name__} instead of a date")
    return str(int(value)) if isinstance(value, float) and value.is_integer() and 0 < value < 1e9 else str(value)


class _Reader:
    """Reads single tiles.

    Attributes:
      root: the folder.
      features: tile -> its GeoJSON feature.
      held: modality -> {tile: its file}.
      places: tile -> where it lies.
      displaced: tile -> why its geometry gives no place.
      modalities: name -> how it is stored; set once the sizes are known.
      size: pixels per side of labels and series; set with the modalities.
    """

    def __init__(
        self,
        root: pathlib.Path,
        features: Mapping[str, Value],
        held: Mapping[str, Mapping[str, pathlib.Path]],
        places: Mapping[str, location.Place],
        displaced: Mapping[str, str],
    ):
        self.root, self.features, self.held, self.places, self.displaced = root, features, held, places, displaced
        self.modalities: dict[str, raw.RawModality] = {}
        self.size = 0
        # Parcel numbers that restart at each place are made unique by the place.
        location_ids = {tile: feature.get("properties").find("location_id").value for tile, feature in features.items()}
        numbers = {place: number for number, place in enumerate(sorted({str(place) for place in location_ids.values()}), 1)}
        self.numbering = {tile: numbers[str(place)] for tile, place in location_ids.items() if place is not None}

    def path_of(self, tile: str, name: str) -> pathlib.Path:
        return self.held.get(name, {}).get(tile) or _path(self.root, name, tile)

    def annotation(self, tile: str, name: str) -> pathlib.Path:
        return self.root / ANNOTATIONS / f"{name}_{tile}.npy"

    def label_side(self, tile: str) -> int:
        path = self.annotation(tile, "TARGET")
        raw.need_labels(path, tile)
        side = npy_shape(path, tile=tile, what="labels", rank=3, root=self.root)[-1]
        if not side:
            raise DataError(tile=tile, path=path, expected="labels of at least one pixel", found="none")
        return side

    def sensor_side(self, tile: str) -> int:
        """Pixels of 10 m per side of a tile without labels, from a series, or from the SPOT image if there is none."""
        for name in SERIES:
            if tile in self.held.get(name, {}):
                return npy_shape(self.held[name][tile], tile=tile, what="a series", rank=4, root=self.root)[-1]
        if tile not in self.held.get("spot", {}):
            raise DataError(tile=tile, path=self.root / METADATA, expected="a file of some sensor", found="none")
        side = self.spot_side(tile)
        if side % SPOT_PIXELS:
            raise DataError(
                tile=tile, path=self.held["spot"][tile], expected=f"a multiple of {SPOT_PIXELS} px of 1 m per side", found=f"{side}"
            )
        return side // SPOT_PIXELS

    def spot_side(self, tile: str) -> int:
        with open_geotiff(self.held["spot"][tile], tile=tile, what="a SPOT image", root=self.root, bands=SPOT[2]) as source:
            source.need(bands=SPOT[2], dtype="uint8", what="a SPOT image")
            return source.height

    def inspect(self, tile: str) -> Iterator[Finding]:
        """Dates out of order, geometries outside the Earth, and SPOT images that are not georeferenced."""
        metadata, properties = self.root / METADATA, self.features[tile].get("properties")
        for name, (_, prefix, _) in SERIES.items():
            field = properties.find(f"dates-{prefix}").value
            late = np.zeros(0, int)
            if name in self.modalities:
                with contextlib.suppress(DataError):  # `series` reports it
                    late = np.flatnonzero(np.diff(parse_dates(tile, metadata, field, prefix)) < 0)
            if len(late):
                found = f"position {late[0] + 1} before position {late[0]}"
                yield Finding("order", tile, str(metadata), f"ascending dates-{prefix}", found)
        if tile in self.displaced:
            yield Finding("georeference", tile, str(metadata), "a geometry on Earth", self.displaced[tile])
        yield from location.inspect_image(self.held.get("spot", {}).get(tile), tile, self.root)

    def spot(self, tile: str) -> raw.Entry:
        modality, path = self.modalities["spot"], self.held["spot"].get(tile)
        if path is None:
            return raw.absent(modality)
        form = ImageForm(bands=SPOT[2], side=modality.shape[0])
        values, footprint = read_image(path, form, tile=tile, what="a SPOT image like those of the other tiles", root=self.root)
        location.need_place(footprint, self.places.get(tile), tile=tile, path=path)
        return raw.image(modality, values)

    def location(self, tile: str) -> raw.Entry:
        if tile not in self.places:
            return raw.absent(self.modalities["location"])
        return {"values": self.places[tile].centre[None].astype(np.float32)}

    def series(self, tile: str, name: str) -> raw.Entry:
        _, prefix, bands = SERIES[name]
        modality, path = self.modalities[name], self.held[name].get(tile)
        if path is None:
            return raw.absent(modality)
        shape, kinds = (None, bands, self.size, self.size), "iu" if name == "s2" else "f"
        values = read_npy(path, tile=tile, what="a series", shape=shape, kinds=kinds, root=self.root)
        field = self.features[tile].get("properties").get(f"dates-{prefix}").value
        dates = parse_dates(tile, self.root / METADATA, field, prefix)
        values = np.ascontiguousarray(values.transpose(0, 2, 3, 1))
        known = measured(values) if name == "s2" else None
        return raw.series(modality, values, dates, tile=tile, path=path, known=known)

    def labels(self, tile: str) -> raw.Entry:
        path, shape = self.annotation(tile, "TARGET"), (self.size, self.size)
        raw.need_labels(path, tile)
        planes = read_npy(path, tile=tile, what="labels", shape=(None, *shape), kinds="iu", root=self.root)
        if not len(planes) or planes[0].min() < 0 or planes[0].max() > VOID:
            found = f"{planes.dtype} from {planes[0].min()} to {planes[0].max()}" if len(planes) else "no plane"
            raise DataError(tile=tile, path=path, expected=f"integer classes 0 to {VOID}", found=found)
        return {"labels": planes[0].astype(np.uint8), "parcels": self._parcels(tile, shape)}

    def _parcels(self, tile: str, shape: tuple[int, int]) -> np.ndarray:
        """(H,W) int64, unique over places; 0 where there is no parcel, or without a file of parcel numbers."""
        path = self.annotation(tile, "ParcelIDs")
        if not os.path.lexists(path):
            return np.zeros(shape, np.int64)
        numbers = read_npy(path, tile=tile, what="parcel numbers", shape=shape, kinds="iuf", root=self.root)
        numbers = numbers.astype(np.float64) if numbers.dtype.kind == "f" else numbers
        limit = PARCELS if tile in self.numbering else 2**53
        if not ((numbers > -limit) & (numbers < limit) & (numbers == np.rint(numbers))).all():
            found = f"{numbers.dtype} from {numbers.min()} to {numbers.max()}"
            raise DataError(tile=tile, path=path, expected=f"whole parcel numbers below {limit:,}", found=found)
        numbers = numbers.astype(np.int64)
        return np.where(numbers > 0, numbers + self.numbering[tile] * PARCELS, 0) if tile in self.numbering else numbers
