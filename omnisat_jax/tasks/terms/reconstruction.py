"""Masked reconstruction: the fused tokens must predict the measurements that fusion did not see (OmniSat, ECCV 2024).

Letters: B batch, M modalities, N chosen dates, P patches.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from omnisat_jax.batch import normalise
from omnisat_jax.config import schema
from omnisat_jax.losses.reconstruction import hidden_mean, image_error, series_error
from omnisat_jax.models.pretrainable import Decoded, PretrainableModel, PretrainOutputs
from omnisat_jax.ops.random import mask_tokens
from omnisat_jax.tasks.terms.base import Draws, Step, Term, draw_key, grid_of
from omnisat_jax.types import Batch


@dataclasses.dataclass(frozen=True)
class Reconstruction(Term):
    """Mean squared error of the tokens that are masked or belong to a modality that is not visible."""

    config: schema.ReconstructionConfig

    name: ClassVar[str] = "reconstruction"

    def draw(self, key: jax.Array, batch: Batch, *, train: bool) -> Draws:
        """Which tokens are masked, (B,M,P) bool."""
        del train
        shape = len(batch["weight"]), len(self.specs), grid_of(self.specs, batch) ** 2
        return Draws(per_tile={"masked": mask_tokens(draw_key(key, "masked"), shape, self.config.mask_ratio)})

    def read(self, model: PretrainableModel, outputs: PretrainOutputs, draws: Draws) -> dict[str, Decoded]:
        """The decoded values of every sensor."""
        del draws
        return model.reconstruct(outputs, self.config.date_share)

    def loss(self, read: dict[str, Decoded], step: Step) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The mean error of the hidden tokens of present modalities; targets are the measurements before augmentation."""
        masked, errors, hidden = step.draws.per_tile["masked"], [], []
        for index, spec in enumerate(self.specs):
            if spec.name in read:
                errors.append(self._error(spec, read[spec.name], step))
                hidden.append(step.present[:, index, None] & (masked[:, index] | ~step.visible[:, index, None]))
        return hidden_mean(errors, jnp.stack(hidden, 1)), {}

    def _error(self, spec, decoded, step):
        """(B,P) float32, the error of each patch. Compiled, the normalized values are never held as a whole; see the test of its memory."""
        values = normalise({spec.name: step.batch[spec.name]}, step.statistics, (spec.name,))[spec.name]["values"]
        if decoded.chosen is None:
            return image_error(decoded.values, values, spec.patch)
        values = jnp.take_along_axis(values, decoded.chosen[:, :, None, None, None], axis=1)
        return series_error(decoded.values, values, decoded.valid, spec.patch)
