"""Reads folders in the layout of FLAIR #1 and #2 (see README.md here): aerial images, Sentinel-2 super-patches, land cover."""

import json
import pathlib
import re

import numpy as np

from data import location, raw
from data.raw import DataError
from data.sentinel import CLOUDY, S2_BANDS, product_day

NAMED = (
    "Building", "Pervious surface", "Impervious surface", "Bare soil", "Water", "Coniferous", "Deciduous", "Brushwood",
    "Vineyard", "Herbaceous vegetation", "Agricultural land", "Plowed land",
)  # fmt: skip
RARE = ("Swimming pool", "Snow", "Clear cut", "Mixed", "Ligneous", "Greenhouse", "Other")
# The authors' colours of the 19 raw labels.
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
AERIAL_RESOLUTION, S2_RESOLUTION = 0.2, 10.0  # m a pixel
CELL = 32  # aerial pixels under one resampled Sentinel-2 pixel, 6.4 m
# Domains of the training archive that validate (the authors' baselines).
VALIDATION = ("D004", "D014", "D029", "D031", "D058", "D066", "D067", "D077")
CENTRES = "flair-2_centroids_sp_to_patch.json"


def open_raw(root, nomenclature: str = "12") -> raw.RawDataset:
    """Indexes a folder in FLAIR layout, or images and masks beside an index.json with their splits.

    Args:
      root: the folder.
      nomenclature: "12" (the named classes; everything else is void), "13" ("Other" is learned but does not enter the mean) or "19".

    Raises:
      DataError: no image, an image without a domain, unreadable tables, super-patches without the table of centres.
    """
    root = pathlib.Path(root)
    if not root.is_dir():
        raise DataError(
            tile="-", path=root, expected="a folder in FLAIR layout", found="no such folder", advice="Check --config.data.raw_dir."
        )
    images = _numbered(root, "IMG")
    if not images:
        raise DataError(tile="-", path=root, expected="images IMG_<number>.tif, at any depth", found="none")
    index = _table(root / "index.json")
    parts = {"train": [], "validation": [], "test": []}
    zones = {}
    for tile, path in images.items():
        zones[tile] = _zone(tile, path, index)
        part = index[tile]["split"] if "split" in index.get(tile, {}) else _part(path.relative_to(root), zones[tile])
        if part not in parts:
            raise DataError(tile=tile, path=root / "index.json", expected=f"a split of {', '.join(parts)}", found=repr(part))
        parts[part].append(tile)
    first, side = raw.first_readable(
        images, lambda tile: (tile, len(raw.load_geotiff(images[tile], tile=tile, bands=len(AERIAL_BANDS), resolution="0.2 m")))
    )
    if side % CELL:
        raise DataError(tile=first, path=images[first], expected=f"a multiple of {CELL} px", found=f"{side} px")
    modalities = {"aerial": raw.RawModality("image", (side, side, len(AERIAL_BANDS)), "uint8", AERIAL_BANDS)}
    series = {_zone_of_series(path): path for path in sorted(root.rglob("SEN2_sp_*_data.npy"))}
    centres = _table(root / CENTRES)
    if series:
        if not centres:
            raise DataError(
                tile="-", path=root / CENTRES, expected="where images lie in their super-patches", found="no such table"
            )
        modalities["s2"] = _series(side // CELL)
    if location.geotiff_centre(images[first]) is not None:
        modalities["location"] = raw.location_modality()
    reader = _Reader(images, _numbered(root, "MSK"), zones, series, centres, side, nomenclature)
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
        unscored=unscored,
        colours=COLOURS[: len(NAMED)]
        + ((COLOURS[-1],) if nomenclature == "13" else COLOURS[len(NAMED) :] if nomenclature == "19" else ()),
    )


def _series(cells):
    return raw.RawModality("series", (cells, cells, len(S2_BANDS)), "int16", S2_BANDS)


def classes_of(nomenclature: str):
    """(names of the classes, names of those that do not enter the mean)."""
    return {"12": (NAMED, ()), "13": ((*NAMED, "Other"), ("Other",)), "19": (NAMED + RARE, ())}[nomenclature]


