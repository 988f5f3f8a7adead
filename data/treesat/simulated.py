"""Simulated TreeSatAI-TS: the layout of the real dataset, filled by a documented generative model small enough for tests. Nothing is measured.

Assumptions. A tile is a stand of one genus, often with patches of a second. Each genus has its own crown size and color in the aerial image,
its own days of leaf-out and leaf fall and depth of the near infrared in Sentinel-2, and its own backscatter in both polarizations. The masks
contain the clouds, and a few radar values are missing.
"""

import dataclasses
import datetime
import io
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import h5py
import numpy as np
from rasterio.transform import from_origin
from scipy import ndimage

from data.reading.workers import in_order
from data.simulation.folder import mark_simulated, need_sizes
from data.simulation.landscape import smooth_field
from data.treesat.reader import CLASSES, LABELS, PARTS, PIXELS
from omnisat_jax.errors import UserError
from omnisat_jax.files.atomic import new_folder
from omnisat_jax.files.geotiff_writing import new_geotiff
from omnisat_jax.types import StrPath

VERSION = 1
AERIAL = 304  # pixels of 0.2 m per side
YEAR = 2019
# Mean reflectance of bare canopy and of leaves or needles in the ten bands.
BARE = np.array([0.05, 0.06, 0.08, 0.10, 0.13, 0.15, 0.17, 0.18, 0.22, 0.15])
LEAF = np.array([0.02, 0.05, 0.03, 0.08, 0.25, 0.32, 0.34, 0.35, 0.18, 0.08])
EVERGREEN = ("Abies", "Picea", "Pinus", "Pseudotsuga")


