"""Constructors of the models, by the names that `config.registry.MODELS` lists. Register a model of your own here."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from jax.typing import DTypeLike

from omnisat_jax.config import schema
from omnisat_jax.config.registry import MODELS, ModelInfo
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.models.baselines import DualStream, EarlyFusion, LateFusion
from omnisat_jax.models.omnisat import OmniSat
from omnisat_jax.models.published import PublishedOmniSat
from omnisat_jax.models.skysense import SkySense

CLASSES: dict[str, type[MultimodalModel]] = {
    "omnisat": OmniSat,
    "early": EarlyFusion,
    "late": LateFusion,
    "dual": DualStream,
    "published": PublishedOmniSat,
    "skysense": SkySense,
}
M = TypeVar("M", bound=type[MultimodalModel])


def register_model(name: str, info: ModelInfo) -> Callable[[M], M]:
    """Makes a model of your own available to `model.architecture`, as a decorator of its class.

    The module that registers it must be imported before a configuration names it, for example by the configuration file.

    Args:
      name: 1 to 64 letters, digits and _ after a letter. Registering a name again replaces it, except for the built-in ones.
      info: what it reads and can do; `pretrainable` for subclasses of `PretrainableModel`.

    Raises:
      ConfigError: an impossible or built-in name.
    """

    def register(kind: M) -> M:
        MODELS.register(name, info)
        CLASSES[name] = kind
        return kind

    return register


def make_model(
    specs: Sequence[ModalitySpec], config: schema.ExperimentConfig, num_classes: int, label_patch: int, dtype: DTypeLike
) -> MultimodalModel:
    """The model that `config.model.architecture` names.

    Args:
      specs: the modalities that the data hold, in order.
      config: of the experiment.
      num_classes: K.
      label_patch: label pixels per token side; 0 for tile labels.
      dtype: of the computation.

    Raises:
      ConfigError: no model of that name.
    """
    MODELS.find(config.model.architecture)
    kind = CLASSES[config.model.architecture]
    return kind(tuple(specs), config.model, config.contrastive, config.task, num_classes, label_patch, dtype)
