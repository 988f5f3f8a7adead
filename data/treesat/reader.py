"""Reads folders in TreeSatAI-Time-Series layout (see README.md here)."""

import contextlib
import functools
import os
import pathlib
import re
from collections.abc import Iterator, Mapping

import numpy as np

from data.reading import location, raw
from data.reading.raw import DataError
from data.reading.sentinel import S2_BANDS, cloudy, decibels, harmonise, inspect_baselines, measured, product_day
from omnisat_jax.errors import Finding
from omnisat_jax.files import paths
from omnisat_jax.files.geotiff import ImageForm, read_image
from omnisat_jax.files.hdf5 import open_hdf5
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.files.text_file import read_lines
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

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
PIXELS = 6  # per side of the Sentinel windows, 10 m
PIXEL = 0.2  # m of the aerial image
AERIAL = 300  # central pixels of 0.2 m that are used: the 60 m that the Sentinel windows cover, out of 304
MODALITIES = {
    name: raw.RawModality(
        "series", (PIXELS, PIXELS, bands), *(("int16", S2_BANDS) if name == "s2" else ("float32", ("VV", "VH"))), resolution=10.0
    )
    for name, (_, bands) in SERIES.items()
} | {"aerial": raw.RawModality("image", (AERIAL, AERIAL, 4), "uint8", ("NIR", "R", "G", "B"), resolution=PIXEL)}
ADVICE = "Check --config.data.raw_dir."
SHARE = 0.07  # area share above which a genus counts as present (as in the authors' benchmark)


def open_raw(root: StrPath, *, unlabelled: bool = False) -> raw.RawDataset:
    """Indexes a folder in TreeSatAI-TS layout.

    Args:
      root: the folder.
      unlabelled: whether tiles without an entry in the table of labels, or all tiles if there is no table, have no labels; otherwise that is
        a fault.

    Raises:
      DataError: labels or lists of tiles that are missing, unreadable or inconsistent; no image.
    """
    root = paths.need_folder(root, what="a folder in TreeSatAI-TS layout", advice=ADVICE)
    # Data that never had labels have no table. A broken link to one is refused.
    table = {} if unlabelled and not os.path.lexists(root / LABELS) else _table(root)
    parts = {part: _tiles(root, part, None if unlabelled else table) for part in PARTS}
    parts = {part: tiles for part, tiles in parts.items() if tiles or not unlabelled}
    held = {folder: {_tile(name): path for name, path in raw.files_by_name(root / folder).items()} for folder in ("aerial", "sentinel")}
    if not any(held.values()):
        raise DataError(tile="-", path=root, expected="files in aerial or sentinel", found="none", advice=ADVICE)
    reader = _Reader(root, table, held)
    modalities, readers = dict(MODALITIES), {name: functools.partial(reader.series, name=name) for name in SERIES} | {"aerial": reader.aerial}
    images = {tile: held["aerial"][tile] for tiles in parts.values() for tile in tiles if tile in held["aerial"]}
    if location.any_georeferenced(images, root):
        modalities["location"], readers["location"] = raw.location_modality(), reader.location
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
        inspect=reader.inspect,
        unlabelled=frozenset(tile for tiles in parts.values() for tile in tiles if tile not in table),
    )


def raw_files(root: StrPath) -> list[pathlib.Path]:
    """Every file that determines the content of the records."""
    root = pathlib.Path(root)
    files = [root / LABELS, *(root / name for name in PARTS.values())]
    files += [path for folder in ("aerial", "sentinel") for path in paths.entries(root / folder)]
    return [path for path in files if path.is_file()]


def _tile(name: str) -> str:
    """The id of a tile, from a file name; ids may contain dots."""
    return re.sub(r"\.(tiff?|h5)$", "", name, flags=re.IGNORECASE)


def _table(root: pathlib.Path) -> dict[str, Value]:
    """{tile: its row of the label table}."""
    advice = ADVICE if os.path.lexists(root / LABELS) else raw.LABEL_ADVICE
    rows = read_json(root / LABELS, what="the label table", root=root, advice=advice)
    table = {_tile(name): Value(row.value, row.path, row.key, _tile(name)) for name, row in rows.items().items()}
    if len(table) != len(rows.items()):
        raise rows.error("each tile once", "names that differ only in their suffix")
    return table


def _tiles(root: pathlib.Path, part: str, table: Mapping[str, Value] | None) -> tuple[str, ...]:
    """Ids of the tiles of a part, all of which must be in `table` unless it is None."""
    path = root / PARTS[part]
    lines = read_lines(path, what=f"the list of {part} tiles", root=root, advice=ADVICE)
    tiles = tuple(paths.check_name(_tile(line), what="the name of a tile", path=path) for line in lines)
    unknown = [] if table is None else [tile for tile in tiles if tile not in table]
    if unknown:
        expected = f"labels of every tile of {path.name}"
        raise DataError(
            tile=unknown[0], path=root / LABELS, expected=expected, found=f"none for {number_of(len(unknown), 'tile')}",
            advice=raw.LABEL_ADVICE,
        )  # fmt: skip
    return tiles


