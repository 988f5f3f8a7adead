"""The parcels of a landscape: a rotated, warped, recursively split plain at 1 m.

Assumptions. Fields come from centuries of halving along the same two directions, so a landscape is a binary space
partition in a rotated frame, bent by a smooth warp; field areas are roughly log-normal. Tracks and hedges run along
field borders. The simulated region is wider than the tile, so parcels are cut by the tile's edge as real ones are;
a parcel with most of its area outside is void (19), as in PASTIS.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from data.simulation import crops

PIXEL = 10  # m per label pixel, which is also the number of 1 m cells per side of a label pixel
# Parcels with a smaller share of their area inside the tile are void.
VOID_SHARE = 0.35


@dataclasses.dataclass(frozen=True)
class Landscape:
    """The geography of one tile. Cells are 1 m, pixels 10 m; the last of the Q parcels are the borders.

    Attributes:
      cells: (10*S, 10*S) int32, index of the parcel of each cell.
      shares: (S*S, Q) float32, area share of each parcel in each pixel.
      classes: (Q,) PASTIS class of each parcel (0 for woods, buildings, water and borders).
      covers: (Q,) land cover name of each parcel.
      angles: (Q,) direction of the rows, radians.
      labels: (S, S) uint8, PASTIS semantic labels.
      parcels: (S, S) int32, parcel number, 0 outside parcels.
    """

    cells: np.ndarray
    shares: np.ndarray
    classes: np.ndarray
    covers: tuple[str, ...]
    angles: np.ndarray
    labels: np.ndarray
    parcels: np.ndarray


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """A Gaussian random field of unit variance with a correlation length of `scale` cells."""
    coarse = tuple(max(2, int(np.ceil(side / max(scale, 1))) + 3) for side in shape)
    field = np.asarray(ndimage.zoom(rng.standard_normal(coarse), [s / (c - 2) for s, c in zip(shape, coarse)], order=3))
    field = field[: shape[0], : shape[1]]
    return (field - field.mean()) / (field.std() + 1e-9)


def make_landscape(rng: np.random.Generator, size: int, mix: np.ndarray) -> Landscape:
    """A landscape of size x size pixels whose crops follow the shares `mix` (18,)."""
    inner = size * PIXEL
    margin = 90
    side = inner + 2 * margin
    owner, angle = _partition(rng, side)
    count = int(owner.max()) + 1
    area = np.bincount(owner.ravel(), minlength=count)

    inside = np.zeros((side, side), bool)
    inside[margin : margin + inner, margin : margin + inner] = True
    share_inside = np.bincount(owner[inside], minlength=count) / area

    covers, classes = [], np.zeros(count + 1, np.int32)
    for index in range(count):
        if rng.random() < 0.17:
            covers.append(str(rng.choice(["wood", "wood", "built", "water", "fallow"])))
            continue
        crop = int(rng.choice(np.arange(1, 19), p=mix))
        classes[index] = crop
        covers.append(crops.NAMES[crop])
    covers.append("border")

    # Tracks and hedges: cells near the border of two parcels, wider along a few of them.
    edge = (ndimage.maximum_filter(owner, 3) != owner) | (ndimage.minimum_filter(owner, 3) != owner)
    distance = np.asarray(ndimage.distance_transform_edt(~edge))
    width = 1.5 + 2.5 * (smooth_field(rng, (side, side), 80) > 0.8)
    owner = np.where(distance < width, count, owner)

    cells = owner[margin : margin + inner, margin : margin + inner].astype(np.int32)
    blocks = cells.reshape(size, PIXEL, size, PIXEL).transpose(0, 2, 1, 3).reshape(size * size, -1)
    shares = np.stack([(blocks == index).mean(1) for index in range(count + 1)], 1).astype(np.float32)
    major = shares[:, :-1].argmax(1)
    covered = shares[np.arange(size * size), major] >= 0.5
    pixel_class = np.where(covered, classes[major], 0)
    is_crop = pixel_class > 0
    void = is_crop & (share_inside[major] < VOID_SHARE)
    labels = np.where(void, 19, pixel_class).astype(np.uint8).reshape(size, size)
    parcels = np.where(is_crop, major + 1, 0).astype(np.int32).reshape(size, size)
    angles = angle + rng.choice([0.0, np.pi / 2], count + 1)
    return Landscape(cells, shares, classes, tuple(covers), angles, labels, parcels)


def _partition(rng: np.random.Generator, side: int) -> tuple[np.ndarray, float]:
    """(side, side) int32 parcel indices, and the direction of the grid, radians."""
    angle = rng.uniform(0, np.pi)
    rows, cols = np.mgrid[0:side, 0:side].astype(np.float32)
    u = np.cos(angle) * cols + np.sin(angle) * rows + 14 * smooth_field(rng, (side, side), 160)
    v = -np.sin(angle) * cols + np.cos(angle) * rows + 14 * smooth_field(rng, (side, side), 160)
    u, v = u.ravel().astype(np.float32), v.ravel().astype(np.float32)
    owner = np.zeros(side * side, np.int32)
    pieces, done = [np.arange(side * side)], 0
    while pieces:
        piece = pieces.pop()
        target = rng.lognormal(np.log(9000), 0.5)  # m², about 0.9 ha
        spans = np.ptp(u[piece]), np.ptp(v[piece])
        if len(piece) <= target or min(spans) < 45:
            owner[piece] = done
            done += 1
            continue
        along = u if spans[0] * rng.uniform(0.7, 1.4) > spans[1] else v
        low, high = along[piece].min(), along[piece].max()
        cut = low + (high - low) * rng.uniform(0.35, 0.65)
        for part in (piece[along[piece] < cut], piece[along[piece] >= cut]):
            if len(part):
                pieces.append(part)
    return owner.reshape(side, side), angle
