"""SPOT 6/7: an RGB image of one summer day at 1 m, resampled from 1.5 m as in PASTIS-HD.

The colors are those of Sentinel-2 on that day. Rows, crowns, beds, tramlines and swaths modulate them at 1 m before the point spread
of 1.5 m, which leaves about a tenth of the modulation of vine rows. Each region was flown on one day, with one gain and gamma for all its scenes.
All patterns are assumed. Letters: S label pixels per side, N cells of 1 m.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from data.simulation.landscape import Landscape, smooth_field
from data.simulation.optics import reflectance
from data.simulation.seasons import Season

POINT_SPREAD = 1.5 / 2.355  # standard deviation of a point spread with a full width of 1.5 m at half maximum, m
# Share of the parcels of a texture that show it.
VISIBLE = {"vines": 0.8, "crowns": 0.9, "beds": 0.8, "tramlines": 0.8, "swaths": 0.7, "rows": 0.7}
RED_GREEN_BLUE = [2, 1, 0]  # positions in the bands of Sentinel-2


@dataclasses.dataclass(frozen=True)
class Scene:
    """The acquisition of a region.

    Attributes:
      day: since 1 September.
      gain: (3,) of the bands.
      gamma: of the rendering to eight bits.
    """

    day: int
    gain: np.ndarray
    gamma: float


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draws the acquisition of a region: a day from mid April to mid September."""
    return Scene(int(rng.integers(227, 380)), rng.uniform(2.8, 3.6) * (1 + rng.normal(0, 0.03, 3)), float(rng.uniform(0.72, 0.85)))


def spot(rng: np.random.Generator, land: Landscape, seasons: Sequence[Season], scene: Scene, wetness: float) -> np.ndarray:
    """RGB image, uint8 (3, 10*S, 10*S).

    Args:
      rng: of the tile.
      land: its landscape.
      seasons: of its parcels.
      scene: of the region.
      wetness: topsoil moisture of the day.
    """
    side = land.cells.shape[0]
    image = np.zeros((side * side, 3), np.float32)
    cells = land.cells.ravel()
    order = np.argsort(cells, kind="stable")
    ends = np.searchsorted(cells[order], np.arange(len(seasons) + 1))
    for index, (season, angle) in enumerate(zip(seasons, land.angles)):
        inside = order[ends[index] : ends[index + 1]]
        if len(inside):
            row, column = (part.astype(np.float32) for part in np.divmod(inside, side))
            image[inside] = parcel_cells(rng, season, rows_of(angle, row, column), scene.day, wetness)
    return develop(rng, image.reshape(side, side, 3), scene)


def rows_of(angle: float, row: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (N,) of cells along and across rows of a direction, m."""
    sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    return cosine * column + sine * row, -sine * column + cosine * row


def parcel_cells(rng: np.random.Generator, season: Season, place: tuple[np.ndarray, np.ndarray], day: int, wetness: float) -> np.ndarray:
    """Reflectance (N, 3), red, green and blue, of cells of one parcel.

    Args:
      rng: of the tile.
      season: of the parcel.
      place: coordinates (N,) of the cells along and across the rows, m.
      day: since 1 September.
      wetness: topsoil moisture of the day.
    """
    colour = reflectance(season, np.array([day]), np.array([wetness]))[0, RED_GREEN_BLUE]
    bright, green = _pattern(rng, season.crop.texture, *place)
    shift = np.stack([-0.5 * green, 0.15 * green, -0.3 * green], -1)
    return (colour * (1 + bright[:, None]) * (1 + shift)).astype(np.float32)


def develop(rng: np.random.Generator, cells: np.ndarray, scene: Scene) -> np.ndarray:
    """Reflectance (H, W, 3) at 1 m as recorded, uint8 (3, H, W)."""
    image = cells * (1 + 0.05 * smooth_field(rng, cells.shape[:2], 60).astype(np.float32))[..., None]
    image = ndimage.gaussian_filter(image, (POINT_SPREAD, POINT_SPREAD, 0), truncate=3.0)
    image = np.clip(image * scene.gain * (1 + rng.normal(0, 0.02)), 0, 1.1) ** scene.gamma
    image = image * 235 + 8 + 2.5 * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(np.round(image), 0, 255).astype(np.uint8).transpose(2, 0, 1)


def _pattern(rng: np.random.Generator, texture: str, along: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pattern of one cover: (brightness factor - 1, greenness shift), each (N,).

    Args:
      rng: of the tile.
      texture: name of the pattern.
      along, across: coordinates of the cells along and across the rows, m.
    """
    noise = rng.standard_normal(along.shape, dtype=np.float32)
    phase = rng.uniform(0, 10)
    strength = np.exp(rng.normal(0, 0.4)) * (rng.random() < VISIBLE.get(texture, 1.0))  # weeds, pruning, the light of the day

    def wave(coordinate: np.ndarray, period: float) -> np.ndarray:
        return np.sin(2 * np.pi / period * (coordinate + phase))

    if texture == "vines":
        rows = strength * np.clip(1.6 * wave(across, rng.uniform(2.0, 2.5)), -1, 1)
        return -0.22 * rows + 0.04 * noise, 0.35 * rows
    if texture == "crowns":
        period = rng.uniform(4.0, 6.5)
        crown = strength * np.clip(1.5 * wave(across, period) * wave(along, period * rng.uniform(0.7, 1.0)) + 0.3, -1, 1)
        return -0.16 * crown + 0.05 * noise, 0.22 * crown
    if texture == "beds":
        beds = strength * np.sign(wave(across, rng.uniform(9, 30)))
        return -0.09 * beds + 0.04 * noise, 0.18 * beds * np.sign(wave(along, rng.uniform(35, 90)))
    if texture == "swaths":
        return 0.03 * strength * wave(across, rng.uniform(7, 9)) + 0.035 * noise, 0.05 * noise
    if texture == "tramlines":
        line = strength * np.exp(-(((across + phase) % rng.choice([18, 24, 28]) - 9) ** 2) / 1.2)
        return 0.10 * line + 0.03 * noise, -0.15 * line
    if texture == "rows":
        return 0.04 * strength * wave(across, rng.uniform(3.0, 4.0)) + 0.035 * noise, 0.0 * noise
    if texture == "canopy":
        crown = np.sin(across / 1.1 + 1.5 * np.sin(along / 9 + phase)) * np.sin(along / 1.0 + 1.5 * np.sin(across / 11))
        return 0.20 * crown + 0.18 * noise, 0.1 * noise
    if texture == "roofs":
        return 0.10 * noise, 0.0 * noise
    if texture == "grass":
        return 0.05 * noise, 0.07 * noise
    return 0.03 * noise, 0.02 * noise  # drilled, flat
