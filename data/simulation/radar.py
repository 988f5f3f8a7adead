"""Sentinel-1: backscatter of a parcel over time, and speckled images of either orbit.

Letters: T dates, S pixels per side, Q parcels. Water-cloud model (Attema & Ulaby 1978): the canopy scatters by itself and attenuates
the echo of the soil, which is brighter when moist or rough. Speckle is gamma distributed with 4.4 looks, the equivalent number of looks of
Sentinel-1 IW GRD products.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data.simulation.crops import Radar
from data.simulation.landscape import Landscape
from data.simulation.seasons import Season

LOOKS = 4.4
# Dry bare soil and what moisture adds, dB (VV, VH): fitted to the means of `targets.py`.
SOIL, MOISTURE = np.array([-14.4, -22.2]), np.array([7.5, 6.4])
RESIDUAL, RESIDUAL_BAND = 0.4, 0.25  # dB per parcel and date, common to VV and VH and of each (assumed)
DEW = 0.20  # brighter canopies on the morning orbit (assumed)


@dataclasses.dataclass(frozen=True)
class Orbit:
    """An orbit.

    Attributes:
      index: 0 = ascending (evening), 1 = descending (morning).
      look: direction in which the radar looks, radians.
      dew: factor on `DEW`.
    """

    index: int
    look: float
    dew: float


ASCENDING, DESCENDING = Orbit(0, float(np.deg2rad(100)), 0.0), Orbit(1, float(np.deg2rad(260)), 1.0)


def backscatter(rng: np.random.Generator, season: Season, days: np.ndarray, wetness: np.ndarray, orbit: Orbit, angle: float) -> np.ndarray:
    """Linear backscatter (T, 2), VV and VH, of one parcel, without speckle.

    Args:
      rng: of what the parcel does on single dates.
      season: of the parcel.
      days: (T,) days since 1 September.
      wetness: (T,) topsoil moisture.
      orbit: of the radar.
      angle: direction of the rows, radians.
    """
    offset = season.orbits[orbit.index] + rng.normal(0, RESIDUAL, (len(days), 1)) + rng.normal(0, RESIDUAL_BAND, (len(days), 2))
    if season.crop.kind == "static":
        return np.array(season.crop.radar.volume) * 10 ** (offset / 10)
    days = np.asarray(days, float)
    uncut = season.uncut(days)
    volume, depth, ridge = np.zeros((len(days), 2)), np.zeros((len(days), 2)), np.zeros(len(days))
    layers: list[tuple[np.ndarray, np.ndarray, np.ndarray, Radar, float]] = []
    if season.floor:
        nothing = np.zeros(len(days))
        layers.append((np.full(len(days), season.floor), nothing, nothing, season.crop.radar, season.structure))
    for stand in season.stands:
        standing = stand.ripe(days) * (days < stand.end)
        layers.append((stand.leaf_area(days), standing, stand.ears(days), stand.crop.radar, stand.structure))
        ridge += stand.crop.radar.ridge * ((days > stand.emerge - 10) & (days < stand.end))
    for area, standing, ears, traits, structure in layers:
        cover = np.clip(1 - np.exp(-0.6 * area * uncut) + 0.5 * standing, 0, 1)
        volume += structure * np.array(traits.volume) * (cover**1.3 * (1 + DEW * orbit.dew * cover))[:, None]
        depth += cover[:, None] * np.array(traits.attenuation)
        depth += (cover * ears)[:, None] * np.array(traits.heading)
    # Rows that face the radar are a little brighter on open soil.
    aspect = 1.2 * np.abs(np.cos(angle - orbit.look)) ** 6
    rough = season.roughness(days) + ridge + aspect
    soil = SOIL + MOISTURE * np.clip(season.wet * wetness, 0, 1)[:, None] + rough[:, None] * np.array([1.0, 0.7])
    return (volume + 10 ** ((soil - depth) / 10)) * 10 ** (offset / 10)


def sentinel1(
    rng: np.random.Generator, land: Landscape, seasons: Sequence[Season], days: np.ndarray, wetness: np.ndarray, orbit: Orbit
) -> np.ndarray:
    """Backscatter in dB, float32 (T, 3, S, S): VV, VH and VV - VH.

    Args:
      rng: of the tile.
      land: its landscape.
      seasons: of its Q parcels.
      days: (T,) days since 1 September.
      wetness: (T,) topsoil moisture.
      orbit: of the radar.
    """
    size = land.labels.shape[0]
    echoes = [backscatter(rng, season, days, wetness, orbit, angle) for season, angle in zip(seasons, land.angles)]
    parcels = np.stack(echoes).astype(np.float32).reshape(len(seasons), -1)
    linear = (land.shares @ parcels).reshape(size, size, len(days), 2)
    linear *= rng.standard_gamma(LOOKS, linear.shape, dtype=np.float32) / np.float32(LOOKS)
    db = 10 * np.log10(linear + np.float32(1e-5))
    db = np.concatenate([db, db[..., :1] - db[..., 1:]], -1)
    return np.ascontiguousarray(db.transpose(2, 3, 0, 1))
