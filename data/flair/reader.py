"""Reads folders in the layout of FLAIR #1 and #2 (see README.md here): aerial images, Sentinel-2 super-patches, land cover."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np

from data.flair import layout
from data.flair.layout import CENTRES, raw_files
from data.reading import location, raw
from data.reading.raw import DataError
from data.reading.sentinel import S2_BANDS, cloudy, harmonise, inspect_baselines, measured, product_day
from omnisat_jax.errors import Finding
from omnisat_jax.files import paths
from omnisat_jax.files.geotiff import Footprint, ImageForm, open_geotiff, read_image
from omnisat_jax.files.json_file import Value
from omnisat_jax.files.npy import read_npy
from omnisat_jax.files.text_file import read_lines
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

__all__ = ["NOMENCLATURES", "WHERE", "open_raw", "raw_files"]

NAMED = (
    "Building", "Pervious surface", "Impervious surface", "Bare soil", "Water", "Coniferous", "Deciduous", "Brushwood",
    "Vineyard", "Herbaceous vegetation", "Agricultural land", "Plowed land",
)  # fmt: skip
RARE = ("Swimming pool", "Snow", "Clear cut", "Mixed", "Ligneous", "Greenhouse", "Other")
# The authors' colors of the 19 raw labels.
COLOURS = (
    "#db0e9a", "#938e7b", "#f80c00", "#a97101", "#1553ae", "#194a26", "#46e483", "#f3a60d", "#660082", "#55ff00", "#fff30d", "#e4df7c",
    "#3de6eb", "#ffffff", "#8ab3a0", "#6b714f", "#c5dc42", "#9999ff", "#000000",
)  # fmt: skip
NOMENCLATURES = ("12", "13", "19")
VOID = 255
RAW_LABELS = 19
CITATION = "FLAIR #1 (Garioud et al., 2022) and FLAIR #2 (Garioud et al., NeurIPS 2023), IGN. Etalab Open Licence 2.0."
WHERE = "FLAIR is published at https://ignf.github.io/FLAIR (aerial images and labels; FLAIR #2 adds Sentinel-2 super-patches)"
AERIAL_BANDS = ("R", "G", "B", "NIR", "height")
AERIAL_RESOLUTION, S2_RESOLUTION = 0.2, 10.0  # m per pixel
CELL = 32  # aerial pixels under one resampled Sentinel-2 pixel, 6.4 m


def open_raw(root: StrPath, nomenclature: str = "12", *, unlabelled: bool = False) -> raw.RawDataset:
    """Indexes a folder in FLAIR layout, or images and masks beside an index.json with their splits.

    Args:
      root: the folder.
      nomenclature: "12" (the named classes; everything else is void), "13" ("Other" is learned but does not enter the mean) or "19".
      unlabelled: whether images without a mask have no labels; otherwise that is a fault.

    Raises:
      DataError: no readable image, an image without a domain, unreadable tables, or super-patches without the table of centers.
    """
    root = paths.need_folder(root, what="a folder in FLAIR layout", advice="Check --config.data.raw_dir.")
    files = paths.walk(root)
    images = layout.numbered(files, "IMG")
    if not images:
        raise DataError(tile="-", path=root, expected="images IMG_<number>.tif, at any depth", found="none")
    index, centres = layout.table_of(root / layout.INDEX), layout.table_of(root / CENTRES)
    parts, zones = {part: [] for part in layout.PARTS}, {}
    for tile, path in images.items():
        zones[tile], part = layout.zone_and_part(tile, path, root, index.get(tile))
        parts[part].append(tile)
    series = layout.zones_with_series(files)
    if series and not centres:
        raise DataError(tile="-", path=root / CENTRES, expected="where images lie in their super-patches", found="no such table")
    masks = layout.numbered(files, "MSK")
    index_of = _Index(root, images, masks, zones, series, centres)
    reader = _Reader(index_of, nomenclature)
    side = reader.side = raw.usual_size(images, reader.side_of)
    modalities = {"aerial": _aerial(side)}
    if series:
        modalities["s2"] = _series(side // CELL)
    if location.any_georeferenced(images, root):
        modalities["location"] = raw.location_modality()
    classes, unscored = classes_of(nomenclature)
    return raw.RawDataset(
        name="flair",
        root=root,
        simulated=raw.is_simulated(root),
        citation=CITATION,
        task="segment",
        classes=classes,
        ignore=VOID,
        background=-1,
        label_side=side,
        modalities=modalities,
        parts={part: tuple(tiles) for part, tiles in parts.items() if tiles},
        readers={name: getattr(reader, name) for name in modalities},
        labels=reader.labels,
        path_of=reader.path_of,
        inspect=reader.inspect,
        unscored=unscored,
        colours=COLOURS[: len(NAMED)]
        + ((COLOURS[-1],) if nomenclature == "13" else COLOURS[len(NAMED) :] if nomenclature == "19" else ()),
        unlabelled=frozenset(images.keys() - masks.keys()) if unlabelled else frozenset(),
    )


def _aerial(side: int) -> raw.RawModality:
    return raw.RawModality("image", (side, side, len(AERIAL_BANDS)), "uint8", AERIAL_BANDS, resolution=AERIAL_RESOLUTION)


def _series(cells: int) -> raw.RawModality:
    return raw.RawModality("series", (cells, cells, len(S2_BANDS)), "int16", S2_BANDS, resolution=CELL * AERIAL_RESOLUTION)


def classes_of(nomenclature: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names of the classes, names of those that do not enter the mean)."""
    return {"12": (NAMED, ()), "13": ((*NAMED, "Other"), ("Other",)), "19": (NAMED + RARE, ())}[nomenclature]


