"""From stored tiles to batches, in NumPy, with one random draw for all modalities of a tile.

Letters: T dates, H W pixels, C channels.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import grain
import jax
import numpy as np

from omnisat_jax.batch import BatchLayout
from omnisat_jax.dates import choose_dates, day_zero
from omnisat_jax.records.frames import Frames


@dataclasses.dataclass(frozen=True)
class MakeBatch(grain.transforms.RandomMap):
    """Selects dates of tiles, crops, flips and pads them to the static layout, and batches them.

    Attributes:
      layout: of the batches.
      grid: tokens per tile side before cropping.
      crop: tokens per side to keep; equal to `grid` for the whole tile.
      origin: day 0 of the dates: an ISO day, "season" or "year".
      random: whether to draw dates, crop and flips (training), instead of evenly spaced dates, a center crop and no flips.
      augment: whether to draw flips and rotations if `random`.
      ignore: label of unlabeled pixels.
      background: the class that is not a label of a tile, if labels of tiles are derived from dense labels; -1 if there is none.
      void_parcels: sorted numbers of the parcels whose pixels become unlabeled, or None.
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

    def random_map(self, element: Mapping[str, Any], rng: np.random.Generator) -> "SampleDraw":
        """Makes all random choices for a tile, without reading its images.

        Args:
          element: an example of `TileSource`.
          rng: the generator of this sample.
        """
        # Draw the same numbers for every tile, so that an absent modality does not change the randomness of others.
        top, left = rng.integers(0, self.grid - self.crop + 1, 2) if self.random else [(self.grid - self.crop) // 2] * 2
        turns, flip = (int(rng.integers(0, 4)), bool(rng.integers(0, 2))) if self.random and self.augment else (0, False)
        chosen = {
            m.name: choose_dates(element[m.name]["valid"], m.dates, rng if self.random else None)
            for m in self.layout.modalities
            if m.dates
        }
        return SampleDraw(self, element, (int(top), int(left)), turns, flip, chosen)

    def batch(self, drawn: "Sequence[SampleDraw | None]") -> dict[str, Any]:
        """Reads the drawn tiles into a batch; see `omnisat_jax.batch`.

        Every image is copied once, from the file or its buffer to its position in the batch.

        Args:
          drawn: one entry per sample; None for the fillers of the last batch, which have weight 0.
        """
        batch = jax.tree.map(lambda spec: np.zeros(spec.shape, spec.dtype), self.layout.abstract(len(drawn)))
        for index, sample in enumerate(drawn):
            if sample is not None:
                sample.write(batch, index)
        return batch

    def sample(self, element: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Makes one sample, without the batch dimension; see `random_map`."""
        return jax.tree.map(lambda x: x[0], self.batch([self.random_map(element, rng)]))


@dataclasses.dataclass(frozen=True)
class SampleDraw:
    """A tile together with the random choices for it.

    Attributes:
      make_batch: the transform.
      element: an example of `TileSource`.
      corner: row and column of the first token of the crop.
      turns: quarter turns, counter-clockwise.
      flip: whether to flip columns after turning.
      chosen: {series: positions of its dates}.
    """

    make_batch: MakeBatch
    element: Mapping[str, Any]
    corner: tuple[int, int]
    turns: int
    flip: bool
    chosen: dict[str, np.ndarray]

    def apply(self, frame: np.ndarray) -> np.ndarray:
        """Returns a view of a frame (H,W,...), cropped, turned and flipped."""
        side, grid, crop = frame.shape[0], self.make_batch.grid, self.make_batch.crop
        rows, columns = (slice(side * start // grid, side * (start + crop) // grid) for start in self.corner)
        frame = np.rot90(frame[rows, columns], self.turns)
        return frame[:, ::-1] if self.flip else frame

    def write(self, batch: Mapping[str, Any], index: int) -> None:
        """Writes the tile to sample `index` of a batch of zeros."""
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

    def _write_frames(self, frames: Frames | np.ndarray, positions: Sequence[int] | np.ndarray, out: np.ndarray) -> None:
        """Writes the frames at `positions` to the first entries of out (T,H,W,C). Frames that are not moved are read in place."""
        if not isinstance(frames, Frames):
            for target, position in zip(out, positions):
                target[...] = self.apply(frames[position])
        elif not self.turns and not self.flip and frames.shape[1:] == out.shape[1:]:
            for target, position in zip(out, positions):
                frames.read_into(position, target)
        else:
            scratch = np.empty(frames.shape[1:], frames.dtype)
            for target, position in zip(out, positions):
                frames.read_into(position, scratch)
                _pixels(target)[...] = self.apply(_pixels(scratch))

    def _labels(self) -> np.ndarray:
        make_batch, labels = self.make_batch, self.element["labels"]
        if labels is None:  # of additional records, which have none
            return np.full(make_batch.layout.labels, max(make_batch.ignore, 0), make_batch.layout.labels_dtype)
        if labels.ndim == 1:
            return labels
        if make_batch.void_parcels is not None and len(make_batch.void_parcels):
            labels = np.where(np.isin(self.element["parcels"], make_batch.void_parcels), np.uint8(make_batch.ignore), labels)
        labels = self.apply(labels)
        shape = make_batch.layout.labels
        return tile_labels(labels, shape[0], make_batch.background) if len(shape) == 1 else labels


def _pixels(frame: np.ndarray) -> np.ndarray:
    """A contiguous frame (H,W,C) as (H,W) elements of C numbers each, which are turned in half the time."""
    return frame.view(np.dtype((np.void, frame.shape[-1] * frame.itemsize)))[..., 0]


def tile_labels(labels: np.ndarray, count: int, background: int) -> np.ndarray:
    """Derives labels of a tile from dense labels.

    Args:
      labels: uint8 (H,W); values beyond the last class are unlabeled.
      count: number of classes, K, without the background.
      background: the class that is left out, or -1.

    Returns:
      float32 (K,), 1 for every class with at least one pixel.
    """
    classes = count + (background >= 0)
    found = np.bincount(labels.reshape(-1), minlength=classes)[:classes] > 0
    return (np.delete(found, background) if background >= 0 else found).astype(np.float32)
