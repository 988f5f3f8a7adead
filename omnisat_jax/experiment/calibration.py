"""The temperature of a run: fitted to its validation tiles, and measured on its test tiles together with the scores."""

import dataclasses
from typing import Any

import jax
import numpy as np

from omnisat_jax.experiment.context import RunContext
from omnisat_jax.metrics.calibration import ScalingScores, Temperature, fit_temperature
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.tasks.calibrate import ScalingEffect, TemperatureLadder
from omnisat_jax.tasks.finetune import Finetune
from omnisat_jax.train.evaluator import CompiledEvaluation, Evaluator
from omnisat_jax.types import PyTree


def fit_to_validation(context: RunContext, evaluator: Evaluator, task: Finetune, params: PyTree, abstract: PyTree) -> Temperature:
    """Fits the temperature to the validation tiles with all modalities, in one pass over them.

    Args:
      context: of the run.
      evaluator: of the run.
      task: fine-tuning.
      params: of the model, on the devices.
      abstract: their ShapeDtypeStructs, with shardings.

    Returns:
      1 with a remark where the run has no validation part.

    Raises:
      UserError: predictions that are not finite; names the tiles.
    """
    if not context.split.validation:
        return Temperature(remark="The run has no validation part, so none is fitted")
    ladder = TemperatureLadder(task)
    compiled = evaluator.compile(ladder, abstract, [context.names])
    scores = ladder.scores(context.records.tile_ids)
    (sums,) = compiled(params, evaluator.batches.evaluation(context.split.validation), scores)
    return fit_temperature(sums)


def with_effect(
    compiled: CompiledEvaluation, evaluator: Evaluator, task: Finetune, params: PyTree, abstract: PyTree, temperature: float
) -> CompiledEvaluation:
    """An evaluation whose results also have "scaling": what a temperature changes with all modalities, for `ScalingScores`.

    That is computed by a program of its own on the same batches. More outputs of the program that computes the scores would change how XLA
    fuses it, and with that the last digits of scores. The temperature is an argument, so that this program is compiled once for all of them.

    Args:
      compiled: evaluation of `task`.
      evaluator: of the run.
      task: fine-tuning.
      params: of the model, on the devices.
      abstract: their ShapeDtypeStructs, with shardings.
      temperature: above 0.
    """
    everywhere = meshes.replicated(evaluator.batches.mesh)
    scalar = jax.ShapeDtypeStruct((), np.float32, sharding=everywhere)
    effect = evaluator.compile(ScalingEffect(task), {"model": abstract, "temperature": scalar}, [evaluator.names])
    scaled = {"model": params, "temperature": jax.device_put(np.float32(temperature), everywhere)}

    def both(params, batch, masks):
        return compiled.program(params, batch, masks) | {"scaling": effect.program(scaled, batch, effect.masks)}

    return dataclasses.replace(compiled, program=both)


def entry(context: RunContext, fitted: Temperature, scores: ScalingScores) -> dict[str, Any]:
    """What results.json says under "temperature_scaling".

    Args:
      context: of the run.
      fitted: to the validation tiles.
      scores: of the test tiles with all modalities.
    """
    about = {"temperature": fitted.value, "remark": fitted.remark, "validation": list(context.split.validation)}
    return about | scores.compute()