def simulate(
    root: StrPath, *, tiles: int, tile_size: int, seed: int, jobs: int = 1, progress: Callable[[int], None] | None = None
) -> pathlib.Path:
    """Writes a simulated TreeSatAI-TS to `root`, whole or not at all. Does nothing if `root` exists.

    The same arguments give the same bytes, whatever the number of processes. Of every five tiles, one is in the validation part and one in the test part.

    Args:
      root: folder to create.
      tiles: number of tiles of 60 m.
      tile_size: pixels of 0.2 m per side; must be 304, the only size of the dataset.
      seed: of the generative model.
      jobs: number of processes; 1 = only this one.
      progress: called with the number of finished tiles.

    Raises:
      UserError: another size, or no tile.
    """
    root = pathlib.Path(root)
    if root.exists():
        return root
    need_sizes(tiles, tile_size, AERIAL)
    if tile_size != AERIAL:
        raise UserError(f"data.simulated.tile_size of treesat: expected {AERIAL}, the only size of this dataset, found {tile_size}")
    traits = [_traits(np.random.default_rng([seed, 1, index]), name) for index, name in enumerate(CLASSES)]
    table, lists = {}, {part: [] for part in PARTS}
    with new_folder(root) as work:
        for folder in ("aerial", "sentinel", "labels"):
            (work / folder).mkdir()
        for index, (name, genera) in enumerate(in_order(_write_tile, _Plan(work, seed, traits), range(tiles), jobs)):
            table[f"{name}.tif"] = genera
            lists[("train", "train", "train", "validation", "test")[index % 5]].append(f"{name}.tif")
            if progress:
                progress(index + 1)
        (work / LABELS).write_text(json.dumps(table))
        for part, names in lists.items():
            (work / PARTS[part]).write_text("\n".join(names))
        mark_simulated(work)
    return root


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What all tiles share.

    Attributes:
      folder: root of the dataset.
      seed: of the generative model.
      traits: constants of each genus of CLASSES.
    """

    folder: pathlib.Path
    seed: int
    traits: Sequence[dict[str, Any]]


def _write_tile(plan: _Plan, index: int) -> tuple[str, list[list[Any]]]:
    """Writes a tile; returns its name and its genera with their shares."""
    rng = np.random.default_rng([plan.seed, 2, index])
    genera = rng.choice(len(CLASSES), 2, replace=False)
    second = smooth_field(rng, (AERIAL, AERIAL), 90) > rng.choice([0.2, 0.8, 9.0])
    name = f"{CLASSES[genera[0]]}_{index}_{10_000 + index}_SIM"
    share = float(second.mean())
    traits = [plan.traits[genus] for genus in genera]
    _write_aerial(rng, plan.folder / "aerial" / f"{name}.tif", traits, second, index)
    _write_series(rng, plan.folder / "sentinel" / f"{name}.h5", traits, second)
    return name, [[CLASSES[genera[0]], 1 - share]] + ([[CLASSES[genera[1]], share]] if share else [])


def _traits(rng: np.random.Generator, name: str) -> dict[str, Any]:
    """The constants of a genus."""
    evergreen = name in EVERGREEN
    return {
        "evergreen": evergreen,
        "out": rng.uniform(85, 135),  # day of half leaf
        "off": rng.uniform(270, 320),
        "depth": rng.uniform(0.75, 1.25),  # of the leaves' near infrared
        "crown": rng.uniform(6, 18),  # px of 0.2 m
        "colour": np.array([170, 70, 85, 60]) * rng.uniform(0.7, 1.3, 4) * (0.75 if evergreen else 1.0),
        "radar": rng.normal([-9.0, -15.0], [1.2, 1.2]),  # VV, VH in dB
    }


def _write_aerial(rng: np.random.Generator, path: pathlib.Path, traits: Sequence[dict], second: np.ndarray, index: int) -> None:
    layers = []
    for t in traits:
        crowns = ndimage.gaussian_filter(rng.standard_normal((AERIAL, AERIAL)), t["crown"] / 2)
        layers.append(t["colour"] * (1 + 0.35 * crowns / crowns.std())[..., None])
    image = np.where(second[..., None], layers[1], layers[0]) * rng.uniform(0.85, 1.15, 4) + rng.normal(0, 5, (AERIAL, AERIAL, 4))
    profile: dict[str, Any] = dict(count=4, width=AERIAL, height=AERIAL, dtype="uint8", crs="EPSG:25832", compress="deflate")
    profile["transform"] = from_origin(500_000 + 100 * index, 5_800_000, 0.2, 0.2)
    with new_geotiff(path, **profile) as target:
        target.write(np.clip(image, 0, 255).astype(np.uint8).transpose(2, 0, 1))


def _write_series(rng: np.random.Generator, path: pathlib.Path, traits: Sequence[dict], second: np.ndarray) -> None:
    side = AERIAL // PIXELS
    share = second[: side * PIXELS, : side * PIXELS].reshape(PIXELS, side, PIXELS, side).mean((1, 3))
    content = io.BytesIO()  # in memory first: HDF5 crashes the process on a full disk
    with h5py.File(content, "w") as target:
        days = np.sort(rng.choice(np.arange(2, 363, 5), 45, replace=False))
        values = _mix([_reflectance(t, days) for t in traits], share) * (1 + rng.normal(0, 0.04, (len(days), 10, PIXELS, PIXELS)))
        masks = np.zeros((len(days), 2, PIXELS, PIXELS), np.float32)
        clouded = rng.random(len(days)) < 0.25
        values[clouded] += 0.4
        masks[clouded, 1] = 90
        target["sen-2-data"] = np.round(values * 10_000).astype(np.float32)
        target["sen-2-masks"] = masks
        target["sen-2-products"] = _products(days, "S2A_MSIL2A_{}T104431_N0211_R008_T32UMD")
        for orbit, start in (("asc", 3), ("des", 5)):
            days = np.arange(start, 364, 6)
            decibels = _mix([np.tile(t["radar"], (len(days), 1)) for t in traits], share)
            power = 10 ** (decibels / 10) * rng.gamma(4.4, 1 / 4.4, decibels.shape)
            power[rng.random(power.shape) < 1e-4] = np.nan
            target[f"sen-1-{orbit}-data"] = power.astype(np.float32)
            target[f"sen-1-{orbit}-products"] = _products(days, "S1A_IW_GRDH_1SDV_{}T171656_025287_02CC09")
    path.write_bytes(content.getvalue())


def _reflectance(t: dict[str, Any], days: np.ndarray) -> np.ndarray:
    """Reflectance (T, 10) of a closed canopy of the genus with traits `t`."""
    leaf = 1 / (1 + np.exp(-(days - t["out"]) / 7)) - 1 / (1 + np.exp(-(days - t["off"]) / 9))
    leaf = np.full(len(days), 0.75) if t["evergreen"] else leaf
    canopy = LEAF * np.where(np.arange(10) > 3, t["depth"], 1.0)
    return leaf[:, None] * canopy + (1 - leaf[:, None]) * BARE


def _mix(pair: Sequence[np.ndarray], share: np.ndarray) -> np.ndarray:
    """Mixes the values (T,C) of two genera by the area share (6,6) of the second; (T,C,6,6)."""
    first, other = (values[:, :, None, None] for values in pair)
    return first * (1 - share) + other * share


def _products(days: np.ndarray, pattern: str) -> np.ndarray:
    start = datetime.date(YEAR, 1, 1)
    return np.array([pattern.format(f"{start + datetime.timedelta(int(day)):%Y%m%d}").encode() for day in days], dtype="S60")
