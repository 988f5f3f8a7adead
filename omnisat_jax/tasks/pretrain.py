"""Pre-training without labels: align the views of each place, and reconstruct what fusion did not see.

Letters: B batch, M modalities, P patches, V views.
"""

import dataclasses

import jax
import jax.numpy as jnp

from omnisat_jax.batch import normalise, presence
from omnisat_jax.config import schema
from omnisat_jax.losses.infonce import infonce_loss
from omnisat_jax.losses.infonce_ring import ring_infonce_loss
from omnisat_jax.losses.reconstruction import hidden_mean, image_error, series_error
from omnisat_jax.metrics.representation import position_r2, representation_scores
from omnisat_jax.models.pretrainable import FUSED, PretrainableModel, PretrainDraws
from omnisat_jax.ops.jitter import draw_jitter, jittered
from omnisat_jax.ops.microbatches import in_microbatches
from omnisat_jax.ops.random import drop_modalities, mask_tokens, of_microbatch, stratified


@dataclasses.dataclass(frozen=True)
class Pretrain:
    """See `tasks.base.Task`. With a mesh the contrast runs as a ring over its devices, else dense; it compares the tiles of all parts.

    The fused view sees a random proper subset of the modalities (modality dropout) and must still agree with each of them; with
    reconstruction it also sees only part of their tokens and must tell what the others measured.
    """

    model: PretrainableModel
    statistics: dict
    modality_dropout: float
    reconstruction: schema.ReconstructionConfig
    mesh: jax.sharding.Mesh | None = None
    num_microbatches: int = 1
    step_name: str = "contrastive_step"
    best: str = "loss"
    higher: bool = False

    def init(self, key, batch):
        inputs, present = self._inputs(batch)
        draws = self._draws(jax.random.key(0), inputs, present, train=False)
        arguments = dict(reconstruct=self._dates, train=False, method="embed")
        return self.model.init(key, inputs, present, draws, **arguments)["params"]

    @property
    def _dates(self):
        return self.reconstruction.date_share if self.reconstruction.weight else 0.0

    def _inputs(self, batch):
        names = self.model.names
        present = presence(batch, names) & (batch["weight"] > 0)[:, None]
        return normalise(batch, self.statistics, names), present

    def _draws(self, key, inputs, present, train):
        masked = pixels = shifts = None
        sensor = next(spec for spec in self.model.specs if spec.kind != "location")
        grid = inputs[sensor.name]["values"].shape[-2] // sensor.patch
        if self.reconstruction.weight:
            masked = mask_tokens(jax.random.fold_in(key, 0), (*present.shape, grid**2), self.reconstruction.mask_ratio)
        if "pixel" in self.model.contrastive.granularities:
            pixels = stratified(jax.random.fold_in(key, 1), self.model.contrastive.pixels)
        if train and self.model.contrastive.roll:
            shifts = jax.random.randint(jax.random.fold_in(key, 2), (present.shape[1], 2), 0, grid)
        return PretrainDraws(masked, pixels, shifts)

    def _jitter(self, key, inputs):
        bands, days = self.model.contrastive.jitter, self.model.contrastive.jitter_days
        return draw_jitter(jax.random.fold_in(key, 3), inputs, bands=bands, days=days) if bands or days else {}

    def _objective(self, params, batch, visible, key, group, train, rngs):
        inputs, present = self._inputs(batch)
        visible = visible & present
        draws = self._draws(key, inputs, present, train)
        jitter = self._jitter(key, inputs) if train else {}

        def embed(tiles, part):
            measured, visible, masked, jitter = tiles
            inputs = jittered(normalise(measured, self.statistics, self.model.names), jitter)
            arguments = dict(reconstruct=self._dates, train=train, rngs=rngs and of_microbatch(rngs, part), method="embed")
            return self.model.apply({"params": params}, inputs, visible, draws._replace(masked=masked), **arguments)

        tiles = {name: batch[name] for name in self.model.names}, visible, draws.masked, jitter
        views, temperature, decoded = in_microbatches(embed, self.num_microbatches if train else 1, tiles, batch_axes=(1, -1, 0))
        metrics = {"temperature": temperature}
        seen = {granularity: self._present(v, present, visible) for granularity, v in views.items()}
        losses, accuracies = zip(*(self._align(v, seen[granularity], temperature, group) for granularity, v in views.items()))
        metrics |= {"contrastive": sum(losses) / len(losses), "contrastive_accuracy": sum(accuracies) / len(accuracies)}
        loss = self.model.contrastive.weight * metrics["contrastive"]
        if decoded:
            metrics["reconstruction"] = self._reconstruct(decoded, inputs, present, visible, draws.masked)
            loss = loss + self.reconstruction.weight * metrics["reconstruction"]
        if not train:
            # Of the finest granularity that is contrasted.
            granularity, first = next(iter(views.items()))
            metrics |= representation_scores(first.z, seen[granularity])
            if granularity != "pixel":
                encoders = [index for index, name in enumerate(first.names) if name != FUSED]  # fusion is told the place
                metrics["position_r2"] = position_r2(first.z[jnp.array(encoders)], seen[granularity][jnp.array(encoders)])
        return loss, metrics

    def _present(self, views, present, visible):
        """(V,B) bool: which views each tile has."""
        seen = {name: present[:, index] for index, name in enumerate(self.model.names)}
        sensors = jnp.asarray([spec.kind != "location" for spec in self.model.specs])
        seen[FUSED] = (visible & sensors).any(1)
        return jnp.stack([seen[name] for name in views.names])

    def _align(self, views, present, temperature, group):
        if self.mesh is None:
            return infonce_loss(views.z, present, temperature, group=group)
        return ring_infonce_loss(views.z, present, temperature, mesh=self.mesh, group=group)

    def _reconstruct(self, decoded, inputs, present, visible, masked):
        errors, hidden = [], []
        for index, spec in enumerate(self.model.specs):
            if spec.name not in decoded:
                continue
            values, out = inputs[spec.name]["values"], decoded[spec.name]
            if out.chosen is None:
                errors.append(image_error(out.values, values, spec.patch))
            else:
                errors.append(series_error(out.values, values, out.chosen, out.valid, spec.patch))
            hidden.append(present[:, index, None] & (masked[:, index] | ~visible[:, index, None]))
        return hidden_mean(errors, jnp.stack(hidden, 1))

    def loss(self, params, batch, streams):
        present = presence(batch, self.model.names) & (batch["weight"] > 0)[:, None]
        visible = drop_modalities(streams("modality_dropout"), present, self.modality_dropout)
        rngs = {"dropout": streams("dropout")}
        return self._objective(params, batch, visible, streams("draws"), self.model.contrastive.group_size, True, rngs)

    def evaluate(self, params, batch, subsets):
        del subsets  # alignment is a property of all modalities together
        visible = presence(batch, self.model.names)
        # A batch of evaluation is one group: its size is the same for every number of devices.
        loss, metrics = self._objective(params, batch, visible, jax.random.key(0), 0, False, None)
        del metrics["temperature"]
        return metrics | {"loss": loss, "weight": batch["weight"].sum()}

    def scores(self, tile_names=()):
        return _Mean()


class _Mean:
    """Mean over batches, weighted by real samples."""

    def __init__(self):
        self._sums, self._weight = {}, 0.0

    def add(self, result):
        weight = float(result["weight"])
        self._weight += weight
        for key in result.keys() - {"weight"}:
            self._sums[key] = self._sums.get(key, 0.0) + weight * float(result[key])

    def compute(self):
        return [{key: value / self._weight for key, value in sorted(self._sums.items())}]
