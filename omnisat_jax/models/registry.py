"""Which whole model `model.architecture` names."""

from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.models.baselines import DualStream, EarlyFusion, LateFusion
from omnisat_jax.models.omnisat import OmniSat
from omnisat_jax.models.published import PublishedOmniSat
from omnisat_jax.models.skysense import SkySense

MODELS = {
    "omnisat": OmniSat,
    "early": EarlyFusion,
    "late": LateFusion,
    "dual": DualStream,
    "published": PublishedOmniSat,
    "skysense": SkySense,
}


def make_model(specs, config, num_classes: int, label_patch: int, dtype) -> MultimodalModel:
    """The whole model of an experiment.

    Args:
      specs: the modalities that the data hold, in order.
      config: schema.ExperimentConfig.
      num_classes: K.
      label_patch: label pixels per token side; 0 for tile labels.
      dtype: of the computation.
    """
    kind = MODELS[config.model.architecture]
    return kind(tuple(specs), config.model, config.contrastive, config.task, num_classes, label_patch, dtype)
