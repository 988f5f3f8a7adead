"""From a stored tile to a batch element, in NumPy, one draw of randomness for all modalities."""

import dataclasses
import datetime

import grain
import numpy as np

from omnisat_jax.batch import BatchLayout

EPOCH = datetime.date(1970, 1, 1)


@dataclasses.dataclass(frozen=True)
class Assemble(grain.transforms.RandomMap):
    """Chooses dates, crops, flips and pads one tile to the static layout.

    Attributes:
      layout: the form to reach.
      grid: tokens a tile side before cropping.
      crop: tokens a side to keep; equal to `grid` for the whole tile.
      origin: day 0 of dates: ISO day, "season" or "year".
      random: draw dates, crop and flips (training); else evenly spaced dates, centre crop, no flips.
      augment: draw flips and rotations when `random`.
      ignore: label of pixels that do not count; void_parcels: parcels whose pixels become void (sorted numbers).
      background: class that is no label of a tile, where tile labels are made from dense ones.
    """

    layout: BatchLayout
    grid: int
    crop: int
    origin: str
    random: bool
    augment: bool
    ignore: int = -1
    background: int = -1
    void_parcels: np.ndarray | None = None

    def random_map(self, element, rng: np.random.Generator):
        # Every draw happens whatever the tile holds, so that one modality's absence changes no other's randomness.
        top, left = rng.integers(0, self.grid - self.crop + 1, 2) if self.random else [(self.grid - self.crop) // 2] * 2
        turns, flip = (int(rng.integers(0, 4)), bool(rng.integers(0, 2))) if self.random and self.augment else (0, False)

        def place(frames, grid_axis):
            """Crops and turns frames whose H and W are axes grid_axis, grid_axis + 1."""
            side = frames.shape[grid_axis]
            window = [slice(None)] * frames.ndim
            for axis, start in ((grid_axis, top), (grid_axis + 1, left)):
                window[axis] = slice(side * start // self.grid, side * (start + self.crop) // self.grid)
            frames = np.rot90(frames[tuple(window)], turns, (grid_axis, grid_axis + 1))
            return np.flip(frames, grid_axis + 1) if flip else frames

        origin = day_zero(self.origin, [element[m.name]["dates"] for m in self.layout.modalities if m.dates])
        out = {"tile_index": element["tile_index"], "weight": np.float32(1)}
        for m in self.layout.modalities:
            stored = element[m.name]["values"]
            if m.dates:
                chosen = choose_dates(element[m.name]["valid"], m.dates, rng if self.random else None)
                out[m.name] = self._series(m, element[m.name], chosen, origin, place)
            else:
                values = np.zeros((1, *m.shape), m.dtype)
                if len(stored):
                    values = place(stored[:1], 1) if len(m.shape) == 3 else stored[:1]
                out[m.name] = {"values": np.ascontiguousarray(values[0]), "present": np.bool_(len(stored) > 0)}
        labels = element["labels"]
        if labels.ndim == 2:
            if self.void_parcels is not None and len(self.void_parcels):
                labels = np.where(np.isin(element["parcels"], self.void_parcels), np.uint8(self.ignore), labels)
            labels = np.ascontiguousarray(place(labels, 0))
            if len(self.layout.labels) == 1:
                labels = tile_labels(labels, self.layout.labels[0], self.background)
        out["labels"] = labels
        return out

    def _series(self, m, stored, chosen, origin, place):
        values = np.zeros((m.dates, *m.shape), m.dtype)
        dates = np.zeros(m.dates, np.int32)
        valid = np.zeros(m.dates, bool)
        count = len(chosen)
        if count:
            values[:count] = place(stored["values"][chosen], 1)
            dates[:count] = stored["dates"][chosen] - origin
            valid[:count] = stored["valid"][chosen]
        return {"values": values, "dates": dates, "valid": valid, "present": np.bool_(valid.any())}


def tile_labels(labels, count, background):
    """(count,) float32, 1 for every class with a pixel in labels (H,W); the background is left out, void is beyond the last class."""
    classes = count + (background >= 0)
    found = np.bincount(labels.reshape(-1), minlength=classes)[:classes] > 0
    return (np.delete(found, background) if background >= 0 else found).astype(np.float32)


def choose_dates(valid, limit, rng):
    """Ascending positions of at most `limit` dates, usable ones first; drawn by rng, or evenly spaced without one."""
    usable = np.flatnonzero(valid)
    if len(usable) <= limit:
        rest = np.flatnonzero(~valid)[: limit - len(usable)]
        return np.sort(np.concatenate([usable, rest]))
    if rng is None:
        return usable[np.round(np.linspace(0, len(usable) - 1, limit)).astype(int)]
    return np.sort(rng.choice(usable, limit, replace=False))


def day_zero(origin, series):
    """Day (since 1970-01-01) that dates are counted from.

    An ISO day is the same for every tile. "season": the 1 September before the middle of the tile's dates. "year": the
    1 January of the year in which most of its dates lie.
    """
    if origin not in ("season", "year"):
        return (datetime.date.fromisoformat(origin) - EPOCH).days
    dates = np.concatenate([np.asarray(d) for d in series] or [np.zeros(0, int)])
    if not len(dates):
        return 0
    middle = EPOCH + datetime.timedelta(int(np.median(dates)))
    if origin == "year":
        return (datetime.date(middle.year, 1, 1) - EPOCH).days
    return (datetime.date(middle.year - (middle.month < 9), 9, 1) - EPOCH).days
