"""Scores per subset of modalities, over the tiles that have at least one modality of the subset.

Letters: B batch, M modalities, S subsets.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from omnisat_jax.errors import UserError
from omnisat_jax.words import number_of

NAMED = 5  # tiles that an error message names


def coverage(present: jax.Array, subsets: jax.Array, predicted: jax.Array) -> dict[str, jax.Array]:
    """Which tiles can be scored with which subset.

    Args:
      present: (B,M) bool, modalities of each tile.
      subsets: (S,M) bool.
      predicted: (S,B,...) floating point, the values that are scored.

    Returns:
      (S,B) bool each: "has_any", whether the tile has at least one modality of the subset; "has_all", whether it has all of them; "finite",
      whether its predictions are finite.
    """
    shown = present & subsets[:, None]  # (S,B,M)
    return {
        "has_any": shown.any(-1),
        "has_all": (shown | ~subsets[:, None]).all(-1),
        "finite": jnp.isfinite(predicted).all(tuple(range(2, predicted.ndim))),
    }


class PerSubset:
    """One score object per subset of modalities; make a new one for each evaluation.

    Attributes:
      scores: the S score objects; empty before the first batch.
      tiles: (S,) tiles that have at least one modality of the subset, which are those that are scored.
      tiles_with_all: (S,) tiles that have all of them.
    """

    def __init__(
        self,
        make_scores: Callable[[], Any],
        split_result: Callable[[Any], Iterable[tuple]],
        tile_names: Sequence[str] = (),
    ):
        """Scores of no batch yet.

        Args:
          make_scores: returns an object with add(...) and compute().
          split_result: from the result of a batch to the arguments of add, for each subset.
          tile_names: in the order of tile_index, for error messages.
        """
        self._make_scores, self._split_result, self._tile_names = make_scores, split_result, tile_names
        self.scores: list[Any] = []
        self.tiles = self.tiles_with_all = np.zeros((), int)
        self._count, self._not_finite = 0, set()

    def add(self, result: Mapping[str, Any]) -> None:
        """Adds the result of one batch, which holds the entries of `coverage`, "tile_index" (B,) and "weight" (B,), 0 for padding."""
        pieces = list(self._split_result(result))
        if not self.scores:
            self.scores = [self._make_scores() for _ in pieces]
        real = np.asarray(result["weight"]) > 0
        scored = np.asarray(result["has_any"]) & real
        self._count += int(real.sum())
        self.tiles = self.tiles + scored.sum(1)
        self.tiles_with_all = self.tiles_with_all + (np.asarray(result["has_all"]) & real).sum(1)
        not_finite = (scored & ~np.asarray(result["finite"])).any(0)
        self._not_finite |= set(np.asarray(result["tile_index"])[not_finite].tolist())
        for scores, piece in zip(self.scores, pieces, strict=True):
            scores.add(*piece)

    def compute(self) -> list[dict]:
        """The scores of each subset; nan where no tile has any of its modalities.

        Raises:
          UserError: predictions that are not finite, which argmax would count as the first class; names the tiles.
        """
        if self._not_finite:
            raise not_finite_error(self._not_finite, self._count, self._tile_names)
        return [scores.compute() for scores in self.scores]


def not_finite_error(indices: Collection[int], count: int, tile_names: Sequence[str]) -> UserError:
    """The error to raise when predictions of tiles are not finite.

    Args:
      indices: their tile_index.
      count: number of all tiles.
      tile_names: in the order of tile_index.
    """
    names = [tile_names[i] if i < len(tile_names) else f"number {i}" for i in sorted(indices)]
    shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    if len(names) == count:
        why = "The weights have diverged: lower the learning rate."
    else:
        why = "Measurements may be far out of range: inspect them with `python -m data.show`, and mask the invalid ones."
    return UserError(f"expected finite predictions, found others in {len(names)} of {number_of(count, 'tile')}: {shown}. {why}")