def raw_files(root):
    """Every file that decides what the records hold."""
    root = pathlib.Path(root)
    patterns = ("IMG_*.tif", "MSK_*.tif", "SEN2_sp_*")
    tables = [root / name for name in ("index.json", CENTRES) if (root / name).is_file()]
    return tables + [path for pattern in patterns for path in root.rglob(pattern) if path.is_file()]


def _numbered(root, kind):
    """{six-digit number: path} of the files kind_<number>.tif."""
    found = {}
    for path in sorted(root.rglob(f"{kind}_*.tif")):
        number = path.stem.split("_", 1)[1]
        if number in found:
            raise DataError(tile=number, path=path, expected=f"each {kind} number once", found=f"another at {found[number]}")
        found[number] = path
    return found


def _table(path):
    if not path.is_file():
        return {}
    try:
        table = json.loads(path.read_text())
        # The table of centres is keyed by file name, an index by number.
        return {re.sub(r"^IMG_|\.tif$", "", key): value for key, value in table.items()}
    except (ValueError, AttributeError) as error:
        raise DataError(tile="-", path=path, expected="a JSON table of images", found=f"unreadable ({error})") from error


def _zone(tile, path, index):
    """(domain, zone) of an image, such as ("D004_2021", "Z8_NF"), from its folders or from the index."""
    if tile in index:
        if not isinstance(index[tile], dict) or "domain" not in index[tile]:
            raise DataError(tile=tile, path="index.json", expected="an entry with a domain", found=repr(index[tile]))
        return index[tile]["domain"], index[tile].get("zone", "")
    match = re.search(r"(D\d{3}_\d{4})[/_-](Z\d+_[A-Z]+)", path.as_posix())
    if not match:
        raise DataError(
            tile=tile,
            path=path,
            expected="a folder D<department>_<year>/Z<zone> above the image, or an entry in index.json",
            found="neither",
        )
    return match.groups()


def _zone_of_series(path):
    match = re.search(r"(D\d{3}_\d{4})[/_-](Z\d+_[A-Z]+)", path.name)
    if not match:
        raise DataError(tile="-", path=path, expected="a name SEN2_sp_D<department>_<year>-Z<zone>_data.npy", found=path.name)
    return match.groups()


def _part(path, zone):
    if any("test" in folder for folder in path.parts[:-1]):
        return "test"
    return "validation" if zone[0][:4] in VALIDATION else "train"


def resampling(centre: float, length: int, cells: int, size: float) -> np.ndarray:
    """(cells, length) float32 weights of linear interpolation along one axis.

    Args:
      centre: of the window, in pixels from the outer edge of pixel 0.
      length: pixels of the axis.
      cells: of the window.
      size: of a cell, in pixels.

    Raises:
      ValueError: the window does not lie inside the axis.
    """
    first, last = centre - cells * size / 2, centre + cells * size / 2
    if first < 0 or last > length:
        raise ValueError(f"pixels {first:.1f} to {last:.1f} of {length}")
    at = np.clip(first + size * (np.arange(cells) + 0.5) - 0.5, 0, length - 1)  # pixel i has its centre at i + 0.5
    low = np.minimum(at.astype(int), length - 2)
    weights = np.zeros((cells, length), np.float32)
    weights[np.arange(cells), low] = 1 - (at - low)
    weights[np.arange(cells), low + 1] = at - low
    return weights


