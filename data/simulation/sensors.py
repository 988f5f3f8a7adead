"""What satellites record of a landscape: Sentinel-2, Sentinel-1 on either orbit, one SPOT image.

Shapes: T dates, S pixels per side of the tile, Q parcels.

Assumptions. A 10 m pixel is the area-weighted mixture of its parcels. Optics: soil, green, ripe and flowering spectra mixed
by cover 1 - exp(-LAI/2), soil darkened by moisture, a smooth fertility pattern inside tiles, clouds and their displaced
shadows left in. Radar: water-cloud model, gamma speckle of 4.4 looks, dew on the morning (descending) orbit. SPOT: one
summer day, row and crown patterns at 1 m, per-scene gain and gamma, no calibration.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from data.simulation import crops
from data.simulation.crops import Growth
from data.simulation.landscape import Landscape, smooth_field

LOOKS = 4.4


def moisture(rng: np.random.Generator, days: np.ndarray) -> np.ndarray:
    """Topsoil moisture (T,) in [0, 1] on sorted days (T,): rain events with exponential drying, wetter in winter."""
    calendar = np.arange(min(days) - 30, max(days) + 1)
    rain = rng.random(len(calendar)) < 0.12 + 0.06 * np.cos(2 * np.pi * (calendar - 120) / 365)
    level, series = 0.4, []
    for wet in rain:
        level = min(1.0, level + rng.uniform(0.3, 0.7)) if wet else level * 0.9
        series.append(level)
    return np.interp(days, calendar, series)


def _optical(growth: Growth, days: np.ndarray, wetness: np.ndarray) -> np.ndarray:
    """Reflectance (T, 10) of one parcel."""
    spectra = crops.SPECTRA
    if growth.cover in ("water", "built"):
        return np.tile(spectra[growth.cover] * growth.soil, (len(days), 1))
    soil = spectra["soil"] * growth.soil * (1 - 0.35 * growth.wet * wetness)[:, None]
    cover = 1 - np.exp(-0.5 * growth.leaf_area(days))
    dry, bloom = growth.dryness(days), growth.bloom(days)
    green = spectra["wood"] if growth.cover in ("wood", "border") else spectra["green"]
    canopy = (1 - bloom)[:, None] * green + bloom[:, None] * spectra["flower"]
    ground = (1 - dry)[:, None] * soil + dry[:, None] * spectra["dry"]
    return cover[:, None] * canopy + (1 - cover)[:, None] * ground


def sentinel2(
    rng: np.random.Generator, land: Landscape, growths: Sequence[Growth], days: np.ndarray, wetness: np.ndarray
) -> np.ndarray:
    """Reflectance x 10,000, int16 (T, 10, S, S), with clouds.

    Args:
      rng: of the tile.
      land: its landscape.
      growths: season of each of its Q parcels.
      days: (T,) days since 1 September.
      wetness: (T,) topsoil moisture.
    """
    size = land.labels.shape[0]
    parcels = np.stack([_optical(g, days, wetness) for g in growths])  # (Q, T, 10)
    image = (land.shares @ parcels.reshape(len(growths), -1)).reshape(size, size, len(days), 10)
    fertility = smooth_field(rng, (size, size), 9)[..., None, None]
    nir = np.array([0, 0, 0, 0.3, 1, 1, 1, 1, 0, 0])
    image = image * (1 + 0.05 * fertility * nir - 0.03 * fertility * (1 - nir))
    image = image * (1 + rng.normal(0, 0.025, (1, 1, len(days), 10))) + rng.normal(0, 0.006, (1, 1, len(days), 1))
    image = image * (1 + rng.normal(0, 0.03, image.shape))
    for index in range(len(days)):
        cover = rng.beta(0.45, 0.8)
        if cover < 0.08:
            continue
        field = smooth_field(rng, (2 * size, 2 * size), 14)
        level = np.quantile(field, 1 - min(cover, 0.98))
        opacity = np.clip((field - level) * 2.0, 0, 1)
        top = slice(size // 2, size // 2 + size)
        cloud = opacity[top, top]
        reach = int(rng.integers(6, 14)) * size // 32 if size < 32 else int(rng.integers(6, 14))
        shadow = opacity[size // 2 - reach // 2 : size // 2 - reach // 2 + size, size // 2 - reach : size // 2 - reach + size]
        white = np.array([0.72, 0.70, 0.69, 0.69, 0.70, 0.71, 0.72, 0.72, 0.50, 0.38]) * rng.uniform(0.7, 1.15)
        dark = image[:, :, index] * (1 - 0.6 * np.where(cloud > 0.3, 0, shadow))[..., None]
        image[:, :, index] = dark * (1 - cloud[..., None]) + cloud[..., None] * white
    return np.clip(np.round(image.transpose(2, 3, 0, 1) * 10_000), 1, 20_000).astype(np.int16)


def _echo(growth: Growth, days: np.ndarray, wetness: np.ndarray, dew: float, aspect: float) -> np.ndarray:
    """Linear backscatter (T, 2), VV and VH, of one parcel; aspect in dB."""
    if growth.cover == "water":
        return np.tile([0.004, 0.0004], (len(days), 1)) * growth.structure
    area = growth.leaf_area(days)
    dry = growth.dryness(days)
    cover = np.clip(1 - np.exp(-0.6 * area) + 0.5 * dry, 0, 1)[:, None]
    crop = growth.crop
    volume = np.array(crop.volume) * growth.structure * (1 + 0.25 * dew * cover)
    depth = np.exp(-2 * np.array(crop.attenuation) * cover * 0.5)
    moist = growth.wet * wetness
    soil_db = np.stack([-14.5 + 6.0 * moist, -21.5 + 4.0 * moist], 1)
    if crop.ridge:
        planted = 1 / (1 + np.exp(-(np.asarray(days) - growth.shift - crop.rise + 30) / 4))
        soil_db += np.array([1.0, 0.4]) * crop.ridge * planted[:, None]
    soil = 10 ** ((soil_db + aspect) / 10)
    return volume * cover**1.3 + soil * depth


def sentinel1(
    rng: np.random.Generator, land: Landscape, growths: Sequence[Growth], days: np.ndarray, wetness: np.ndarray, *, descending: bool
) -> np.ndarray:
    """Backscatter in dB, float32 (T, 3, S, S): VV, VH and VV - VH.

    Args:
      rng, land, growths, days, wetness: see `sentinel2`.
      descending: the morning orbit, with dew.
    """
    size = land.labels.shape[0]
    look = np.deg2rad(100 if not descending else 260)
    dew = 1.0 if descending else 0.0
    echoes = []
    for growth, angle in zip(growths, land.angles):
        # Rows that face the radar are a little brighter on open soil.
        aspect = 1.2 * np.abs(np.cos(angle - look)) ** 6
        echoes.append(_echo(growth, days, wetness, dew, aspect))
    linear = (land.shares @ np.stack(echoes).reshape(len(growths), -1)).reshape(size, size, len(days), 2)
    linear = linear * rng.gamma(LOOKS, 1 / LOOKS, linear.shape)
    db = 10 * np.log10(linear + 1e-5)
    db = np.concatenate([db, db[..., :1] - db[..., 1:]], -1)
    return db.transpose(2, 3, 0, 1).astype(np.float32)


def _pattern(rng: np.random.Generator, texture: str, along: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 1 m pattern of one cover: (brightness factor - 1, greenness shift), each of the shape of `along`.

    Args:
      rng: of the tile.
      texture: name of the pattern.
      along, across: coordinates of the cells along and across the rows, m.
    """
    noise = rng.standard_normal(along.shape)
    phase = rng.uniform(0, 10)

    def wave(coordinate: np.ndarray, period: float) -> np.ndarray:
        return np.sin(2 * np.pi * (coordinate + phase) / period)

    if texture == "vines":
        rows = np.clip(1.6 * wave(across, rng.uniform(2.6, 3.4)), -1, 1)
        return -0.22 * rows + 0.05 * noise, 0.35 * rows
    if texture == "crowns":
        period = rng.uniform(5.5, 7.5)
        crown = np.clip(1.5 * wave(across, period) * wave(along, period * rng.uniform(0.8, 1.0)) + 0.3, -1, 1)
        return -0.25 * crown + 0.06 * noise, 0.35 * crown
    if texture == "beds":
        beds = np.sign(wave(across, rng.uniform(9, 15)))
        return -0.14 * beds + 0.05 * noise, 0.30 * beds * np.sign(wave(along, rng.uniform(35, 70)))
    if texture == "swaths":
        return 0.06 * wave(across, rng.uniform(7, 9)) + 0.03 * noise, 0.05 * noise
    if texture == "tramlines":
        line = np.exp(-(((across + phase) % 24 - 12) ** 2) / 1.5)
        return 0.12 * line + 0.03 * noise, -0.2 * line
    if texture == "rows":
        return 0.05 * wave(across, rng.uniform(3.0, 4.0)) + 0.04 * noise, 0.0 * noise
    if texture == "canopy":
        return 0.22 * noise, 0.1 * noise
    if texture == "roofs":
        blocks = np.sign(wave(across, 17) * wave(along, 23))
        return 0.5 * blocks + 0.1 * noise, -0.1 * blocks
    if texture == "grass":
        return 0.07 * noise, 0.08 * noise
    return 0.03 * noise, 0.02 * noise  # drilled, flat


