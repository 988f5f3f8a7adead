"""Compiled steps: dates of a series, rows of the contrastive loss, modalities and their subsets."""

import functools
from collections.abc import Sequence

import jax
import numpy as np

from benchmarks.contrastive_loss import MAX_LOGITS, VIEWS, make_inputs, value_and_gradient
from benchmarks.growth.powers import Cost, Growth, announce
from benchmarks.pretrain_step import make_stage
from benchmarks.series_encoders import measure_encoder
from benchmarks.timing import Measurement, measure
from configs import pastis
from omnisat_jax.config import schema
from omnisat_jax.losses.infonce import infonce_loss
from omnisat_jax.losses.infonce_ring import ring_infonce_loss
from omnisat_jax.modalities import subsets
from omnisat_jax.parallel.mesh import make_mesh
from omnisat_jax.train.step import make_step

BATCH = 2  # tiles of a fine-tuning step and of an evaluation
ORDER = ("s2", "s1a", "s1d", "spot")  # in which modalities are added


def _cost(what: str, size: int, of: str, measured: Measurement) -> Cost:
    return announce(what, size, of, Cost(measured.seconds, measured.temporary_mib))


def dates(counts: Sequence[int], side: int) -> list[Growth]:
    """Forward and backward pass of one tile by each series encoder, at the widths of the demo.

    Args:
      counts: dates of the series, ascending.
      side: pixels of the tile.
    """
    config = schema.parse(pastis.get_config("demo")).model
    return [
        Growth(f"{name}, a training step", "dates", {count: _cost(name, count, "dates", measure_encoder(name, config, count, side)) for count in counts})
        for name in ("temporal_first", "utae")
    ]


def rows(tiles: Sequence[int], patches: int) -> list[Growth]:
    """The contrastive loss with its gradient on one device, as a ring and dense; the latter only as far as its logits are small.

    Args:
      tiles: per step, ascending.
      patches: of each tile.
    """
    mesh = make_mesh(schema.MeshConfig(1, 1, 1, 0), jax.devices()[:1])
    losses = {"ring": functools.partial(ring_infonce_loss, mesh=mesh), "dense": infonce_loss}
    found: dict[str, dict[int, Cost]] = {name: {} for name in losses}
    for name, loss in losses.items():
        for count in tiles:
            size = VIEWS * count * patches
            if name == "ring" or 4 * size**2 < MAX_LOGITS:
                found[name][size] = _cost(name, size, "rows", measure(value_and_gradient(loss), *make_inputs(count, patches)))
    return [Growth(f"contrastive loss, {name}", "rows", costs) for name, costs in found.items()]


def modalities(counts: Sequence[int], side: int) -> list[Growth]:
    """A fine-tuning step and an evaluation of the demo, with more and more modalities and with more and more subsets of them.

    Args:
      counts: numbers of modalities, ascending.
      side: label pixels of a tile.
    """
    steps, evaluations = {}, {}
    for count in counts:
        config = pastis.get_config("demo")
        for name in ORDER[count:]:
            del config.modalities[name]
        config.finetune.batch_size, config.pretrain.steps = BATCH, 0
        stage = make_stage(schema.parse(config), "finetune", side)
        steps[count] = _cost("fine-tuning", count, "modalities", measure(make_step(stage.task, stage.optimizer), *stage.arguments))
        if count == counts[-1]:
            state, batch, _ = stage.arguments
            every = subsets(ORDER[:count])
            for number in (2**fewer - 1 for fewer in counts):
                masks = np.array([[name in subset for name in stage.task.model.names] for subset in every[:number]])
                evaluations[number] = _cost("evaluation", number, "subsets", measure(stage.task.evaluate, state.evaluated, batch, masks))
    return [Growth("fine-tuning step", "modalities", steps), Growth(f"evaluation of {BATCH} tiles", "subsets", evaluations)]
