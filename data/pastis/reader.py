"""Reads folders in PASTIS, PASTIS-R or PASTIS-HD layout (see README.md here): whatever modalities they hold."""

import datetime
import functools
import json
import pathlib

import numpy as np

from data import raw
from data.location import centres, geotiff_centre, metres_between
from data.raw import DataError
from data.sentinel import S2_BANDS

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
# Level-2A reflectance x 10,000: values at or below this are fill, not ground.
LOWEST_S2 = -9_999
FARTHEST = 20.0  # m between the centres of a SPOT image and of its tile
EPOCH = datetime.date(1970, 1, 1)


def open_raw(root) -> raw.RawDataset:
    """Indexes a folder in PASTIS layout.

    Raises:
      DataError: metadata missing, unreadable or without tiles; no modality; no readable label, or no readable SPOT image.
    """
    root = pathlib.Path(root)
    features, places, simulated = _metadata(root)
    paths = {name: _paths(root, name, features) for name in (*SERIES, "spot")}
    held = {name: files for name, files in paths.items() if files}
    if not held:
        raise DataError(
            tile="-", path=root, expected=f"one of the folders {', '.join(f[0] for f in (*SERIES.values(), SPOT))}",
            found="none with files of the metadata's tiles", advice="Check --config.data.raw_dir.",
        )  # fmt: skip
    size = raw.first_readable(
        features, lambda tile: raw.load_array(_label_path(root, tile), tile=tile, rank=3, what="labels (3,H,W)").shape[-1]
    )
    modalities = {}
    for name in held:
        if name == "spot":
            side = raw.first_readable(held[name], lambda tile: _read_spot(tile, held["spot"][tile]).shape[0])
            modalities[name] = raw.RawModality("image", (side, side, SPOT[2]), "uint8", ("R", "G", "B"))
        else:
            dtype, bands = ("int16", S2_BANDS) if name == "s2" else ("float32", RADAR_BANDS)
            modalities[name] = raw.RawModality("series", (size, size, SERIES[name][2]), dtype, bands)
    if places:
        modalities["location"] = raw.location_modality()
    parts = {}
    for tile, properties in features.items():
        parts.setdefault(f"fold_{properties['Fold']}", []).append(tile)
    reader = _Reader(root, features, places, held, modalities, size)
    readers = {name: functools.partial(reader.series, name=name) for name in modalities if name in SERIES}
    readers |= {name: getattr(reader, name) for name in modalities if name not in SERIES}
    return raw.RawDataset(
        name="pastis",
        root=root,
        simulated=simulated,
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
    )


def raw_files(root):
    """Every file that decides what the records hold."""
    root = pathlib.Path(root)
    folders = [folder for folder, *_ in SERIES.values()] + [SPOT[0], "ANNOTATIONS"]
    metadata = root / "metadata.geojson"
    return ([metadata] if metadata.is_file() else []) + [
        path for folder in folders if (root / folder).is_dir() for path in (root / folder).iterdir() if path.is_file()
    ]


def _metadata(root):
    """Properties of every tile, centres of those whose geometry is known, and whether the folder calls itself simulated."""
    path = root / "metadata.geojson"
    if not root.is_dir():
        raise DataError(
            tile="-", path=root, expected="a folder in PASTIS layout", found="no such folder", advice="Check --config.data.raw_dir."
        )
    try:
        collection = json.loads(path.read_text())
        rows = [feature["properties"] for feature in collection["features"]]
        features = {str(row["ID_PATCH"]): row for row in rows}
        places = centres(collection, path)
    except FileNotFoundError:
        raise DataError(
            tile="-", path=path, expected="the tiles' metadata", found="no such file",
            advice="Check --config.data.raw_dir: it must be the folder that holds metadata.geojson.",
        ) from None  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            tile="-", path=path, expected="GeoJSON features with ID_PATCH, Fold and dates",
            found=f"unreadable metadata ({type(error).__name__}: {error})",
            advice="The file is truncated or of another kind: restore it.",
        ) from error  # fmt: skip
    if not features:
        raise DataError(tile="-", path=path, expected="at least one tile", found="none")
    if len(features) != len(rows):
        raise DataError(tile="-", path=path, expected="each ID_PATCH once", found=f"{len(rows) - len(features)} repeated")
    for tile, row in features.items():
        fold = row.get("Fold")
        if not isinstance(fold, int) or not 1 <= fold <= 5:
            raise DataError(tile=tile, path=path, expected="an integer Fold from 1 to 5", found=repr(fold))
    return features, places, bool(collection.get("simulated"))


def _path(root, name, tile):
    if name == "location":
        return root / "metadata.geojson"
    folder, prefix, _ = SPOT if name == "spot" else SERIES[name]
    return root / folder / f"{prefix}_{tile}{'.tif' if name == 'spot' else '.npy'}"


def _paths(root, name, features):
    candidates = {tile: _path(root, name, tile) for tile in features}
    return {tile: path for tile, path in candidates.items() if path.is_file()}


def _label_path(root, tile):
    return root / "ANNOTATIONS" / f"TARGET_{tile}.npy"


