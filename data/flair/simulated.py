"""Simulated FLAIR: the layout of the real dataset, filled by a documented generative model small enough for tests. Nothing is measured.

Assumptions. Covers are level sets of smooth random fields at 1 m, a road is a winding line, and buildings are rectangles. An aerial image
shows the color of each cover with its own texture at 0.2 m, shaded by height, with a random gain per image. Sentinel-2 sees 10 m means of
reflectances that follow the seasons: coniferous and deciduous trees look alike from the air in summer and differ in winter.
"""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from rasterio.transform import from_origin
from scipy import ndimage

from data.flair.layout import CENTRES
from data.reading.workers import in_order
from data.simulation.folder import mark_simulated, need_sizes
from data.simulation.landscape import smooth_field
from omnisat_jax.errors import UserError
from omnisat_jax.files.atomic import new_folder
from omnisat_jax.files.geotiff_writing import new_geotiff
from omnisat_jax.types import StrPath

VERSION = 2
ZONE = 40  # pixels of 10 m per side of a super-patch
IMAGES = 4  # per zone
DATES = 20
YEAR = 2021
DOMAINS = (("aerial_train", "D004"), ("aerial_train", "D033"), ("aerial_test", "D068"), ("aerial_train", "D055"))
# raw label: (red, green, blue, near infrared at noon in summer; texture; height in m; reflectance of red and near infrared in winter)
COVERS = {
    1: (150, 110, 100, 110, 8, 8.0, 0.18, 0.24),  # building
    3: (120, 120, 122, 115, 6, 0.2, 0.15, 0.19),  # impervious
    4: (160, 140, 115, 150, 10, 0.2, 0.20, 0.28),  # bare soil
    5: (45, 60, 70, 25, 3, 0.0, 0.04, 0.02),  # water
    6: (50, 70, 50, 150, 22, 14.0, 0.04, 0.26),  # coniferous
    7: (60, 90, 55, 190, 20, 12.0, 0.11, 0.17),  # deciduous
    8: (90, 105, 75, 160, 15, 2.0, 0.09, 0.20),  # brushwood
    10: (105, 130, 85, 185, 7, 0.3, 0.07, 0.32),  # herbaceous
    11: (130, 135, 90, 165, 5, 0.6, 0.14, 0.22),  # agricultural
    13: (80, 170, 200, 60, 4, 0.2, 0.06, 0.03),  # swimming pool, one of the rare ones
}


