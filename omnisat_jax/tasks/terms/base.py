"""The interface of a loss term of pre-training.

`Pretrain` runs the model once per step, in microbatches, and lets every term read its outputs there. What a term reads is collected for the
whole batch, on which its loss is computed. A new term is a subclass of `Term` in a file of its own, a block of configuration of the same name with
a key "weight", and an entry in `tasks.terms.registry`; see docs/extend.md.

Letters: B batch, M modalities.
"""

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

import jax

from omnisat_jax.config import schema
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models.pretrainable import PretrainableModel, PretrainOutputs
from omnisat_jax.types import Batch, PyTree, Statistics

# Draws that are older than their names, with the number that is folded into the key of a step; they must not change.
_NUMBERS = {"masked": 0, "pixels": 1, "shifts": 2, "jitter": 3}


def draw_key(key: jax.Array, name: str) -> jax.Array:
    """The random key of one draw of a step; a new name disturbs no other draw."""
    return jax.random.fold_in(key, _NUMBERS.get(name, zlib.crc32(name.encode())))


class Draws(NamedTuple):
    """Random draws of one step by name. Those of all terms are merged, so names must differ.

    Three names change the forward pass for every term: per_tile "masked" and shared "shifts" (see `models.pretrainable.PretrainDraws`), and
    per_tile "jitter" (see `ops.jitter`).

    Attributes:
      per_tile: {name: pytree of (B,...)}, cut into microbatches like the batch.
      shared: {name: pytree}, the same for all tiles.
    """

    per_tile: Mapping[str, PyTree] = {}
    shared: Mapping[str, PyTree] = {}


class Step(NamedTuple):
    """The whole batch of a step, as losses see it.

    Attributes:
      batch: as stored, see `omnisat_jax.batch`. Targets are normalized from it, with `statistics`; as float32 the whole batch is large.
      statistics: {modality: {"mean" (C,), "std" (C,)}} of the training tiles.
      present: (B,M) bool, modalities that each tile has; none of a padding tile.
      visible: (B,M) bool, those of them that fusion sees.
      draws: of the step.
      train: False in evaluation, where the batch is one contrastive group and nothing is augmented.
    """

    batch: Batch
    statistics: Statistics
    present: jax.Array
    visible: jax.Array
    draws: Draws
    train: bool


@dataclasses.dataclass(frozen=True)
class Term:
    """Base class of the loss terms.

    Attributes:
      config: the term's block of configuration; its "weight" multiplies the loss.
      specs: the modalities, in model order.
      name: of the block of configuration, and of the loss in metrics.
      batch_axes: axis of the tiles in the results of `read`, a prefix of their tree; -1 for what does not depend on the tiles.
    """

    config: Any
    specs: tuple[ModalitySpec, ...]

    name: ClassVar[str]
    batch_axes: ClassVar[PyTree] = 0

    @classmethod
    def from_config(
        cls, config: schema.ExperimentConfig, specs: tuple[ModalitySpec, ...], mesh: jax.sharding.Mesh | None = None
    ) -> Self:
        """The term as configured; `mesh` is for terms that communicate between devices, None = on one device."""
        del mesh
        return cls(getattr(config, cls.name), specs)

    @property
    def enabled(self) -> bool:
        """Whether the term is computed at all."""
        return bool(self.config.weight)

    @property
    def weight(self) -> float:
        """The factor of the loss."""
        return self.config.weight

    @property
    def needs_fused(self) -> bool:
        """Whether `read` uses the fused tokens."""
        return True

    def draw(self, key: jax.Array, batch: Batch, *, train: bool) -> Draws:
        """Random draws of a step.

        Args:
          key: of the step; see `draw_key`.
          batch: the whole batch, for its shapes.
        """
        del key, batch, train
        return Draws()

    def read(self, model: PretrainableModel, outputs: PretrainOutputs, draws: Draws) -> PyTree:
        """What the loss needs of a microbatch; it should be small, because it is kept for the whole batch.

        Args:
          model: bound to its parameters, so that its methods and submodules can be called.
          outputs: of the model for these tiles, augmented by the draws.
          draws: of the step, those per tile for these tiles.
        """
        raise NotImplementedError

    def loss(self, read: Any, step: Step) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of the whole batch.

        Args:
          read: results of `read` for the whole batch.
          step: presence and draws.

        Returns:
          loss: float32 scalar, to be multiplied by the weight and reported under `name`.
          metrics: further scalars to report.
        """
        raise NotImplementedError

    def metrics(self, read: Any, step: Step) -> dict[str, jax.Array]:
        """Further scalars to report in evaluation; arguments as of `loss`."""
        del read, step
        return {}


def grid_of(specs: tuple[ModalitySpec, ...], batch: Batch) -> int:
    """Patches per tile side."""
    sensor = next(spec for spec in specs if spec.kind != "location")
    return batch[sensor.name]["values"].shape[-2] // sensor.patch
