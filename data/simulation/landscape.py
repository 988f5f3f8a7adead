"""The parcels of a landscape: a rotated, warped, recursively split plain, with hedges, tracks, roads, villages and woods.

Fields come from centuries of halving along the same two directions, so a landscape is a binary space partition in a rotated frame, bent by a
smooth warp; their areas are roughly log-normal. The first cut may be a road; hedges stand on a quarter of the borders, tracks and verges on
the others; woods are neighboring parcels. The simulated region is wider than the tile, so parcels are cut by the tile's edge
as real ones are; a parcel of which only a corner lies inside is void (19), as in PASTIS. All shares and widths are assumed.

Letters: S label pixels per side, Q parcels. The plain is simulated on cells of 2 m; the images see cells of 1 m.
"""

import dataclasses

import numpy as np
from scipy import ndimage

from data.simulation import crops

PIXEL = 10  # m per label pixel, which is also the number of 1 m cells per side of a label pixel
GRID = 2  # m per cell of the partition
MARGIN = 150  # m around the tile
# A parcel is void if both a smaller share of its area and a smaller area lie inside the tile.
VOID_SHARE, VOID_AREA = 0.35, 3_000.0  # m²
# A piece is a field once its area falls below a log-normal draw, so the median field is about 0.6 of the median draw.
FIELD_AREA, FIELD_SPREAD = 33_000.0, 0.75  # m², and of its logarithm
NARROWEST = 50.0  # m; narrower pieces are not cut
HEDGED = 0.25  # share of the borders with a hedge
ROAD = 0.6  # probability of a road through a tile's region
ROAD_WIDTH, STREET_WIDTH = 7.0, 6.0  # m
PLOT, HOUSE = (24.0, 26.0), (10.0, 12.0)  # m, of villages
VILLAGE, WATER, FALLOW = 0.05, 0.006, 0.065  # shares of the parcels
WOOD = (0.4, 2.2)  # range of the level, in standard deviations of a smooth field, above which the parcels of a tile are woods
COMMON = ("verge", "hedge", "road", "roof", "garden")  # covers that belong to no parcel


@dataclasses.dataclass(frozen=True)
class Landscape:
    """The geography of one tile. The last of the Q parcels stand for the covers COMMON.

    Attributes:
      cells: (10*S, 10*S) int32, index of the parcel of each cell of 1 m.
      shares: (S*S, Q) float32, area share of each parcel in each pixel.
      covers: (Q,) land cover name of each parcel.
      areas: (Q,) m², whole area of each parcel, of which the tile may hold a part.
      angles: (Q,) direction of the rows, radians.
      labels: (S, S) uint8, PASTIS semantic labels.
      parcels: (S, S) int32, parcel number, 0 outside parcels.
    """

    cells: np.ndarray
    shares: np.ndarray
    covers: tuple[str, ...]
    areas: np.ndarray
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
    side = (size * PIXEL + 2 * MARGIN) // GRID
    angle = rng.uniform(0, np.pi)
    u, v = _frame(rng, side, angle)
    owner, road = _partition(rng, u, v)
    count = int(owner.max()) + 1
    area = np.bincount(owner.ravel(), minlength=count)
    covers, village = _covers(rng, owner, area, mix)

    plain = owner.copy()  # with the common covers at count, count + 1, ...
    _add_borders(rng, plain, owner, count)
    if village.any():
        _add_houses(rng, plain, (u, v), village[owner], count)
    if road is not None:
        plain[np.abs(road[0] - road[1]) < ROAD_WIDTH / 2] = count + COMMON.index("road")

    first, last = MARGIN // GRID, (MARGIN + size * PIXEL) // GRID
    inside = owner[first:last, first:last]
    cells_inside = np.bincount(inside.ravel(), minlength=count)
    corner = (cells_inside < VOID_SHARE * area) & (cells_inside * GRID**2 < VOID_AREA)
    seen = np.unique(inside)
    kept = np.concatenate([seen, np.arange(count, count + len(COMMON))])
    number = np.zeros(count + len(COMMON), np.int32)
    number[kept] = np.arange(len(kept))
    cells = number[plain[first:last, first:last]].repeat(GRID, 0).repeat(GRID, 1)
    names = tuple(covers[index] for index in seen) + COMMON
    areas = np.concatenate([area[seen] * float(GRID**2), np.zeros(len(COMMON))])
    angles = angle + rng.choice([0.0, np.pi / 2], len(kept))
    shares = _shares(cells, size, len(kept))
    labels, parcels = _annotate(shares[:, : len(seen)], names, corner[seen], size)
    return Landscape(cells, shares, names, areas, angles, labels, parcels)


