"""What a stage must say of itself: what goes in, what is optimised, what is reported. The loop is the same for all."""

from typing import Any, Protocol


class Task(Protocol):
    """One stage's objective over (params, batch); pure, jittable, no I/O.

    Attributes:
      step_name: name of the compiled step.
      best: name of the validation score by which the best checkpoint is kept, and
      higher: whether more of it is better.
    """

    step_name: str
    best: str
    higher: bool

    def init(self, key, batch) -> Any:
        """Parameters for a batch of this form (values are not used)."""

    def loss(self, params, batch, streams):
        """(loss, metrics): float32 scalars of one training step; `streams` gives its random keys."""

    def evaluate(self, params, batch, subsets):
        """Pytree of results of one evaluation batch for each subset of modalities, subsets (S,M) bool."""

    def scores(self, tile_names=()):
        """A fresh object with add(result of evaluate) and compute() -> a dict of scores for each subset; tile_names are for its messages."""
