"""Pre-training without labels: the model runs once per step, and the loss is a weighted sum of terms that read its outputs.

Letters: B batch, M modalities.
"""

import dataclasses
import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax

from omnisat_jax.batch import normalise, presence
from omnisat_jax.models.pretrainable import PretrainableModel, PretrainDraws
from omnisat_jax.ops.jitter import jittered
from omnisat_jax.ops.microbatches import in_microbatches
from omnisat_jax.ops.random import Streams, drop_modalities, of_microbatch
from omnisat_jax.tasks.base import Normalizing
from omnisat_jax.tasks.terms.base import Draws, Step, Term
from omnisat_jax.types import Batch, Params, PyTree, Statistics


@dataclasses.dataclass(frozen=True)
class Pretrain(Normalizing):
    """Task of the pre-training stage, see `tasks.base.Task`.

    Fusion sees a random proper subset of the modalities of each tile (modality dropout); encoders run on all of them. Terms compare the tiles
    of the whole batch, whatever the number of microbatches.

    Attributes:
      model: see `models.registry.make_model`.
      statistics: {modality: {"mean" (C,), "std" (C,)}} of the training tiles.
      terms: of the loss, see `tasks.terms.registry.make_terms`.
      modality_dropout: probability that a present modality is hidden from fusion.
      num_microbatches: equal parts of the batch that go through the model one after another.
    """

    model: PretrainableModel
    statistics: Statistics
    terms: tuple[Term, ...]
    modality_dropout: float
    num_microbatches: int = 1

    step_name: ClassVar[str] = "contrastive_step"
    best: ClassVar[str] = "loss"
    higher: ClassVar[bool] = False

    def init(self, key: jax.Array, batch: Batch) -> Params:
        step = self._step(jax.random.key(0), batch, train=False)
        return self.model.init(key, self._tiles(batch, step), step.draws.shared, False, method=self._read)["params"]

    def loss(self, params: Params, batch: Batch, streams: Streams) -> tuple[jax.Array, dict[str, jax.Array]]:
        step = self._step(streams("draws"), batch, train=True)
        visible = drop_modalities(streams("modality_dropout"), step.present, self.modality_dropout)
        return self._objective(params, batch, step._replace(visible=visible & step.present), {"dropout": streams("dropout")})

    def evaluate(self, params: Params, batch: Batch, subsets: jax.Array) -> dict[str, jax.Array]:
        """The loss and the metrics of one batch, scalars, with the weight of the batch; the subsets are not used."""
        del subsets  # the terms compare all modalities with each other
        step = self._step(jax.random.key(0), batch, train=False)
        loss, metrics = self._objective(params, batch, step, None)
        return metrics | {"loss": loss, "weight": batch["weight"].sum()}

    def scores(self, tile_names: Sequence[str] = ()) -> "MeanScores":
        del tile_names
        return MeanScores()

    def _step(self, key, batch, train) -> Step:
        """Presence and draws of a step in which every modality is visible."""
        present = presence(batch, self.model.names) & (batch["weight"] > 0)[:, None]
        draws = [term.draw(key, batch, train=train) for term in self.terms]
        merged = Draws(per_tile=_merged(d.per_tile for d in draws), shared=_merged(d.shared for d in draws))
        return Step(batch=batch, statistics=self.statistics, present=present, visible=present, draws=merged, train=train)

    def _tiles(self, batch, step):
        """Everything that is cut into microbatches."""
        return {name: batch[name] for name in self.model.names}, step.visible, step.draws.per_tile

    def _read(self, model: PretrainableModel, tiles: Any, shared: Mapping[str, PyTree], train: bool) -> dict[str, PyTree]:
        """{term: what it reads of these tiles}; `model` is bound to its parameters."""
        measured, visible, per_tile = tiles
        inputs = normalise(measured, self.statistics, model.names)
        draws = PretrainDraws(masked=per_tile.get("masked"), shifts=shared.get("shifts"))
        fuse = any(term.needs_fused for term in self.terms)
        outputs = model.embed(jittered(inputs, per_tile.get("jitter", {})), visible, draws, fuse=fuse, train=train)
        return {term.name: term.read(model, outputs, Draws(per_tile=per_tile, shared=shared)) for term in self.terms}

    def _objective(self, params, batch, step, rngs):
        def read(tiles: Any, index: jax.Array) -> Any:
            drawn = rngs and of_microbatch(rngs, index)
            return self.model.apply({"params": params}, tiles, step.draws.shared, step.train, rngs=drawn, method=self._read)

        axes: Any = {term.name: term.batch_axes for term in self.terms}
        outputs: Any = in_microbatches(read, self.num_microbatches if step.train else 1, self._tiles(batch, step), batch_axes=axes)
        losses, metrics = [], {}
        for term in self.terms:
            value, details = term.loss(outputs[term.name], step)
            losses.append(term.weight * value)
            metrics |= {term.name: value, **details}
            if not step.train:
                metrics |= term.metrics(outputs[term.name], step)
        return functools.reduce(operator.add, losses), metrics


class MeanScores:
    """The mean of scalars over batches, weighted by their tiles."""

    def __init__(self):
        self._sums, self._weight = {}, 0.0

    def add(self, result: Mapping[str, Any]) -> None:
        """Adds the scalars of one batch; "weight" is the number of its tiles."""
        weight = float(result["weight"])
        self._weight += weight
        for key in result.keys() - {"weight"}:
            self._sums[key] = self._sums.get(key, 0.0) + weight * float(result[key])

    def compute(self) -> list[dict[str, float]]:
        """The means, in a list of one: they are of all modalities together."""
        return [{key: value / self._weight for key, value in sorted(self._sums.items())}]


def _merged(draws):
    """One dict of all; names must differ."""
    merged = {}
    for drawn in draws:
        if twice := merged.keys() & drawn.keys():
            raise ValueError(f"two loss terms have a draw of the same name: {', '.join(sorted(twice))}")
        merged |= drawn
    return merged
