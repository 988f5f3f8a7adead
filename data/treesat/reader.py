"""Reads folders in TreeSatAI-Time-Series layout (see README.md here)."""

import functools
import json
import pathlib

import h5py
import numpy as np

from data import location, raw
from data.raw import DataError
from data.sentinel import CLOUDY, S2_BANDS, product_day

CLASSES = (
    "Abies", "Acer", "Alnus", "Betula", "Cleared", "Fagus", "Fraxinus", "Larix", "Picea", "Pinus", "Populus", "Prunus",
    "Pseudotsuga", "Quercus", "Tilia",
)  # fmt: skip
CITATION = "TreeSatAI (Ahlswede et al., ESSD 2023), TreeSatAI-Time-Series (Astruc et al., ECCV 2024). CC-BY-4.0."
WHERE = (
    "TreeSatAI-Time-Series is published at https://huggingface.co/datasets/IGNF/TreeSatAI-Time-Series "
    "(aerial images, Sentinel-1 and -2 series, labels, splits; 50,381 tiles)"
)
LABELS = "labels/TreeSatBA_v9_60m_multi_labels.json"
PARTS = {"train": "train_filenames.lst", "validation": "val_filenames.lst", "test": "test_filenames.lst"}
SERIES = {"s2": ("sen-2", 10), "s1a": ("sen-1-asc", 2), "s1d": ("sen-1-des", 2)}
PIXELS = 6  # side of the Sentinel windows, 10 m
AERIAL = 300  # px of 0.2 m kept: the 60 m that the Sentinel windows cover, out of 304
MODALITIES = {
    name: raw.RawModality("series", (PIXELS, PIXELS, bands), *(("int16", S2_BANDS) if name == "s2" else ("float32", ("VV", "VH"))))
    for name, (_, bands) in SERIES.items()
} | {"aerial": raw.RawModality("image", (AERIAL, AERIAL, 4), "uint8", ("NIR", "R", "G", "B"))}
SHARE = 0.07  # area share above which a genus counts as present (the dataset's authors)


def open_raw(root) -> raw.RawDataset:
    """Indexes a folder in TreeSatAI-TS layout.

    Raises:
      DataError: labels or split lists missing, unreadable or inconsistent.
    """
    root = pathlib.Path(root)
    labels = _labels(root)
    parts = {}
    for part, name in PARTS.items():
        path = root / name
        if not path.is_file():
            raise DataError(
                tile="-",
                path=path,
                expected=f"the list of {part} tiles",
                found="no such file",
                advice="Check --config.data.raw_dir.",
            )
        tiles = [pathlib.Path(line.strip()).stem for line in path.read_text().splitlines() if line.strip()]
        unknown = [tile for tile in tiles if tile not in labels]
        if unknown:
            found = f"none for {len(unknown)} tiles"
            raise DataError(tile=unknown[0], path=root / LABELS, expected=f"labels of every tile of {name}", found=found)
        parts[part] = tuple(tiles)
    reader = _Reader(root, labels)
    readers = {name: functools.partial(reader.series, name=name) for name in SERIES} | {"aerial": reader.aerial}
    modalities = MODALITIES
    # Whether images are georeferenced is told by the first that is there.
    image = next((path for tiles in parts.values() for tile in tiles if (path := reader.path_of(tile, "aerial")).is_file()), None)
    if image and len(location.of_geotiff(image, image.stem)["values"]):
        modalities, readers = modalities | {"location": raw.location_modality()}, readers | {"location": reader.location}
    return raw.RawDataset(
        name="treesat",
        root=root,
        simulated=raw.is_simulated(root),
        citation=CITATION,
        task="classify",
        classes=CLASSES,
        ignore=-1,
        background=-1,
        label_side=0,
        modalities=modalities,
        parts=parts,
        readers=readers,
        labels=reader.labels,
        path_of=reader.path_of,
    )


def raw_files(root):
    """Every file that decides what the records hold."""
    root = pathlib.Path(root)
    files = [root / LABELS, *(root / name for name in PARTS.values())]
    files += [path for folder in ("aerial", "sentinel") if (root / folder).is_dir() for path in (root / folder).iterdir()]
    return [path for path in files if path.is_file()]


