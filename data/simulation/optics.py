"""Sentinel-2: reflectance of a parcel over time, and images with clouds.

Letters: T dates, S pixels per side, Q parcels. A pixel is the area-weighted mixture of its parcels, and a parcel the mixture of leaves,
flowers, straw and soil by cover, 1 - exp(-0.6 LAI); soil is darker when moist.
"""

from collections.abc import Sequence

import numpy as np

from data.simulation import crops, spectra, weather
from data.simulation.landscape import Landscape, smooth_field
from data.simulation.seasons import Season

EXTINCTION = 0.6
DARKENING = 0.30  # of a wet soil


def reflectance(season: Season, days: np.ndarray, wetness: np.ndarray) -> np.ndarray:
    """Reflectance (T, 10) of one parcel.

    Args:
      season: of the parcel.
      days: (T,) days since 1 September.
      wetness: (T,) topsoil moisture.
    """
    if season.crop.kind == "static":
        return np.tile(spectra.STATIC[season.cover] * season.leaf, (len(days), 1))
    days = np.asarray(days, float)
    uncut = season.uncut(days)
    gap, covers, colours, ripe = np.ones(len(days)), np.zeros(len(days)), np.zeros((len(days), 10)), np.zeros(len(days))
    for area, colour, flowers in _layers(season, days):
        cover = 1 - np.exp(-EXTINCTION * area * uncut)
        gap *= 1 - cover
        covers += cover
        colours += cover[:, None] * ((1 - flowers)[:, None] * colour + flowers[:, None] * spectra.FLOWER)
    for stand in season.stands:
        ripe = np.maximum(ripe, stand.ripe(days))
    leaves = colours / np.maximum(covers, 1e-9)[:, None]
    dry = season.dry_grass(days)[:, None]
    soil = season.soil * (1 - DARKENING * np.clip(season.wet * wetness, 0, 1))[:, None]
    ground = (1 - ripe)[:, None] * soil + ripe[:, None] * spectra.DRY
    return (1 - gap)[:, None] * ((1 - dry) * leaves + dry * spectra.DRY) + gap[:, None] * ground


def _layers(season: Season, days: np.ndarray):
    """(leaf area, color of the leaves, flower cover) of the constant leaf area and of each stand."""
    if season.floor:
        yield np.full(len(days), season.floor), _leaves(season, season.crop), np.zeros(len(days))
    for stand in season.stands:
        yield stand.leaf_area(days), _leaves(season, stand.crop), stand.flowers(days)


def _leaves(season: Season, crop: crops.Crop) -> np.ndarray:
    """(10,) reflectance of a closed canopy."""
    green = spectra.WOOD if season.cover in crops.WOODY else spectra.GREEN
    return green * np.array(crop.leaves)[spectra.LEAF_GROUPS] * season.leaf


def sentinel2(
    rng: np.random.Generator, land: Landscape, seasons: Sequence[Season], days: np.ndarray, wetness: np.ndarray
) -> np.ndarray:
    """Reflectance x 10,000, int16 (T, 10, S, S), with clouds.

    Args:
      rng: of the tile.
      land: its landscape.
      seasons: of its Q parcels.
      days: (T,) days since 1 September.
      wetness: (T,) topsoil moisture.
    """
    size, dates = land.labels.shape[0], len(days)
    parcels = np.stack([reflectance(season, days, wetness) for season in seasons]).astype(np.float32)  # (Q, T, 10)
    image = (land.shares @ parcels.reshape(len(seasons), -1)).reshape(size, size, dates, 10)
    # Fertile and poor corners of a field: more leaves, so more near infrared and less of everything that leaves absorb.
    infrared = np.array([0, 0, 0, 0.3, 1, 1, 1, 1, 0, 0])
    fertility = smooth_field(rng, (size, size), 9)[..., None]
    image *= (1 + fertility * (0.05 * infrared - 0.03 * (1 - infrared))).astype(np.float32)[:, :, None]
    # Errors of calibration and atmospheric correction of a date, and noise of a pixel.
    image *= (1 + rng.normal(0, 0.025, (dates, 10))).astype(np.float32)
    image += (rng.normal(0, 0.005, (dates, 1)) + weather.draw_haze(rng, dates)).astype(np.float32)
    image *= 1 + 0.03 * rng.standard_normal(image.shape, dtype=np.float32)
    for index in range(dates):
        if sky := weather.draw_sky(rng, size):
            image[:, :, index] = weather.add_sky(image[:, :, index], sky)
    return np.clip(np.round(image.transpose(2, 3, 0, 1) * 10_000), 1, 20_000).astype(np.int16)
