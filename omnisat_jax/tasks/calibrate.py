"""Temperature scaling of a fine-tuned model: the likelihoods that a temperature is fitted to, and what it changes.

Letters: B batch, M modalities, S subsets, T temperatures.
"""

import dataclasses
from collections.abc import Sequence
from typing import Self

import jax
import jax.numpy as jnp

from omnisat_jax.metrics.calibration import TEMPERATURES, LikelihoodSums
from omnisat_jax.metrics.subsets import PerSubset
from omnisat_jax.tasks.finetune import Finetune
from omnisat_jax.types import Batch, Params, Statistics


@dataclasses.dataclass(frozen=True)
class _OfTask:
    """Base of what evaluates the logits of a task.

    Attributes:
      task: whose logits are scaled.
    """

    task: Finetune

    @property
    def statistics(self) -> Statistics:
        """Those of the task."""
        return self.task.statistics

    def with_statistics(self, statistics: Statistics) -> Self:
        """The same of the task with other statistics."""
        return dataclasses.replace(self, task=self.task.with_statistics(statistics))


@dataclasses.dataclass(frozen=True)
class TemperatureLadder(_OfTask):
    """Evaluates the likelihood of the labels at every one of `TEMPERATURES`; see `tasks.base.Evaluable`.

    Attributes:
      task: whose logits are scaled.
    """

    def init(self, key: jax.Array, batch: Batch) -> Params:
        return self.task.init(key, batch)

    def evaluate(self, params: Params, batch: Batch, subsets: jax.Array) -> dict[str, jax.Array]:
        """"likelihood" (S,B,T), the summed negative log-likelihood of each tile, and the entries that `PerSubset` needs."""
        logits = self.task.logits(params, batch, subsets)
        covered = self.task.coverage(batch, logits, subsets)
        weight = covered["has_any"] * batch["weight"]

        def measure(pair: tuple[jax.Array, jax.Array]) -> jax.Array:
            return self.task.likelihood(pair[0], batch, pair[1], TEMPERATURES)

        return {"likelihood": jax.lax.map(measure, (logits, weight))} | covered

    def scores(self, tile_names: Sequence[str] = ()) -> PerSubset:
        """Fresh sums; `compute` returns those of each subset, (T,) float64, for `fit_temperature`.

        Args:
          tile_names: in the order of tile_index, for error messages.
        """
        return PerSubset(LikelihoodSums, lambda result: [(likelihood,) for likelihood in result["likelihood"]], tile_names)


@dataclasses.dataclass(frozen=True)
class ScalingEffect(_OfTask):
    """Evaluates what a temperature changes; see `tasks.base.Evaluable`.

    Attributes:
      task: whose logits are scaled.
    """

    def init(self, key: jax.Array, batch: Batch) -> Params:
        return {"model": self.task.init(key, batch), "temperature": jnp.ones(())}

    def evaluate(self, params: Params, batch: Batch, subsets: jax.Array) -> dict[str, jax.Array]:
        """The batch that `ScalingScores` adds, of tiles that have at least one modality of the subset.

        Args:
          params: "model", the parameters of the task; "temperature", a float32 scalar.
          batch: see `omnisat_jax.batch`.
          subsets: (1,M) bool.
        """
        all_logits, temperature = self.task.logits(params["model"], batch, subsets), params["temperature"]
        logits, weight = all_logits[0].astype(jnp.float32), self.task.coverage(batch, all_logits, subsets)["has_any"][0] * batch["weight"]
        counts = [self.task.reliability(scaled, batch, weight) for scaled in (logits, logits / temperature)]
        likelihood = self.task.likelihood(logits, batch, weight, jnp.stack([jnp.ones_like(temperature), temperature]))
        return {"likelihood": likelihood, "counts": jnp.stack(counts)}
