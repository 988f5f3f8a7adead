"""Scores of every subset of modalities, over the tiles that hold some of it: a prediction from nothing is no score."""

import jax.numpy as jnp
import numpy as np

from omnisat_jax.errors import UserError

NAMED = 5  # tiles that a message names


def held(present, subsets, predicted):
    """What a result says of every tile, see `Each`.

    Args:
      present: (B,M) bool, modalities of each tile.
      subsets: (S,M) bool.
      predicted: (S,B,...) floating point, what is scored.

    Returns:
      {"some", "whole", "usable"}, each (S,B) bool.
    """
    shown = present & subsets[:, None]  # (S,B,M)
    return {
        "some": shown.any(-1),
        "whole": (shown | ~subsets[:, None]).all(-1),
        "usable": jnp.isfinite(predicted).all(tuple(range(2, predicted.ndim))),
    }


class Each:
    """One score object per subset; a fresh one per evaluation.

    A result says of every tile: "some" (S,B), whether it holds at least one modality of the subset, "whole" (S,B), whether it holds all of
    them, "usable" (S,B), whether what was predicted is finite, "tile_index" and "weight" (B,), 0 for padding.

    Attributes:
      parts: the score objects.
      tiles: (S,) how many tiles held some of the subset, which are those that are scored; whole: (S,) how many held all of it.
    """

    def __init__(self, make, split, tile_names=()):
        """make: of a score object; split: from a result to what is added to each of them; tile_names: in the order of tile_index."""
        self._make, self._split, self._names = make, split, tile_names
        self.parts, self.tiles, self.whole, self._all, self._unusable = None, 0, 0, 0, set()

    def add(self, result):
        """Adds the result of a batch."""
        pieces = list(self._split(result))
        if self.parts is None:
            self.parts = [self._make() for _ in pieces]
        real = np.asarray(result["weight"]) > 0
        some = np.asarray(result["some"]) & real
        self._all += int(real.sum())
        self.tiles += some.sum(1)
        self.whole += (np.asarray(result["whole"]) & real).sum(1)
        unusable = (some & ~np.asarray(result["usable"])).any(0)
        self._unusable |= set(np.asarray(result["tile_index"])[unusable].tolist())
        for part, piece in zip(self.parts, pieces, strict=True):
            part.add(*piece)

    def compute(self) -> list[dict]:
        """Scores of each subset; nan where no tile holds any of it.

        Raises:
          UserError: predictions that are not finite, which would count as the first class; names the tiles.
        """
        if self._unusable:
            raise not_finite(self._unusable, self._all, self._names)
        return [part.compute() for part in self.parts]


def not_finite(indices, count: int, tile_names) -> UserError:
    """What to raise where predictions of tiles are not finite.

    Args:
      indices: their tile_index; count: of all tiles; tile_names: in the order of tile_index.
    """
    names = [tile_names[i] if i < len(tile_names) else f"number {i}" for i in sorted(indices)]
    shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    if len(names) == count:
        why = "The weights have diverged: lower the learning rate."
    else:
        why = "Measurements may be far out of range: look at them with `python -m data.show`, and mask what is none."
    return UserError(f"expected finite predictions, found others in {len(names)} of {count} tiles: {shown}. {why}")