def _frame(rng: np.random.Generator, side: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Warped coordinates (side, side) along and across the direction of the fields, m."""
    rows, columns = (GRID * part for part in np.mgrid[0:side, 0:side].astype(np.float32))
    warp = [14 * smooth_field(rng, (side, side), 160 / GRID) for _ in range(2)]
    u = np.cos(angle) * columns + np.sin(angle) * rows + warp[0]
    v = -np.sin(angle) * columns + np.cos(angle) * rows + warp[1]
    return u.astype(np.float32), v.astype(np.float32)


def _partition(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, tuple[np.ndarray, float] | None]:
    """Index (side, side) int32 of the parcel of each cell; and the coordinate and position of the first cut, if that is a road."""
    shape, u, v = u.shape, u.ravel(), v.ravel()
    owner = np.zeros(u.size, np.int32)
    pieces, done, road, first = [np.arange(u.size)], 0, None, rng.random() < ROAD
    while pieces:
        piece = pieces.pop()
        across, along = u[piece], v[piece]
        spans = np.ptp(across), np.ptp(along)
        if len(piece) * GRID**2 <= rng.lognormal(np.log(FIELD_AREA), FIELD_SPREAD) or min(spans) < NARROWEST:
            owner[piece] = done
            done += 1
            continue
        lengthwise = spans[0] * rng.uniform(0.7, 1.4) > spans[1]
        values = across if lengthwise else along
        low, high = values.min(), values.max()
        cut = low + (high - low) * rng.uniform(0.35, 0.65)
        if first:
            road = (u if lengthwise else v).reshape(shape), float(cut)
            first = False
        pieces += [part for part in (piece[values < cut], piece[values >= cut]) if len(part)]
    return owner.reshape(shape), road


def _covers(rng: np.random.Generator, owner: np.ndarray, area: np.ndarray, mix: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The land cover of each parcel, and which of them are villages (bool)."""
    count = len(area)
    forest = np.bincount(owner.ravel(), smooth_field(rng, owner.shape, 110).ravel(), count) / area
    woods = forest > rng.uniform(*WOOD)
    kinds = rng.choice(4, count, p=[1 - VILLAGE - WATER - FALLOW, VILLAGE, WATER, FALLOW])
    planted = rng.choice(np.arange(1, 19), count, p=mix)
    covers = []
    for index in range(count):
        other = "wood" if woods[index] else ("", "garden", "water", "fallow")[kinds[index]]
        covers.append(other or crops.NAMES[planted[index]])
    return covers, ~woods & (kinds == 1)


def _add_borders(rng: np.random.Generator, plain: np.ndarray, owner: np.ndarray, count: int) -> None:
    """Draws hedges, 4 to 8 m wide, and verges, 2 m, on the borders of parcels."""
    pairs = np.zeros(owner.shape, np.int64)  # the border that starts at a cell, as a number of its two parcels
    for one, other, target in (
        (owner[:, :-1], owner[:, 1:], pairs[:, :-1]),
        (owner[:-1], owner[1:], pairs[:-1]),
    ):
        differ = one != other
        target[differ] = (np.minimum(one, other).astype(np.int64) * count + np.maximum(one, other))[differ]
    edge = pairs > 0
    borders, which = np.unique(pairs[edge], return_inverse=True)
    kind = rng.choice(3, len(borders), p=[1 - HEDGED, HEDGED / 2, HEDGED / 2])[which]
    plain[edge] = count + COMMON.index("verge")
    for width in (1, 2):
        hedge = np.zeros(owner.shape, bool)
        hedge[edge] = kind == width
        plain[np.asarray(ndimage.maximum_filter(hedge, 1 + width), bool)] = count + COMMON.index("hedge")


def _add_houses(rng: np.random.Generator, plain: np.ndarray, frame: tuple[np.ndarray, np.ndarray], village: np.ndarray, count: int) -> None:
    """Draws the houses and streets of villages, where village (side, side) is true; the rest of them are gardens."""
    offset, present = rng.uniform(-4, 4, (2, 64, 64)), rng.random((64, 64)) < 0.8
    u, v = (coordinate[village] for coordinate in frame)
    plot = np.floor(u / PLOT[0]).astype(int), np.floor(v / PLOT[1]).astype(int)
    slot = plot[0] % 64, plot[1] % 64
    inner = u - (plot[0] + 0.5) * PLOT[0] - offset[0][slot], v - (plot[1] + 0.5) * PLOT[1] - offset[1][slot]
    house = present[slot] & (np.abs(inner[0]) < HOUSE[0] / 2) & (np.abs(inner[1]) < HOUSE[1] / 2)
    street = v % (2 * PLOT[1]) < STREET_WIDTH
    plain[village] = np.select(
        [street, house], [count + COMMON.index("road"), count + COMMON.index("roof")], count + COMMON.index("garden")
    )


def _shares(cells: np.ndarray, size: int, count: int) -> np.ndarray:
    """Area share (S*S, Q) float32 of each parcel in each pixel."""
    pixel = np.arange(size).repeat(PIXEL)
    key = (pixel[:, None] * size + pixel).astype(np.int64) * count + cells
    return (np.bincount(key.ravel(), minlength=size * size * count) / PIXEL**2).astype(np.float32).reshape(size * size, count)


def _annotate(shares: np.ndarray, covers: tuple[str, ...], corner: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels (S, S) uint8 and parcel numbers (S, S) int32: those of the parcel that covers at least half of a pixel; void at corners."""
    classes = np.array([0 if cover in crops.OTHER else crops.NAMES.index(cover) for cover in covers[: shares.shape[1]]])
    major = shares.argmax(1)
    covered = shares[np.arange(size * size), major] >= 0.5
    label = np.where(covered, classes[major], 0)
    void = (label > 0) & corner[major]
    labels = np.where(void, 19, label).astype(np.uint8)
    parcels = np.where(label > 0, major + 1, 0).astype(np.int32)
    return labels.reshape(size, size), parcels.reshape(size, size)