def _labels(root):
    path = root / LABELS
    try:
        table = json.loads(path.read_text())
        return {pathlib.Path(name).stem: {genus: float(share) for genus, share in rows} for name, rows in table.items()}
    except FileNotFoundError:
        raise DataError(
            tile="-", path=path, expected="the label table", found="no such file", advice="Check --config.data.raw_dir."
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(tile="-", path=path, expected="{file: [[genus, share], ...]}", found=f"unreadable ({error})") from error


def decibels(linear):
    """10 log10 of linear power, float32; zero, negative and non-finite power is no data (NaN)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.isfinite(linear) & (linear > 0), 10 * np.log10(linear), np.nan).astype(np.float32)


class _Reader:
    """Reads one tile."""

    def __init__(self, root, table):
        self.root, self.table = root, table

    def path_of(self, tile, name):
        return self.root / "sentinel" / f"{tile}.h5" if name in SERIES else self.root / "aerial" / f"{tile}.tif"

    def labels(self, tile):
        present = {genus for genus, share in self.table[tile].items() if share > SHARE}
        unknown = present - set(CLASSES)
        if unknown:
            raise DataError(
                tile=tile, path=self.root / LABELS, expected=f"genera among {', '.join(CLASSES)}", found=", ".join(sorted(unknown))
            )
        return {"labels": np.array([genus in present for genus in CLASSES], np.float32)}

    def series(self, tile, name):
        path = self.path_of(tile, name)
        if not path.is_file():
            return raw.absent(MODALITIES[name])
        try:
            with h5py.File(path, "r") as source:
                return self._series(tile, path, source, name, *SERIES[name])
        except OSError as error:
            raise DataError(
                tile=tile, path=path, expected="a readable HDF5 file", found=f"{path.stat().st_size} bytes ({error})",
                advice="It is truncated or damaged: restore it from the archive.",
            ) from error  # fmt: skip

    def aerial(self, tile):
        path = self.path_of(tile, "aerial")
        if not path.is_file():
            return raw.absent(MODALITIES["aerial"])
        image = raw.load_geotiff(path, tile=tile, bands=MODALITIES["aerial"].shape[-1], resolution="0.2 m")
        if min(image.shape[:2]) < AERIAL:
            found = f"{image.shape[0]}x{image.shape[1]} px"
            raise DataError(tile=tile, path=path, expected=f"at least {AERIAL}x{AERIAL} px", found=found)
        top, left = (image.shape[0] - AERIAL) // 2, (image.shape[1] - AERIAL) // 2
        return {"values": np.ascontiguousarray(image[top : top + AERIAL, left : left + AERIAL])[None]}

    def location(self, tile):
        return location.of_geotiff(self.path_of(tile, "location"), tile)

    def _series(self, tile, path, source, name, prefix, bands):
        if f"{prefix}-data" not in source or not len(source[f"{prefix}-data"]):
            return raw.absent(MODALITIES[name])
        values = source[f"{prefix}-data"][:]
        if values.ndim != 4 or values.shape[1:] != (bands, PIXELS, PIXELS):
            expected = f"shape (T, {bands}, {PIXELS}, {PIXELS})"
            raise DataError(tile=tile, path=f"{path}:{prefix}-data", expected=expected, found=f"shape {values.shape}")
        if f"{prefix}-products" not in source:
            raise DataError(tile=tile, path=f"{path}:{prefix}-products", expected="product names with the dates", found="none")
        dates = [product_day(tile, path, product) for product in source[f"{prefix}-products"][:]]
        clouded = np.zeros(values.shape[:1] + values.shape[2:], bool)
        masks = source.get(f"{prefix}-masks")
        # Two layers are snow and cloud probability; some files carry a copy of the bands' shape instead, which is no mask.
        if masks is not None and masks.shape == (len(values), 2, PIXELS, PIXELS):
            clouded = (np.nan_to_num(masks[:], nan=100.0) > CLOUDY).any(1)
        stacked = np.concatenate([values, clouded[:, None].astype(values.dtype)], 1)
        stacked, dates = raw.sort_by_date(tile, f"{path}:{prefix}-data", stacked, dates)
        values, clouded = np.ascontiguousarray(stacked[:, :-1].transpose(0, 2, 3, 1)), stacked[:, -1] > 0
        if name == "s2":
            missing = clouded | ~np.isfinite(values).all(-1) | (values == 0).all(-1)
            rounded = np.clip(np.round(np.nan_to_num(values)), 0, np.iinfo(np.int16).max).astype(np.int16)
            values, valid = raw.mask_integers(rounded, missing)
        else:
            values, valid = raw.mask_floats(decibels(values))
        return {"values": values, "dates": dates, "valid": valid}