class _Reader:
    """Reads single tiles.

    Attributes:
      root: the folder.
      table: tile -> its row of the label table.
      held: "aerial" or "sentinel" -> {tile: its file}.
    """

    def __init__(self, root: pathlib.Path, table: Mapping[str, Value], held: Mapping[str, Mapping[str, pathlib.Path]]):
        self.root, self.table, self.held = root, table, held

    def path_of(self, tile: str, name: str) -> pathlib.Path:
        folder, suffix = ("sentinel", "h5") if name in SERIES else ("aerial", "tif")
        return self.held[folder].get(tile) or self.root / folder / f"{tile}.{suffix}"

    def inspect(self, tile: str) -> Iterator[Finding]:
        """Images that are not georeferenced, and values of another scale."""
        yield from location.inspect_image(self.held["aerial"].get(tile), tile, self.root)
        with contextlib.suppress(DataError):  # `series` reports it
            stored = self._stored(tile, "s2") if tile in self.held["sentinel"] else None
            if stored is not None:
                yield from inspect_baselines(*stored, tile=tile, path=self.path_of(tile, "s2"))

    def labels(self, tile: str) -> raw.Entry:
        row = self.table[tile]
        shares = [entry.list(2) for entry in row.list()]
        genera = row.unique([genus.text("a genus") for genus, _ in shares])
        present = {genus for genus, (_, share) in zip(genera, shares, strict=True) if share.number(0, 1.001) > SHARE}
        if unknown := present - set(CLASSES):
            raise row.error(f"genera among {', '.join(CLASSES)}", ", ".join(sorted(unknown)))
        return {"labels": np.array([genus in present for genus in CLASSES], np.float32)}

    def aerial(self, tile: str) -> raw.Entry:
        modality, path = MODALITIES["aerial"], self.held["aerial"].get(tile)
        if path is None:
            return raw.absent(modality)
        form = ImageForm(bands=modality.shape[-1], crop=AERIAL)
        values, footprint = read_image(path, form, tile=tile, what="an aerial image", root=self.root)
        location.need_pixel(footprint, PIXEL, tile=tile, path=path)
        return raw.image(modality, values)

    def location(self, tile: str) -> raw.Entry:
        return location.location_of_geotiff(self.path_of(tile, "location"), tile, self.root)

    def series(self, tile: str, name: str) -> raw.Entry:
        stored = self._stored(tile, name) if tile in self.held["sentinel"] else None
        if stored is None:
            return raw.absent(MODALITIES[name])
        values, known, products = stored
        path = f"{self.path_of(tile, name)}:{SERIES[name][0]}-data"
        if not len(values):
            return raw.absent(MODALITIES[name], "a series without images")
        if name == "s2":
            values = harmonise(values, known, products, tile=tile, path=path)
        else:
            values = decibels(values, tile=tile, path=path)
        dates = [product_day(tile, path, product) for product in products]
        return raw.series(MODALITIES[name], values, dates, tile=tile, path=path, known=known)

    def _stored(self, tile: str, name: str) -> tuple[np.ndarray, np.ndarray, list[str]] | None:
        """A series as stored: values (T,6,6,C), pixels that are measured and not cloudy (T,6,6), T product names; None if there is none.

        All pixels of radar count as measured here.
        """
        prefix, bands = SERIES[name]
        with open_hdf5(self.path_of(tile, name), tile=tile, what="an HDF5 file of series", root=self.root) as source:
            shape = (None, bands, PIXELS, PIXELS)
            values = source.array(f"{prefix}-data", shape=shape, kinds="iuf" if name == "s2" else "f")
            if values is None:
                return None
            if not len(values):
                return values.transpose(0, 2, 3, 1), np.zeros((0, PIXELS, PIXELS), bool), []
            products = source.texts(f"{prefix}-products", len(values))
            if products is None:
                raise DataError(tile=tile, path=f"{source.path}:{prefix}-products", expected="product names with the dates", found="none")
            known = measured(values, 1) if name == "s2" else np.ones((len(values), PIXELS, PIXELS), bool)
            # Masks are two layers, snow and cloud probability; some files have an array of another shape under that name, which is no mask.
            layers = (len(values), 2, PIXELS, PIXELS)
            if name == "s2" and source.shape(f"{prefix}-masks") == layers:
                masks = source.array(f"{prefix}-masks", shape=layers, kinds="iuf")
                assert masks is not None  # it has a shape
                known &= ~cloudy(masks)
        return np.ascontiguousarray(values.transpose(0, 2, 3, 1)), known, products
