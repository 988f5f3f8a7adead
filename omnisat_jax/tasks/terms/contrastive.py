"""InfoNCE between the views of a tile: its modalities, and the fused tokens of a random subset of them (OmniSat, ECCV 2024).

Letters: B batch, M modalities, V views, P patches, E width of the contrastive space.
"""

import dataclasses
import functools
import operator
from typing import ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp

from omnisat_jax.config import schema
from omnisat_jax.losses.infonce import Comparison, infonce_loss
from omnisat_jax.losses.infonce_ring import ring_infonce_loss
from omnisat_jax.metrics.representation import position_r2, representation_scores
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models.pretrainable import FUSED, PretrainableModel, PretrainOutputs, Views
from omnisat_jax.ops.batch_norm import batch_norm
from omnisat_jax.ops.jitter import draw_jitter
from omnisat_jax.ops.random import stratified
from omnisat_jax.tasks.terms.base import Draws, Step, Term, draw_key, grid_of
from omnisat_jax.types import Batch


class Embedded(NamedTuple):
    """What the loss compares: {granularity: Views}, and the temperature () float32."""

    views: dict[str, Views]
    temperature: jax.Array


@dataclasses.dataclass(frozen=True)
class Contrastive(Term):
    """Mean InfoNCE over the configured granularities.

    It is computed even with weight 0, for its scores of the representation.

    Attributes:
      mesh: devices over which the loss runs as a ring; None = dense.
    """

    config: schema.ContrastiveConfig
    mesh: jax.sharding.Mesh | None = None

    name: ClassVar[str] = "contrastive"
    batch_axes: ClassVar = Embedded(views=1, temperature=-1)  # pyright: ignore[reportArgumentType]

    @classmethod
    def from_config(
        cls, config: schema.ExperimentConfig, specs: tuple[ModalitySpec, ...], mesh: jax.sharding.Mesh | None = None
    ) -> Self:
        return cls(config.contrastive, specs, mesh if config.contrastive.implementation == "ring" else None)

    @property
    def enabled(self) -> bool:
        return True

    @property
    def needs_fused(self) -> bool:
        return self.config.fused

    def draw(self, key: jax.Array, batch: Batch, *, train: bool) -> Draws:
        """Which pixels are compared; in training also the shifts and the jitter of every modality."""
        per_tile, shared = {}, {}
        if "pixel" in self.config.granularities:
            shared["pixels"] = stratified(draw_key(key, "pixels"), self.config.pixels)
        if train and self.config.roll:
            shared["shifts"] = jax.random.randint(draw_key(key, "shifts"), (len(self.specs), 2), 0, grid_of(self.specs, batch))
        if train and (self.config.jitter or self.config.jitter_days):
            entries = {spec.name: batch[spec.name] for spec in self.specs}
            spread = {"bands": self.config.jitter, "days": self.config.jitter_days}
            per_tile["jitter"] = draw_jitter(draw_key(key, "jitter"), entries, **spread)
        return Draws(per_tile=per_tile, shared=shared)

    def read(self, model: PretrainableModel, outputs: PretrainOutputs, draws: Draws) -> Embedded:
        """The embeddings of every view."""
        return Embedded(views=model.views(outputs, draws.shared.get("pixels")), temperature=model.temperature())

    def loss(self, read: Embedded, step: Step) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The mean over granularities of loss and accuracy, the latter and the temperature as metrics."""
        group_size = self.config.group_size if step.train else 0  # an evaluation batch is one group, for any number of devices
        pairs = [self._infonce(views, step, read.temperature, group_size) for views in read.views.values()]
        loss, accuracy = (_mean(values) for values in zip(*pairs))
        metrics = {"contrastive_accuracy": accuracy}
        if step.train:
            metrics["temperature"] = read.temperature
        return loss, metrics

    def metrics(self, read: Embedded, step: Step) -> dict[str, jax.Array]:
        """Scores of the representation, for the first granularity of the configuration only (docs/methods.md, contrastive pre-training)."""
        granularity, views = next(iter(read.views.items()))
        seen = self._seen(views, step)
        z = self._compared(views, seen)
        scores = representation_scores(z, seen)
        if granularity != "pixel":
            # Fusion is given positions, so its view is left out.
            encoders = jnp.array([index for index, name in enumerate(views.names) if name != FUSED])
            scores["position_r2"] = position_r2(z[encoders], seen[encoders])
        return scores

    def _seen(self, views, step):
        """(V,B) bool, the views that each tile has."""
        seen = {spec.name: step.present[:, index] for index, spec in enumerate(self.specs)}
        sensors = jnp.asarray([spec.kind != "location" for spec in self.specs])
        seen[FUSED] = (step.visible & sensors).any(1)
        return jnp.stack([seen[name] for name in views.names])

    def _copies(self, views, step):
        """(V,V,B) bool: the fused view and each modality that fusion saw. Agreeing with oneself through fusion would satisfy the loss."""
        visible = {spec.name: step.visible[:, index] for index, spec in enumerate(self.specs) if spec.kind != "location"}
        unseen = jnp.zeros_like(step.visible[:, 0])
        seen = jnp.stack([visible.get(name, unseen) for name in views.names])
        fused = jnp.asarray([name == FUSED for name in views.names])[:, None, None]
        return (fused & seen[None]) | (fused.swapaxes(0, 1) & seen[:, None])

    def _infonce(self, views, step, temperature, group_size):
        loss = infonce_loss if self.mesh is None else functools.partial(ring_infonce_loss, mesh=self.mesh)
        how, seen = Comparison(group_size, self.config.positives), self._seen(views, step)
        return loss(self._compared(views, seen), seen, temperature, how, copies=self._copies(views, step))

    def _compared(self, views, seen):
        """(V,B,P,E), the embeddings as the loss compares them."""
        return batch_norm(views.z, seen) if self.config.batch_norm else views.z


def _mean(values):
    return functools.reduce(operator.add, values) / len(values)
