"""Compiled evaluation: scores of a task over a whole set of tiles, each counted once."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from omnisat_jax.input.device import prefetch
from omnisat_jax.metrics.representation import COLLAPSED, SHORTCUT
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.parallel.compilation import collecting_rarely, options_for
from omnisat_jax.tasks.base import Evaluable, Scores
from omnisat_jax.train.batches import RunBatches
from omnisat_jax.train.statistics import abstract, place
from omnisat_jax.types import Batch, PyTree, Statistics

Watch = Callable[[Batch, PyTree], None]  # called with every (host batch, result), for pictures
Monitor = Callable[[PyTree, int], dict[str, Any]]  # (parameters, step) -> further scores


@dataclasses.dataclass(frozen=True, eq=False)
class CompiledEvaluation:
    """The evaluation of fixed subsets of modalities, compiled.

    Attributes:
      program: (params, batch, masks) -> result, replicated.
      masks: (S,M) bool on the devices, which modalities each subset has.
      sharding: of a batch.
    """

    program: Callable[[PyTree, Batch, jax.Array], PyTree]
    masks: jax.Array
    sharding: jax.sharding.NamedSharding

    def __call__(self, params: PyTree, batches: Iterator[Batch], scores: Scores, watch: Watch | None = None) -> Any:
        """Evaluates all batches and adds up.

        Args:
          params: of the model, on the devices.
          batches: host batches; fillers have weight 0.
          scores: fresh.
          watch: sees every batch and its result.

        Returns:
          What `scores` computes.
        """
        for host, batch in prefetch(batches, self.sharding):
            result = jax.device_get(self.program(params, batch, self.masks))
            scores.add(result)
            if watch:
                watch(host, result)
        return scores.compute()


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluator:
    """Compiles evaluations of a run.

    Attributes:
      batches: of the run.
      names: modalities in model order.
    """

    batches: RunBatches
    names: tuple[str, ...]

    def compile(self, task: Evaluable, abstract_params: PyTree, subsets: Sequence[Sequence[str]]) -> CompiledEvaluation:
        """Compiles `task.evaluate` for the given subsets of modalities.

        Args:
          task: what is evaluated.
          abstract_params: ShapeDtypeStructs of its parameters, with shardings.
          subsets: names of modalities.
        """
        everywhere = meshes.replicated(self.batches.mesh)
        batch = self.batches.abstract_evaluation()
        masks = jax.ShapeDtypeStruct((len(subsets), len(self.names)), bool, sharding=everywhere)

        def evaluate(params: PyTree, batch: Batch, masks: jax.Array, statistics: Statistics) -> PyTree:
            return task.with_statistics(statistics).evaluate(params, batch, masks)

        with collecting_rarely():
            lowered = jax.jit(evaluate, out_shardings=everywhere).lower(abstract_params, batch, masks, abstract(task.statistics, self.batches.mesh))
        compiled = lowered.compile(compiler_options=options_for(self.batches.mesh.devices.flat[0].platform))
        statistics = place(task.statistics, self.batches.mesh)

        def program(params: PyTree, batch: Batch, masks: jax.Array) -> PyTree:
            return compiled(params, batch, masks, statistics)

        return CompiledEvaluation(program, self.masks(subsets), meshes.batch_sharding(self.batches.mesh))

    def masks(self, subsets: Sequence[Sequence[str]]) -> jax.Array:
        """(S,M) bool on the devices: which modalities each subset has."""
        masks = np.array([[name in subset for name in self.names] for subset in subsets])
        return jax.device_put(masks, meshes.replicated(self.batches.mesh))


@dataclasses.dataclass(frozen=True, eq=False)
class Validation:
    """Scores on the validation tiles while a stage trains.

    Attributes:
      compiled: the evaluation of all modalities.
      batches: of the run.
      make_scores: tile names -> fresh scores of the task.
      monitor: adds scores of its own, or None.
      warn: shows a warning to the user.
    """

    compiled: CompiledEvaluation
    batches: RunBatches
    make_scores: Callable[[tuple[str, ...]], Any]
    monitor: Monitor | None
    warn: Callable[[str], None]

    def __call__(self, params: PyTree, step: int) -> dict[str, float]:
        """The scores of the parameters after a step."""
        scores = self.make_scores(self.batches.records.tile_ids)
        values = self.compiled(params, self.batches.evaluation(self.batches.split.validation), scores)[0]
        if self.monitor:
            values = values | self.monitor(params, step)
        for text in warnings(values):
            self.warn(text)
        return {key: value for key, value in values.items() if isinstance(value, float)}


def warnings(scores: Mapping[str, Any]) -> Iterator[str]:
    """What the scores of a validation of pre-training show to be going wrong, in sentences."""
    if scores.get("effective_rank", COLLAPSED) < COLLAPSED:
        yield (
            f"the embedding has collapsed to about {scores['effective_rank']:.1f} directions; lower the learning rate, "
            "raise contrastive.temperature or the batch size"
        )
    if scores.get("position_r2", 0.0) > SHORTCUT:
        yield (
            f"the embedding encodes the position of a patch in its tile (R² {scores['position_r2']:.2f}), which says nothing about the "
            "ground; set contrastive.roll=True"
        )
