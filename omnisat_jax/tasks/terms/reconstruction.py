"""Masked reconstruction: the fused tokens must predict the measurements that fusion did not see (OmniSat, ECCV 2024).

Letters: B batch, M modalities, P patches.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from omnisat_jax.config import schema
from omnisat_jax.losses.reconstruction import hidden_mean, image_error, series_error
from omnisat_jax.models.pretrainable import PretrainableModel
from omnisat_jax.ops.random import mask_tokens
from omnisat_jax.tasks.terms.base import Draws, Forward, Step, Term, draw_key, grid_of
from omnisat_jax.types import Batch


@dataclasses.dataclass(frozen=True)
class Reconstruction(Term):
    """Mean squared error of the tokens that are masked, or of a modality that is not visible."""

    config: schema.ReconstructionConfig

    name: ClassVar[str] = "reconstruction"

    def draw(self, key: jax.Array, batch: Batch, *, train: bool) -> Draws:
        """Which tokens are masked, (B,M,P) bool."""
        del train
        shape = len(batch["weight"]), len(self.specs), grid_of(self.specs, batch) ** 2
        return Draws(per_tile={"masked": mask_tokens(draw_key(key, "masked"), shape, self.config.mask_ratio)})

    def read(self, model: PretrainableModel, forward: Forward) -> dict[str, jax.Array]:
        """{sensor: (B,P) float32}, the error of each patch; targets are the measurements before augmentation."""
        patches = {spec.name: spec.patch for spec in self.specs}
        errors = {}
        for name, out in model.reconstruct(forward.outputs, self.config.date_share).items():
            values = forward.inputs[name]["values"]
            if out.chosen is None or out.valid is None:
                errors[name] = image_error(out.values, values, patches[name])
            else:
                errors[name] = series_error(out.values, values, out.chosen, out.valid, patches[name])
        return errors

    def loss(self, read: dict[str, jax.Array], step: Step) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The mean error of the hidden tokens of present modalities."""
        masked, errors, hidden = step.draws.per_tile["masked"], [], []
        for index, spec in enumerate(self.specs):
            if spec.name in read:
                errors.append(read[spec.name])
                hidden.append(step.present[:, index, None] & (masked[:, index] | ~step.visible[:, index, None]))
        return hidden_mean(errors, jnp.stack(hidden, 1)), {}