def resampling(centre: float, length: int, cells: int, size: float) -> np.ndarray:
    """(cells, length) float32 weights of linear interpolation along one axis.

    Args:
      centre: of the window, in pixels from the outer edge of pixel 0; the window lies inside the axis.
      length: number of pixels along the axis, two or more.
      cells: number of cells in the window.
      size: of a cell, in pixels.
    """
    first = centre - cells * size / 2
    at = np.clip(first + size * (np.arange(cells) + 0.5) - 0.5, 0, length - 1)  # pixel i has its center at i + 0.5
    low = np.minimum(at.astype(int), length - 2)
    weights = np.zeros((cells, length), np.float32)
    weights[np.arange(cells), low] = 1 - (at - low)
    weights[np.arange(cells), low + 1] = at - low
    return weights


@dataclasses.dataclass(frozen=True)
class _Index:
    """The files of a FLAIR folder.

    Attributes:
      root: the folder.
      images: tile -> aerial image.
      masks: tile -> labels.
      zones: tile -> (domain, zone).
      series: (domain, zone) -> super-patch.
      centres: tile -> row and column of its center in the super-patch.
    """

    root: pathlib.Path
    images: Mapping[str, pathlib.Path]
    masks: Mapping[str, pathlib.Path]
    zones: Mapping[str, tuple[str, str]]
    series: Mapping[tuple[str, str], pathlib.Path]
    centres: Mapping[str, Value]


