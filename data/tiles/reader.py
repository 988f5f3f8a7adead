"""Reads folders of GeoTIFF tiles, any sensors and classes (see README.md here)."""

import functools
import json
import pathlib

import numpy as np
import rasterio

from data import location, raw
from data.pastis.reader import parse_dates
from data.raw import DataError
from data.tiles.layout import DATES_TAG, DESCRIPTION, DTYPES, KINDS, LABELS

WHERE = "A folder of tiles is cut from your own rasters by `python -m data.tiles.cut` (docs/your_data.md)"


def open_raw(root) -> raw.RawDataset:
    """Indexes a folder of tiles.

    Raises:
      DataError: a description that is missing, unreadable or contradicts the files.
    """
    root = pathlib.Path(root)
    about = _description(root / DESCRIPTION)
    parts = {part: tuple(map(str, tiles)) for part, tiles in about["parts"].items()}
    tiles = [tile for names in parts.values() for tile in names]
    if not tiles or len(set(tiles)) != len(tiles):
        raise DataError(
            tile="-",
            path=root / DESCRIPTION,
            expected="each tile in one part",
            found=f"{len(tiles)} tiles, {len(set(tiles))} names",
        )
    modalities = {}
    for name, entry in about["modalities"].items():
        held = [tile for tile in tiles if (root / name / f"{tile}.tif").is_file()]
        if not held:
            raise DataError(tile="-", path=root / name, expected=f"tiles of modality {name}", found="none")
        side = raw.usual(held, lambda tile, name=name: _open(tile, root / name / f"{tile}.tif").shape[-1])
        modalities[name] = raw.RawModality(entry["kind"], (side, side, len(entry["bands"])), entry["dtype"], tuple(entry["bands"]))
    label_side = raw.usual(tiles, lambda tile: _open(tile, root / LABELS / f"{tile}.tif").shape[-1])
    modalities["location"] = raw.location_modality()
    reader = _Reader(root, about, modalities, label_side)
    readers = {name: functools.partial(reader.sensor, name=name) for name in about["modalities"]}
    return raw.RawDataset(
        name=about["name"],
        root=root,
        simulated=bool(about.get("simulated", False)),
        citation=about["citation"],
        task="segment",
        classes=tuple(about["classes"]),
        ignore=about["ignore"],
        background=about.get("background", -1),
        label_side=label_side,
        modalities=modalities,
        parts=parts,
        readers=readers | {"location": reader.location},
        labels=reader.labels,
        path_of=reader.path_of,
        colours=tuple(about.get("colours", ())),
    )


def raw_files(root):
    """Every file that decides what the records hold."""
    root = pathlib.Path(root)
    return [path for path in (root / DESCRIPTION, *root.glob("*/*.tif")) if path.is_file()]


def _description(path):
    def need(condition, expected, found):
        if not condition:
            raise DataError(tile="-", path=path, expected=expected, found=found)

    try:
        about = json.loads(path.read_text())
    except FileNotFoundError:
        raise DataError(
            tile="-", path=path, expected="the description of the tiles", found="no such file", advice=WHERE + "."
        ) from None
    except ValueError as error:
        raise DataError(tile="-", path=path, expected="JSON", found=f"unreadable ({error})") from error
    wanted = ("name", "citation", "classes", "ignore", "modalities", "parts")
    missing = [key for key in wanted if key not in about]
    need(not missing, f"the keys {', '.join(wanted)}", f"no {', '.join(missing)}")
    need(1 < len(about["classes"]) < 255, "2 to 254 classes", f"{len(about['classes'])}")
    need(0 <= about["ignore"] <= 255, "ignore from 0 to 255", about["ignore"])
    need(len(about["classes"]) <= about["ignore"], f"ignore beyond the {len(about['classes'])} classes", about["ignore"])
    for name, entry in about["modalities"].items():
        need(entry.get("kind") in KINDS, f"kind of {name} among {', '.join(KINDS)}", repr(entry.get("kind")))
        need(entry.get("dtype") in DTYPES, f"dtype of {name} among {', '.join(DTYPES)}", repr(entry.get("dtype")))
        need(entry.get("bands"), f"names of the bands of {name}", "none")
    return about


def _open(tile, path, with_tags=False):
    """Bands of a GeoTIFF (N,H,W), and its tag of dates."""
    try:
        with rasterio.open(path) as source:
            values, tags = source.read(), source.tags()
    except rasterio.errors.RasterioError as error:
        raise DataError(
            tile=tile, path=path, expected="a GeoTIFF", found=f"an unreadable file ({error})", advice="Cut the tiles again."
        ) from error
    if values.shape[1] != values.shape[2]:
        raise DataError(tile=tile, path=path, expected="a square tile", found=f"{values.shape[1]}x{values.shape[2]} px")
    return (values, tags.get(DATES_TAG)) if with_tags else values


class _Reader:
    """Reads one tile."""

    def __init__(self, root, about, modalities, label_side):
        self.root, self.about, self.modalities, self.label_side = root, about, modalities, label_side

    def path_of(self, tile, name):
        return self.root / (LABELS if name == "location" else name) / f"{tile}.tif"

    def sensor(self, tile, name):
        modality, path = self.modalities[name], self.path_of(tile, name)
        if not path.is_file():
            return raw.absent(modality)
        values, tag = _open(tile, path, with_tags=True)
        side, _, bands = modality.shape
        if values.shape[1] != side or len(values) % bands or (modality.kind == "image" and len(values) != bands):
            expected = f"{'dates times ' if modality.kind == 'series' else ''}{bands} bands of {side}x{side} px"
            raise DataError(tile=tile, path=path, expected=expected, found=f"shape {values.shape}")
        if values.dtype != modality.dtype:
            raise DataError(tile=tile, path=path, expected=f"{modality.dtype}", found=f"{values.dtype}")
        frames = np.ascontiguousarray(values.reshape(-1, bands, side, side).transpose(0, 2, 3, 1))
        if modality.kind == "image":
            return {"values": frames}
        days = (tag or "").split(",")
        dates = parse_dates(tile, path, dict(enumerate(days)), name)
        frames, dates = raw.sort_by_date(tile, path, frames, dates)
        if modality.dtype == "int16":
            frames, valid = raw.mask_integers(frames, (frames == raw.NO_DATA_INT16).any(-1))
        elif modality.dtype == "float32":
            frames, valid = raw.mask_floats(frames)
        else:
            valid = np.ones(len(frames), bool)
        return {"values": frames, "dates": dates, "valid": valid}

    def location(self, tile):
        return location.of_geotiff(self.path_of(tile, "location"), tile)

    def labels(self, tile):
        path, classes, side = self.root / LABELS / f"{tile}.tif", len(self.about["classes"]), self.label_side
        labels = _open(tile, path)
        if labels.shape != (1, side, side) or labels.dtype != np.uint8:
            raise DataError(
                tile=tile, path=path, expected=f"uint8 labels (1, {side}, {side})", found=f"{labels.dtype} {labels.shape}"
            )
        wrong = (labels >= classes) & (labels != self.about["ignore"])
        if wrong.any():
            expected = f"classes 0 to {classes - 1}, or {self.about['ignore']} where nothing is known"
            raise DataError(tile=tile, path=path, expected=expected, found=f"{int(labels[wrong][0])}")
        return {"labels": labels[0], "parcels": np.zeros((side, side), np.int64)}