class _Reader:
    """Reads one tile."""

    def __init__(self, images, masks, zones, series, centres, side, nomenclature):
        self.images, self.masks, self.zones, self.series, self.centres = images, masks, zones, series, centres
        self.side, self.nomenclature = side, nomenclature

    def path_of(self, tile, name):
        return (
            self.series.get(self.zones[tile], pathlib.Path(f"SEN2_sp_{'-'.join(self.zones[tile])}_data.npy"))
            if name == "s2"
            else self.images[tile]
        )

    def aerial(self, tile):
        image = raw.load_geotiff(self.images[tile], tile=tile, bands=len(AERIAL_BANDS), resolution="0.2 m")
        if image.shape[:2] != (self.side, self.side):
            found = f"{image.shape[0]}x{image.shape[1]} px"
            raise DataError(
                tile=tile, path=self.images[tile], expected=f"{self.side}x{self.side} px as in the other tiles", found=found
            )
        return {"values": image[None]}

    def location(self, tile):
        return location.of_geotiff(self.images[tile], tile)

    def labels(self, tile):
        path = self.masks.get(tile)
        if path is None:
            raise DataError(tile=tile, path=self.images[tile], expected=f"a mask MSK_{tile}.tif", found="none")
        mask = raw.load_geotiff(path, tile=tile, bands=1, resolution="0.2 m")[..., 0]
        if mask.shape != (self.side, self.side):
            found = f"{mask.shape[0]}x{mask.shape[1]} px"
            raise DataError(tile=tile, path=path, expected=f"labels of {self.side}x{self.side} px, as the image", found=found)
        if mask.min() < 1 or mask.max() > RAW_LABELS:
            raise DataError(tile=tile, path=path, expected=f"classes 1 to {RAW_LABELS}", found=f"{mask.min()} to {mask.max()}")
        labels = mask - 1
        if self.nomenclature != "19":
            labels = np.where(labels < len(NAMED), labels, len(NAMED) if self.nomenclature == "13" else VOID)
        return {"labels": labels.astype(np.uint8), "parcels": np.zeros(mask.shape, np.int64)}

    def s2(self, tile):
        """The ground square of the image, cut from its zone's super-patch and resampled to cells of 6.4 m."""
        path = self.series.get(self.zones[tile])
        cells = self.side // CELL
        if path is None:
            return raw.absent(_series(cells))
        values = raw.load_array(path, tile=tile, rank=4, what=f"a super-patch (T,{len(S2_BANDS)},H,W)")
        if values.shape[1] != len(S2_BANDS) or values.dtype.kind not in "iu":
            raise DataError(
                tile=tile, path=path, expected=f"integers (T, {len(S2_BANDS)}, H, W)", found=f"{values.dtype} {values.shape}"
            )
        dates = self._dates(tile, path)
        missing = (values == 0).all(1) | self._clouded(tile, path, values)
        try:
            centre = [float(c) for c in self.centres[tile]]
        except (KeyError, TypeError, ValueError):
            found = repr(self.centres.get(tile))
            raise DataError(tile=tile, path=path.with_name(CENTRES), expected="row and column of its centre", found=found) from None
        size = CELL * AERIAL_RESOLUTION / S2_RESOLUTION
        try:
            rows, columns = (resampling(c, length, cells, size) for c, length in zip(centre, values.shape[2:], strict=True))
        except ValueError as error:
            expected = f"the image's square inside the super-patch of {values.shape[2]}x{values.shape[3]} px"
            raise DataError(tile=tile, path=path, expected=expected, found=str(error)) from None
        # A cell that touches an unknown pixel is unknown; before that, unknown pixels must not reach the others.
        unknown = np.einsum("ih,thw,jw->tij", rows, missing.astype(np.float32), columns) > 1e-6
        known = np.where(missing[:, None], 0, values).astype(np.float32)
        values = np.einsum("ih,tchw,jw->tijc", rows, known, columns, optimize=True)
        packed = np.concatenate([np.clip(np.round(values), 0, 32_767).astype(np.int16), unknown[..., None].astype(np.int16)], -1)
        packed, dates = raw.sort_by_date(tile, path, packed, dates)
        values, valid = raw.mask_integers(np.ascontiguousarray(packed[..., :-1]), packed[..., -1] > 0)
        return {"values": values, "dates": dates, "valid": valid}

    def _dates(self, tile, path):
        table = path.with_name(path.name.replace("_data.npy", "_products.txt"))
        if not table.is_file():
            raise DataError(tile=tile, path=table, expected="product names with the dates", found="no such file")
        return [product_day(tile, table, line) for line in table.read_text().split("\n") if line.strip()]

    def _clouded(self, tile, path, values):
        masks = path.with_name(path.name.replace("_data.npy", "_masks.npy"))
        shape = (len(values), *values.shape[2:])
        if not masks.is_file():
            return np.zeros(shape, bool)
        probability = raw.load_array(masks, tile=tile, rank=4, what="snow and cloud probabilities (T,2,H,W)")
        if probability.shape != (shape[0], 2, *shape[1:]):
            expected = f"shape {(shape[0], 2, *shape[1:])}, as the super-patch"
            raise DataError(tile=tile, path=masks, expected=expected, found=f"shape {probability.shape}")
        return (probability > CLOUDY).any(1)