def parse_dates(tile, path, field, name):
    """Days since 1970-01-01 (T,) from a dates field: a mapping of position to YYYYMMDD, or that as a JSON string."""
    try:
        mapping = json.loads(field) if isinstance(field, str) else field
        items = sorted((int(position), int(value)) for position, value in mapping.items())
        if [position for position, _ in items] != list(range(len(items))):
            raise ValueError(f"positions {[p for p, _ in items][:5]}... are not 0, 1, 2, ...")
        return np.array([(datetime.date(v // 10_000, v // 100 % 100, v % 100) - EPOCH).days for _, v in items], np.int32)
    except (ValueError, AttributeError, TypeError) as error:
        raise DataError(
            tile=tile, path=path, expected=f"dates-{name} as {{position: YYYYMMDD}}", found=f"{str(field)[:60]!r} ({error})",
            advice="Correct the metadata of this tile.",
        ) from error  # fmt: skip


def _read_spot(tile, path):
    image = raw.load_geotiff(path, tile=tile, bands=SPOT[2], resolution="1 m")
    if image.shape[0] != image.shape[1]:
        raise DataError(tile=tile, path=path, expected="a square image", found=f"{image.shape[0]}x{image.shape[1]} px")
    return image


class _Reader:
    """Reads one tile; a class so that everything it needs is named."""

    def __init__(self, root, features, places, held, modalities, size):
        self.root, self.features, self.places = root, features, places
        self.held, self.modalities, self.size = held, modalities, size

    def path_of(self, tile, name):
        return _path(self.root, name, tile)

    def inspect(self, tile):
        """Dates out of order, and SPOT images that lie elsewhere than their tile."""
        metadata = self.root / "metadata.geojson"
        for name, (_, prefix, _) in SERIES.items():
            if name in self.modalities and f"dates-{prefix}" in self.features[tile]:
                dates = parse_dates(tile, metadata, self.features[tile][f"dates-{prefix}"], prefix)
                late = np.flatnonzero(np.diff(dates) < 0)
                if len(late):
                    yield "order", metadata, f"ascending dates-{prefix}", f"position {late[0] + 1} before position {late[0]}"
        path = self.path_of(tile, "spot")
        if "spot" in self.modalities and tile in self.places and path.is_file():
            found = geotiff_centre(path)
            if found is None:
                yield "georeference", path, "a coordinate reference system", "none"
            elif (away := metres_between(found, self.places[tile])) > FARTHEST:
                yield (
                    "georeference",
                    path,
                    f"the centre within {FARTHEST:.0f} m of the tile's in the metadata",
                    f"{away:,.0f} m away",
                )

    def spot(self, tile):
        path, side = self.held["spot"].get(tile), self.modalities["spot"].shape[0]
        if path is None:
            return raw.absent(self.modalities["spot"])
        image = _read_spot(tile, path)
        if len(image) != side:
            raise DataError(
                tile=tile, path=path, expected=f"{side}x{side} px as in the other tiles", found=f"{len(image)}x{len(image)} px"
            )
        return {"values": image[None]}

    def location(self, tile):
        if tile not in self.places:
            return raw.absent(self.modalities["location"])
        return {"values": self.places[tile][None]}

    def series(self, tile, name):
        _, prefix, bands = SERIES[name]
        size, dtype = self.size, np.dtype(self.modalities[name].dtype)
        path = self.held[name].get(tile)
        if path is None:
            return raw.absent(self.modalities[name])
        values = raw.load_array(path, tile=tile, rank=4, what=f"a series (T,{bands},{size},{size})")
        if values.shape[1:] != (bands, size, size):
            raise DataError(tile=tile, path=path, expected=f"shape (T, {bands}, {size}, {size})", found=f"shape {values.shape}")
        if values.dtype.kind not in ("iu" if name == "s2" else "f"):
            raise DataError(tile=tile, path=path, expected=f"{dtype} values", found=f"{values.dtype}")
        metadata = self.root / "metadata.geojson"
        if f"dates-{prefix}" not in self.features[tile]:
            raise DataError(tile=tile, path=metadata, expected=f"a field dates-{prefix}, as {path.name} exists", found="none")
        dates = parse_dates(tile, metadata, self.features[tile][f"dates-{prefix}"], prefix)
        values, dates = raw.sort_by_date(tile, path, values, dates)
        values = np.ascontiguousarray(values.transpose(0, 2, 3, 1))
        if name == "s2":
            # All bands exactly 0, or one at the fill level: nothing was measured there.
            missing = (values == 0).all(-1) | (values <= LOWEST_S2).any(-1)
            values, valid = raw.mask_integers(values.astype(np.int16), missing)
        else:
            values, valid = raw.mask_floats(values)
        return {"values": values, "dates": dates, "valid": valid}

    def labels(self, tile):
        path, size = _label_path(self.root, tile), self.size
        target = raw.load_array(path, tile=tile, rank=3, what=f"labels (3,{size},{size})")
        if target.shape[1:] != (size, size):
            found = f"{target.shape[1]}x{target.shape[2]} px"
            raise DataError(tile=tile, path=path, expected=f"labels of {size}x{size} px, as the images", found=found)
        labels = target[0]
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > VOID:
            found = f"{labels.dtype} from {labels.min()} to {labels.max()}"
            raise DataError(tile=tile, path=path, expected=f"integer classes 0 to {VOID}", found=found)
        parcels = self.root / "ANNOTATIONS" / f"ParcelIDs_{tile}.npy"
        numbers = np.zeros((size, size), np.int64)
        if parcels.is_file():
            numbers = raw.load_array(parcels, tile=tile, rank=2, what=f"parcel numbers ({size},{size})").astype(np.int64)
            if numbers.shape != (size, size):
                raise DataError(tile=tile, path=parcels, expected=f"{size}x{size} px", found=f"{numbers.shape}")
        # Numbers that are counted anew at each place are made unique by the place.
        place = self.features[tile].get("location_id")
        if place is not None:
            places = sorted({str(row.get("location_id")) for row in self.features.values()})
            numbers = np.where(numbers > 0, numbers + (1 + places.index(str(place))) * 10**9, 0)
        return {"labels": labels.astype(np.uint8), "parcels": numbers}