def spot(rng: np.random.Generator, land: Landscape, growths: Sequence[Growth], day: int, wetness: float) -> np.ndarray:
    """RGB image of one summer day, uint8 (3, 10*S, 10*S).

    Args:
      rng, land, growths: see `sentinel2`.
      day: since 1 September.
      wetness: topsoil moisture.
    """
    side = land.cells.shape[0]
    image = np.zeros((side, side, 3))
    rows, cols = np.mgrid[0:side, 0:side].astype(float)
    for index, (growth, angle) in enumerate(zip(growths, land.angles)):
        inside = land.cells == index
        if not inside.any():
            continue
        colour = _optical(growth, np.array([day]), np.array([wetness]))[0, [2, 1, 0]]
        r, c = rows[inside], cols[inside]
        along, across = np.cos(angle) * c + np.sin(angle) * r, -np.sin(angle) * c + np.cos(angle) * r
        bright, green = _pattern(rng, growth.crop.texture, along, across)
        shift = np.stack([-0.5 * green, 0.15 * green, -0.3 * green], -1)
        image[inside] = colour * (1 + bright[:, None]) * (1 + shift)
    image = image * (1 + 0.06 * smooth_field(rng, (side, side), 60))[..., None]
    image = ndimage.gaussian_filter(image, (0.55, 0.55, 0))
    image = np.clip(image * rng.uniform(2.6, 3.4) * (1 + rng.normal(0, 0.03, 3)), 0, 1.1) ** rng.uniform(0.72, 0.85)
    image = image * 235 + 8 + rng.normal(0, 2.5, image.shape)
    return np.clip(np.round(image), 0, 255).astype(np.uint8).transpose(2, 0, 1)
