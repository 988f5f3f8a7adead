"""Soil moisture, clouds, their shadows, and haze. Letters: T dates, S pixels per side."""

import dataclasses

import numpy as np

from data.simulation import spectra
from data.simulation.landscape import smooth_field

# Shares of dates with clouds and with haze, and the shape of the share of pixels that a cloudy date covers: fitted to the cloud
# statistics of `targets.py`. PASTIS has no date that is wholly clouded.
CLOUDY, HAZY = 0.27, 0.30
COVER = (0.90, 0.95)
LARGEST = 0.97
EDGE = 2.5  # of the optical depth of a cloud, per standard deviation of its field


def moisture(rng: np.random.Generator, days: np.ndarray) -> np.ndarray:
    """Topsoil moisture (T,) in [0, 1] on sorted days (T,): rain events with exponential drying, wetter and slower to dry in winter."""
    calendar = np.arange(min(days) - 30, max(days) + 1)
    winter = np.cos(2 * np.pi * (calendar - 130) / 365)  # 1 in early January
    rain = rng.random(len(calendar)) < 0.15 + 0.08 * winter
    level, series = 0.4, []
    for wet, dry in zip(rain, 0.90 + 0.05 * winter):
        level = min(1.0, level + rng.uniform(0.3, 0.7)) if wet else level * dry
        series.append(level)
    return np.interp(days, calendar, series)


@dataclasses.dataclass(frozen=True)
class Sky:
    """The sky over a tile on one date.

    Attributes:
      cloud: (S, S) opacity of the clouds.
      shadow: (S, S) darkness of their shadows.
      brightness: of the clouds.
    """

    cloud: np.ndarray
    shadow: np.ndarray
    brightness: float


def draw_sky(rng: np.random.Generator, size: int) -> Sky | None:
    """Clouds over size x size pixels of 10 m on a random date, or None."""
    if rng.random() >= CLOUDY:
        return None
    share = min(rng.beta(*COVER), LARGEST)
    reach = np.clip(rng.integers(6, 15, 2), 1, size // 2)
    shape = (size + int(reach[0]), size + int(reach[1]))
    # Octaves: clouds have soft large shapes and ragged edges.
    field = sum((weight * smooth_field(rng, shape, scale) for weight, scale in ((1.0, 22), (0.45, 7), (0.2, 2.5))), np.zeros(shape))
    above = field[:size, reach[1] :]
    depth = np.maximum(field - np.quantile(above, 1 - share), 0) * EDGE
    opacity = 1 - np.exp(-depth)
    # The sun stands in the south-east: shadows fall to the north-west.
    shadow = opacity[reach[0] : reach[0] + size, reach[1] - min(reach) : reach[1] - min(reach) + size]
    return Sky(opacity[:size, reach[1] :], shadow, float(rng.uniform(0.75, 1.15)))


def add_sky(image: np.ndarray, sky: Sky) -> np.ndarray:
    """Reflectance (S, S, 10) as seen through a sky."""
    cloud = sky.cloud[..., None]
    dark = image * (1 - 0.55 * (1 - cloud) * sky.shadow[..., None])
    return dark * (1 - cloud) + cloud * spectra.CLOUD * sky.brightness


def draw_haze(rng: np.random.Generator, days: int) -> np.ndarray:
    """Reflectance (T, 10) that thin haze adds to each of T dates; zero on most."""
    amount = rng.exponential(0.03, days) * (rng.random(days) < HAZY)
    return np.minimum(amount, 0.08)[:, None] * spectra.HAZE
