"""The interface of a task: what goes in, what is optimized, what is reported. The training loop is the same for all tasks.

Letters: B batch, M modalities, S subsets of modalities.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self

import jax

from omnisat_jax.ops.random import Streams
from omnisat_jax.types import Batch, Params, PyTree, Statistics


@dataclasses.dataclass(frozen=True)
class LabelInfo:
    """The labels of a dataset.

    Attributes:
      classes: names of the predicted classes, in label order.
      ignore: label value of void pixels.
      unscored: classes that are predicted but do not enter mean scores.
    """

    classes: tuple[str, ...]
    ignore: int
    unscored: tuple[str, ...] = ()


class Normalizing:
    """Base of the tasks with a field `statistics`; see `Evaluable`."""

    def with_statistics(self, statistics: Statistics) -> Self:
        return dataclasses.replace(self, statistics=statistics)  # pyright: ignore[reportArgumentType, reportCallIssue]


class Scores(Protocol):
    """Adds up the results of one evaluation."""

    def add(self, result: Any) -> None:
        """Adds the result of `Evaluable.evaluate` for one batch, on the host."""

    def compute(self) -> Any:
        """The scores of everything added so far."""


class Evaluable(Protocol):
    """What can be evaluated: pure functions of parameters and a batch, jittable, without I/O."""

    @property
    def statistics(self) -> Statistics:
        """{modality: {"mean" (C,), "std" (C,)}} of the training tiles, by which inputs are normalized."""
        ...

    def with_statistics(self, statistics: Statistics) -> Self:
        """The same with other statistics. Compiled programs take them as an argument, so that one program serves every fold."""
        ...

    def init(self, key: jax.Array, batch: Batch) -> Params:
        """Initial parameters for batches of this form; values are not used."""
        ...

    def evaluate(self, params: Params, batch: Batch, subsets: jax.Array) -> PyTree:
        """The results of one batch for each subset of modalities.

        Args:
          batch: see `omnisat_jax.batch`; tiles with weight 0 do not count.
          subsets: (S,M) bool.
        """
        ...


class Task(Evaluable, Protocol):
    """The objective of one stage of training.

    Attributes:
      step_name: name of the compiled step.
      best: name of the validation score that ranks checkpoints.
      higher: whether a higher score is better.
    """

    step_name: ClassVar[str]
    best: ClassVar[str]
    higher: ClassVar[bool]

    def loss(self, params: Params, batch: Batch, streams: Streams) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of one training step.

        Args:
          streams: the random keys of the step, by name.

        Returns:
          loss: float32 scalar.
          metrics: float32 scalars to report.
        """
        ...

    def scores(self, tile_names: Sequence[str] = ()) -> Scores:
        """A fresh object for one evaluation; `compute` returns a dict of scores per subset.

        Args:
          tile_names: in the order of tile_index, for error messages.
        """
        ...