def simulate(
    root: StrPath, *, tiles: int, tile_size: int, seed: int, jobs: int = 1, progress: Callable[[int], None] | None = None
) -> pathlib.Path:
    """Writes a simulated FLAIR #2 (images, masks, super-patches) to `root`, whole or not at all. Does nothing if `root` exists.

    The same arguments give the same bytes, whatever the number of processes. Of every four zones, one is in the test part and one in the validation part.

    Args:
      root: folder to create.
      tiles: number of images.
      tile_size: pixels of 0.2 m per side, a multiple of 32 up to 1024.
      seed: of the generative model.
      jobs: number of processes; 1 = only this one.
      progress: called with the number of finished images.

    Raises:
      UserError: impossible sizes.
    """
    root = pathlib.Path(root)
    if root.exists():
        return root
    need_sizes(tiles, tile_size, 64)
    if tile_size % 32 or tile_size > 1024:
        raise UserError(f"data.simulated.tile_size of flair: expected a multiple of 32 up to 1024, found {tile_size}")
    centres = {}
    with new_folder(root) as work:
        plan = _Plan(work, tiles, tile_size, seed)
        for found in in_order(_write_zone, plan, range(-(-tiles // IMAGES)), jobs):
            centres |= found
            if progress:
                progress(len(centres))
        (work / CENTRES).write_text(json.dumps(centres))
        mark_simulated(work)
    return root


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What all zones share.

    Attributes:
      folder: root of the dataset.
      images: number of images of all zones.
      size: pixels of 0.2 m per side of an image.
      seed: of the generative model.
    """

    folder: pathlib.Path
    images: int
    size: int
    seed: int


@dataclasses.dataclass(frozen=True)
class _Zone:
    """A zone, which several images share.

    Attributes:
      kind: archive, "aerial_train" or "aerial_test".
      folder: <domain>_<year>/<zone>.
      covers: (400, 400) raw labels at 1 m.
      corner: north-west corner (x, y), m.
    """

    kind: str
    folder: str
    covers: np.ndarray
    corner: tuple[int, int]


def _write_zone(plan: _Plan, index: int) -> dict[str, list[int]]:
    """Writes a zone and its images; returns the center of each image in its super-patch."""
    rng, centres = np.random.default_rng([plan.seed, index]), {}
    kind, domain = DOMAINS[index % len(DOMAINS)]
    zone = _Zone(kind, f"{domain}_{YEAR}/Z{index + 1}_NF", _covers(rng), (700_000 + 10_000 * index, 6_600_000))
    _write_series(rng, plan.folder / f"flair_sen_{kind[7:]}" / zone.folder / "sen", zone)
    for number in range(index * IMAGES, min(plan.images, (index + 1) * IMAGES)):
        name = f"{number + 1:06d}"
        centre = rng.integers(12, ZONE - 12, 2)
        centres[f"IMG_{name}.tif"] = centre.tolist()
        _write_image(rng, plan.folder, zone, name, centre, plan.size)
    return centres


def _covers(rng: np.random.Generator) -> np.ndarray:
    """(400, 400) uint8 raw labels at 1 m."""
    side = ZONE * 10
    wet, tall, grown = (smooth_field(rng, (side, side), scale) for scale in (60, 35, 25))
    covers = np.select(
        [wet > 1.1, tall > 0.9, tall > 0.35, tall > 0.15, grown > 0.3, grown > -0.6], [5, 6, 7, 8, 10, 11], default=4
    ).astype(np.uint8)
    road = np.abs(smooth_field(rng, (side, side), 90) - 0.2) < 0.04
    covers[road] = 3
    for _ in range(30):
        row, column = rng.integers(0, side - 16, 2)
        height, width = rng.integers(7, 15, 2)
        covers[row : row + height, column : column + width] = 1
        if rng.random() < 0.3:
            covers[row : row + 4, column + width : column + width + 6] = 13
    return covers


def _lookup(covers: np.ndarray, column: int) -> np.ndarray:
    """One column of COVERS for each pixel, float32."""
    table = np.zeros(20, np.float32)
    for label, numbers in COVERS.items():
        table[label] = numbers[column]
    return table[covers]


def _write_image(rng: np.random.Generator, work: pathlib.Path, zone: _Zone, name: str, centre: np.ndarray, size: int) -> None:
    """Writes an aerial image and its mask.

    Args:
      rng: of the zone.
      work: root of the dataset.
      zone: of the image.
      name: number of the image.
      centre: row and column in Sentinel-2 pixels.
      size: pixels of 0.2 m per side.
    """
    # The upper left corner in aerial pixels, of which 50 lie along a Sentinel-2 pixel.
    top, left = (int(c) * 50 - size // 2 for c in centre)
    rows, columns = (start + np.arange(size) for start in (top, left))
    window = zone.covers[np.ix_(rows // 5, columns // 5)]
    texture = ndimage.gaussian_filter(rng.standard_normal((size, size)), 1.0) * 3.5 * _lookup(window, 4)
    height = ndimage.gaussian_filter(_lookup(window, 5), 2) * (1 + 0.1 * rng.standard_normal((size, size)))
    shade = 1 - 0.15 * np.clip(np.gradient(ndimage.gaussian_filter(height, 2), axis=1), -2, 2)
    gain = rng.uniform(0.85, 1.15, 4)
    bands = [np.clip((_lookup(window, band) + texture) * shade * gain[band], 0, 255) for band in range(4)]
    bands.append(np.clip(5 * height, 0, 255))
    x, y = zone.corner[0] + left * 0.2, zone.corner[1] - top * 0.2
    profile: dict[str, Any] = dict(width=size, height=size, dtype="uint8", crs="EPSG:2154", compress="deflate")
    profile["transform"] = from_origin(x, y, 0.2, 0.2)
    for folder, prefix, images in (("aerial", "IMG", bands), ("labels", "MSK", [window])):
        path = work / f"flair_{zone.kind.replace('aerial', folder)}" / zone.folder / prefix.lower() / f"{prefix}_{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_geotiff(path, count=len(images), **profile) as target:
            target.write(np.stack(images).astype(np.uint8))


def _write_series(rng: np.random.Generator, folder: pathlib.Path, zone: _Zone) -> None:
    """Writes the super-patch of a zone, its masks and product names."""
    covers = zone.covers
    days = np.sort(rng.choice(np.arange(0, 360, 5), DATES, replace=False))
    summer = 0.5 - 0.5 * np.cos(2 * np.pi * (days - 20) / 365)
    red = [_mean(_lookup(covers, column) / scale) for column, scale in ((0, 900.0), (6, 1.0))]
    infrared = [_mean(_lookup(covers, column) / scale) for column, scale in ((3, 450.0), (7, 1.0))]
    values = np.zeros((DATES, 10, ZONE, ZONE))
    for index, share in enumerate(summer):
        visible, near = (share * a + (1 - share) * b for a, b in (red, infrared))
        bands = [
            visible * 0.8,
            visible * 0.95,
            visible,
            *(visible + w * (near - visible) for w in (0.4, 0.8, 0.95, 1, 1, 0.7, 0.5)),
        ]
        values[index] = np.stack(bands) * (1 + rng.normal(0, 0.03, (10, ZONE, ZONE)))
    probability = np.zeros((DATES, 2, ZONE, ZONE), np.uint8)
    for index in np.flatnonzero(rng.random(DATES) < 0.3):
        cloud = np.clip(smooth_field(rng, (ZONE, ZONE), 12), 0, 1)
        values[index] += 0.5 * cloud
        probability[index, 1] = 100 * cloud
    folder.mkdir(parents=True)
    stem = f"SEN2_sp_{zone.folder.replace('/', '-')}"
    np.save(folder / f"{stem}_data.npy", np.clip(values * 10_000, 1, 20_000).astype(np.uint16))
    np.save(folder / f"{stem}_masks.npy", probability)
    start = datetime.date(YEAR, 1, 1)
    names = [f"S2A_MSIL2A_{start + datetime.timedelta(int(day)):%Y%m%d}T105351_N0301_R051_T31TCJ" for day in days]
    (folder / f"{stem}_products.txt").write_text("\n".join(names))


def _mean(fine: np.ndarray) -> np.ndarray:
    """Means over blocks of 10 x 10."""
    return fine.reshape(ZONE, 10, ZONE, 10).mean((1, 3))
