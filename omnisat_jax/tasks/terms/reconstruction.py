"""Masked reconstruction: the fused tokens must predict the measurements that fusion did not see (OmniSat, ECCV 2024).

Letters: B batch, M modalities, N chosen dates, P patches.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp

from omnisat_jax.batch import normalise
from omnisat_jax.config import schema
from omnisat_jax.losses.reconstruction import hidden_mean, image_error, level_error, series_error
from omnisat_jax.missing import measured
from omnisat_jax.models.pretrainable import Decoded, PretrainableModel, PretrainOutputs
from omnisat_jax.ops.random import mask_tokens
from omnisat_jax.tasks.terms.base import Draws, Step, Term, draw_key, grid_of
from omnisat_jax.types import Batch


@dataclasses.dataclass(frozen=True)
class Reconstruction(Term):
    """Error of the tokens that are masked or belong to a modality that is not visible.

    Standardised targets lose their level: that of each date and band of a series, that of each patch of an image. Normalised targets keep it;
    their unknown values, and patches without a known one, do not count.
    """

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
                error, counted = self._error(spec, read[spec.name], step)
                errors.append(error)
                unseen = step.present[:, index, None] & (masked[:, index] | ~step.visible[:, index, None])
                hidden.append(unseen if counted is None else unseen & counted)
        return hidden_mean(errors, jnp.stack(hidden, 1)), {}

    def _error(self, spec, decoded, step):
        """(B,P) float32, the error of each patch, and whether it counts, (B,P) bool, or None where all do. Compiled, the normalised
        values are never held as a whole; see the test of its memory.
        """
        if self.config.target == "normalised":
            return self._level_error(spec, decoded, step)
        values = normalise({spec.name: step.batch[spec.name]}, step.statistics, (spec.name,))[spec.name]["values"]
        if decoded.chosen is None:
            return image_error(decoded.values, values, spec.patch), None
        values = jnp.take_along_axis(values, decoded.chosen[:, :, None, None, None], axis=1)
        return series_error(decoded.values, values, decoded.valid, spec.patch), None

    def _level_error(self, spec, decoded, step):
        """`_error` of targets that keep their level; only the chosen dates are normalised."""
        entry = step.batch[spec.name]
        if decoded.chosen is not None:
            values = jnp.take_along_axis(entry["values"], decoded.chosen[:, :, None, None, None], axis=1)
            dates = jnp.take_along_axis(entry["dates"], decoded.chosen, axis=1)
            entry = {"values": values, "dates": dates, "valid": decoded.valid, "present": entry["present"]}
        known = measured(entry["values"])
        values = normalise({spec.name: entry}, step.statistics, (spec.name,))[spec.name]["values"]
        if decoded.chosen is None:  # like a series of one date
            return level_error(decoded.values[:, None], values[:, None], known[:, None], spec.patch)
        return level_error(decoded.values, values, known & decoded.valid[:, :, None, None, None], spec.patch)
