"""Pre-training without labels: align the modalities of each place, and what fusion makes of a random subset of them."""

import dataclasses

import jax.numpy as jnp

from omnisat_jax.batch import normalise, presence
from omnisat_jax.losses.contrastive import contrastive_loss
from omnisat_jax.models.omnisat import OmniSat
from omnisat_jax.ops.random import drop_modalities


@dataclasses.dataclass(frozen=True)
class Pretrain:
    """See `tasks.base.Task`.

    The fused view sees a random proper subset of the modalities (modality dropout) and must still agree with each of them, which is
    what trains fusion without labels.
    """

    model: OmniSat
    statistics: dict
    modality_dropout: float
    step_name: str = "contrastive_step"
    best: str = "loss"
    higher: bool = False

    def init(self, key, batch):
        return self.model.init(key, *self._inputs(batch), train=False, method="embed")["params"]

    def _inputs(self, batch):
        names = self.model.names
        present = presence(batch, names) & (batch["weight"] > 0)[:, None]
        return normalise(batch, self.statistics, names), present

    def _objective(self, params, batch, visible, group, train, rngs):
        inputs, present = self._inputs(batch)
        visible = visible & present
        z, temperature = self.model.apply({"params": params}, inputs, visible, train=train, rngs=rngs, method="embed")
        views = present.T
        if self.model.contrast.fused:
            views = jnp.concatenate([views, visible.any(1)[None]])
        loss, accuracy = contrastive_loss(z, views, temperature, group=group)
        return loss, {"contrast_accuracy": accuracy, "temperature": temperature}

    def loss(self, params, batch, streams):
        present = presence(batch, self.model.names) & (batch["weight"] > 0)[:, None]
        visible = drop_modalities(streams("modality_dropout"), present, self.modality_dropout)
        rngs = {"dropout": streams("dropout")}
        return self._objective(params, batch, visible, self.model.contrast.group, True, rngs)

    def evaluate(self, params, batch, subsets):
        del subsets  # alignment is a property of all modalities together
        visible = presence(batch, self.model.names)
        # A batch of evaluation is one group: its size is the same for every number of devices.
        loss, metrics = self._objective(params, batch, visible, 0, False, None)
        return {"loss": loss, "contrast_accuracy": metrics["contrast_accuracy"], "weight": batch["weight"].sum()}

    def scores(self):
        return _Mean()


class _Mean:
    """Mean over batches, weighted by real samples."""

    def __init__(self):
        self._sums, self._weight = {}, 0.0

    def add(self, result):
        weight = float(result["weight"])
        self._weight += weight
        for key in ("loss", "contrast_accuracy"):
            self._sums[key] = self._sums.get(key, 0.0) + weight * float(result[key])

    def compute(self):
        return [{key: value / self._weight for key, value in self._sums.items()}]