class _Reader:
    """Reads single tiles.

    Attributes:
      side: pixels per side of the images; set once they were sampled.
    """

    def __init__(self, index: _Index, nomenclature: str):
        self.root, self.images, self.masks, self.zones, self.series = index.root, index.images, index.masks, index.zones, index.series
        self.centres, self.nomenclature, self.side = index.centres, nomenclature, 0

    def path_of(self, tile: str, name: str) -> pathlib.Path:
        if name != "s2":
            return self.images[tile]
        return self.series.get(self.zones[tile], self.root / f"SEN2_sp_{'-'.join(self.zones[tile])}_data.npy")

    def side_of(self, tile: str) -> int:
        with open_geotiff(self.images[tile], tile=tile, what="an aerial image", root=self.root, bands=len(AERIAL_BANDS)) as source:
            source.need(bands=len(AERIAL_BANDS), dtype="uint8", what="an aerial image")
            if source.height % CELL:
                raise source.error(f"a multiple of {CELL} px", source.form())
            return source.height

    def inspect(self, tile: str) -> Iterator[Finding]:
        """Images that are not georeferenced, series without masks, and values of another scale."""
        yield from location.inspect_image(self.images[tile], tile, self.root)
        yield from location.inspect_image(self.masks.get(tile), tile, self.root)
        path = self.series.get(self.zones[tile])
        with contextlib.suppress(DataError):  # `s2` reports it
            if path is not None and not os.path.lexists(masks := _masks_of(path)):
                found = "none: clouds and snow count as ground"
                yield Finding("doubt", tile, str(masks), "snow and cloud probabilities beside the super-patch", found, "Restore them from the archive.")
            if path is not None:
                yield from inspect_baselines(*self._stored(tile, path), tile=tile, path=path)

    def _image(self, path: pathlib.Path, tile: str, bands: int, what: str) -> tuple[np.ndarray, Footprint | None]:
        values, footprint = read_image(path, ImageForm(bands, self.side), tile=tile, what=what, root=self.root)
        location.need_pixel(footprint, AERIAL_RESOLUTION, tile=tile, path=path)
        return values, footprint

    def aerial(self, tile: str) -> raw.Entry:
        values, _ = self._image(self.images[tile], tile, len(AERIAL_BANDS), "an aerial image like those of the other tiles")
        return raw.image(_aerial(self.side), values)

    def location(self, tile: str) -> raw.Entry:
        return location.location_of_geotiff(self.images[tile], tile, self.root)

    def labels(self, tile: str) -> raw.Entry:
        path = self.masks.get(tile)
        if path is None:
            raise DataError(tile=tile, path=self.images[tile], expected=f"a mask MSK_{tile}.tif", found="none", advice=raw.LABEL_ADVICE)
        mask, footprint = self._image(path, tile, 1, "labels as large as the images")
        mask = mask[..., 0]
        if mask.min() < 1 or mask.max() > RAW_LABELS:
            raise DataError(tile=tile, path=path, expected=f"classes 1 to {RAW_LABELS}", found=f"{mask.min()} to {mask.max()}")
        self._need_same_ground(tile, path, footprint)
        labels = mask - 1
        if self.nomenclature != "19":
            labels = np.where(labels < len(NAMED), labels, len(NAMED) if self.nomenclature == "13" else VOID)
        return {"labels": labels.astype(np.uint8), "parcels": np.zeros(mask.shape, np.int64)}

    def _need_same_ground(self, tile: str, path: pathlib.Path, footprint: Footprint | None) -> None:
        """Checks that a mask lies where its image does, to half a pixel, if both are georeferenced."""
        image = None
        with contextlib.suppress(DataError):  # `aerial` reports it
            image = location.footprint_of(self.images[tile], tile, self.root)
        if image is not None and footprint is not None and (elsewhere := image.differs(footprint, image.pixel / 2)):
            raise DataError(tile=tile, path=path, expected=f"labels where the image lies, {image}", found=elsewhere, kind="georeference")

    def s2(self, tile: str) -> raw.Entry:
        """The square of ground under the image, cut from the super-patch of its zone and resampled to cells of 6.4 m."""
        path, cells = self.series.get(self.zones[tile]), self.side // CELL
        if path is None:
            return raw.absent(_series(cells))
        values, known, products = self._stored(tile, path)
        dates = [product_day(tile, path, product) for product in products]
        if not len(values):
            return raw.absent(_series(cells), "a series without images")
        if tile not in self.centres:
            raise DataError(tile=tile, path=self.root / CENTRES, expected="row and column of its center", found="no entry")
        centre = [number.number() for number in self.centres[tile].list(2)]
        size = CELL * AERIAL_RESOLUTION / S2_RESOLUTION
        half = cells * size / 2
        if any(length < 2 or c - half < 0 or c + half > length for c, length in zip(centre, values.shape[1:3], strict=True)):
            expected = f"the image's square inside the super-patch of {values.shape[1]}x{values.shape[2]} px"
            raise DataError(tile=tile, path=path, expected=expected, found=f"{2 * half:.1f} px around row and column {centre}")
        values = harmonise(values, known, products, tile=tile, path=path)
        rows, columns = (resampling(c, length, cells, size) for c, length in zip(centre, values.shape[1:3], strict=True))
        # A cell that touches an unknown pixel is unknown; unknown values are zeroed first, so that NaN does not spread.
        unknown = np.einsum("ih,thw,jw->tij", rows, (~known).astype(np.float32), columns) > 1e-6
        values = np.where(known[..., None], values, 0).astype(np.float32)
        values = np.einsum("ih,thwc,jw->tijc", rows, values, columns, optimize=True)
        return raw.series(_series(cells), values, dates, tile=tile, path=path, known=~unknown)

    def _stored(self, tile: str, path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """A super-patch as stored: values (T,H,W,10), pixels that are measured and not cloudy (T,H,W), T product names."""
        stem = path.name.removesuffix("_data.npy")
        shape = (None, len(S2_BANDS), None, None)
        values = read_npy(path, tile=tile, what="a super-patch", shape=shape, kinds="iu", root=self.root)
        products = read_lines(path.with_name(f"{stem}_products.txt"), what="product names with the dates", tile=tile, root=self.root)
        if len(products) != len(values):
            raise DataError(tile=tile, path=path, expected=f"{number_of(len(products), 'image')}, one for each product name", found=number_of(len(values), 'image'))
        known, masks = measured(values, 1), _masks_of(path)
        if os.path.lexists(masks):
            shape = (len(values), 2, *values.shape[2:])
            probability = read_npy(masks, tile=tile, what="snow and cloud probabilities", shape=shape, kinds="iuf", root=self.root)
            known &= ~cloudy(probability)
        return values.transpose(0, 2, 3, 1), known, products


def _masks_of(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{path.name.removesuffix('_data.npy')}_masks.npy")
