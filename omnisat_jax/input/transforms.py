"""From a stored tile to a batch element, in NumPy, one draw of randomness for all modalities."""

import dataclasses

import grain
import jax
import numpy as np

from omnisat_jax.batch import BatchLayout
from omnisat_jax.dates import choose_dates, day_zero
from omnisat_jax.records.frames import Frames


@dataclasses.dataclass(frozen=True)
class MakeBatch(grain.transforms.RandomMap):
    """Chooses dates, crops, flips and pads one tile to the static layout.

    Attributes:
      layout: the form to reach.
      grid: tokens per tile side before cropping.
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

    def random_map(self, element, rng: np.random.Generator) -> "SampleDraw":
        """Everything that is drawn of a tile; none of its images is read."""
        # Every draw happens whatever the tile holds, so that one modality's absence changes no other's randomness.
        top, left = rng.integers(0, self.grid - self.crop + 1, 2) if self.random else [(self.grid - self.crop) // 2] * 2
        turns, flip = (int(rng.integers(0, 4)), bool(rng.integers(0, 2))) if self.random and self.augment else (0, False)
        chosen = {
            m.name: choose_dates(element[m.name]["valid"], m.dates, rng if self.random else None)
            for m in self.layout.modalities
            if m.dates
        }
        return SampleDraw(self, element, (int(top), int(left)), turns, flip, chosen)

    def batch(self, drawn) -> dict:
        """A batch (see `batch`) of tiles as drawn, or None for the fillers of the last one, which have weight 0.

        Every image is copied once, from what was read to its place in the batch.
        """
        batch = jax.tree.map(lambda spec: np.zeros(spec.shape, spec.dtype), self.layout.abstract(len(drawn)))
        for index, sample in enumerate(drawn):
            if sample is not None:
                sample.write(batch, index)
        return batch

    def sample(self, element, rng: np.random.Generator) -> dict:
        """One batch element, without the batch dimension."""
        return jax.tree.map(lambda x: x[0], self.batch([self.random_map(element, rng)]))


@dataclasses.dataclass(frozen=True)
class SampleDraw:
    """A tile with all that was drawn for it: upper left token of the crop, quarter turns, flip, positions of dates a series."""

    make_batch: MakeBatch
    element: dict
    corner: tuple[int, int]
    turns: int
    flip: bool
    chosen: dict[str, np.ndarray]

    def place(self, frame):
        """A view of a frame (H,W,...), cropped and turned."""
        side, grid, crop = frame.shape[0], self.make_batch.grid, self.make_batch.crop
        rows, columns = (slice(side * start // grid, side * (start + crop) // grid) for start in self.corner)
        frame = np.rot90(frame[rows, columns], self.turns)
        return frame[:, ::-1] if self.flip else frame

    def write(self, batch, index: int):
        """Fills sample `index` of a batch of zeros."""
        element, layout = self.element, self.make_batch.layout
        batch["tile_index"][index], batch["weight"][index] = element["tile_index"], 1
        origin = day_zero(self.make_batch.origin, [element[m.name]["dates"] for m in layout.modalities if m.dates])
        for m in layout.modalities:
            out, stored = batch[m.name], element[m.name]
            if m.dates:
                chosen, count = self.chosen[m.name], len(self.chosen[m.name])
                self._write_frames(stored["values"], chosen, out["values"][index])
                out["dates"][index, :count] = stored["dates"][chosen] - origin
                out["valid"][index, :count] = stored["valid"][chosen]
                out["present"][index] = out["valid"][index].any()
            elif len(stored["values"]):
                if len(m.shape) == 3:
                    self._write_frames(stored["values"], [0], out["values"][index][None])
                else:
                    out["values"][index] = stored["values"][0]
                out["present"][index] = True
        batch["labels"][index] = self._labels()

    def _write_frames(self, frames, positions, out):
        """Places the frames at `positions` in the first entries of out (T,H,W,C), read directly where nothing moves."""
        stored = isinstance(frames, Frames)
        direct = stored and not self.turns and not self.flip and frames.shape[1:] == out.shape[1:]
        scratch = np.empty(frames.shape[1:], frames.dtype) if stored and not direct else None
        for target, position in zip(out, positions):
            if direct:
                frames.read_into(position, target)
            elif stored:
                frames.read_into(position, scratch)
                _pixels(target)[...] = self.place(_pixels(scratch))
            else:
                target[...] = self.place(frames[position])

    def _labels(self):
        a, labels = self.make_batch, self.element["labels"]
        if labels.ndim == 1:
            return labels
        if a.void_parcels is not None and len(a.void_parcels):
            labels = np.where(np.isin(self.element["parcels"], a.void_parcels), np.uint8(a.ignore), labels)
        labels = self.place(labels)
        return tile_labels(labels, a.layout.labels[0], a.background) if len(a.layout.labels) == 1 else labels


def _pixels(frame):
    """A contiguous frame (H,W,C) as (H,W) elements of C numbers, which are turned in half the time."""
    return frame.view(np.dtype((np.void, frame.shape[-1] * frame.itemsize)))[..., 0]


def tile_labels(labels, count, background):
    """(count,) float32, 1 for every class with a pixel in labels (H,W); the background is left out, void is beyond the last class."""
    classes = count + (background >= 0)
    found = np.bincount(labels.reshape(-1), minlength=classes)[:classes] > 0
    return (np.delete(found, background) if background >= 0 else found).astype(np.float32)
