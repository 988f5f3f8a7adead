"""Whether tiles of two folders of records are the same, or show the same ground: what is tested must not be seen in training."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from scipy.spatial import KDTree

from omnisat_jax.earth import EARTH_RADIUS
from omnisat_jax.records.frames import FrameStore, frames_path
from omnisat_jax.records.reader import Records

TOUCHING = 0.05  # share of a side by which neighbors seem to overlap, as tiles are not exactly north up and places are rounded


def same_images(records: Records, parts: Sequence[str], other: Records, names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Finds images that two folders share byte for byte, by the checksums of their frames.

    Images of a single value, such as those of a wholly clouded or unknown date, do not count.

    Args:
      records: one folder.
      parts: of it that are compared.
      other: the other folder, all of it.
      names: modalities that both have in the same form.

    Yields:
      (modality, tile of `records`, tile of `other`) for the first shared image of each pair of parts.
    """
    for name in names:
        theirs = {part: _store(other, part, name) for part in other.parts}
        for part in parts:
            mine = _store(records, part, name)
            for their_part, their in theirs.items():
                for value in np.intersect1d(mine.checksums, their.checksums):
                    here, there = (int(np.flatnonzero(store.checksums == value)[0]) for store in (mine, their))
                    frame = np.empty(mine.shape, mine.dtype)
                    mine.read_into(here, frame)
                    if not np.array_equal(frame, np.broadcast_to(frame[:1, :1], frame.shape), equal_nan=True):
                        yield name, _tile_of(records, part, name, here), _tile_of(other, their_part, name, there)
                        break


def _store(records, part, name):
    stored = records.modalities[name]
    return FrameStore(frames_path(records.root, part, name), stored.shape, stored.dtype)


def _tile_of(records, part, name, frame):
    """The tile that a frame of a part belongs to."""
    for tile, example in zip(records.tiles([part]), records.every_tile([part])):
        frames = example[name]["values"]
        if frames.first <= frame < frames.first + len(frames):
            return tile
    raise AssertionError(f"frame {frame} of {part} belongs to no tile")


def same_ground(places: Mapping[str, tuple[float, float]], others: Mapping[str, tuple[float, float]], sides: tuple[float, float]) -> list[tuple[str, str]]:
    """Finds tiles that lie on top of each other, at least in part.

    Args:
      places: {tile: (longitude, latitude) of its center in degrees} of one folder.
      others: the same of the other folder.
      sides: of a tile of each, m.

    Returns:
      Pairs (tile, other tile).
    """
    if not places or not others:
        return []
    reach = sum(sides) / 2 - TOUCHING * min(sides)  # between centers, east and north
    names, other_names = list(places), list(others)
    here, there = (np.radians(np.array(list(found.values()))) for found in (places, others))
    found = []
    near = KDTree(_on_sphere(there)).query_ball_point(_on_sphere(here), np.sqrt(2) * reach / EARTH_RADIUS)
    for index, candidates in enumerate(near):
        for candidate in candidates:
            east, north = there[candidate] - here[index]
            east = (east + np.pi) % (2 * np.pi) - np.pi  # across the antimeridian
            east *= np.cos((there[candidate, 1] + here[index, 1]) / 2)
            if EARTH_RADIUS * max(abs(east), abs(north)) < reach:
                found.append((names[index], other_names[candidate]))
    return found


def _on_sphere(places: np.ndarray) -> np.ndarray:
    """Unit vectors (N,3) of longitudes and latitudes (N,2) in radians."""
    longitude, latitude = places.T
    return np.stack([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], 1)
