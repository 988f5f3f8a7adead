"""Which whole model `model.assembly` names."""

from omnisat_jax.models.base import Assembly
from omnisat_jax.models.baselines import DualStream, EarlyFusion, LateFusion
from omnisat_jax.models.omnisat import OmniSat
from omnisat_jax.models.published import PublishedAssembly
from omnisat_jax.models.skysense import SkySense

ASSEMBLIES = {
    "omnisat": OmniSat,
    "early": EarlyFusion,
    "late": LateFusion,
    "dual": DualStream,
    "published": PublishedAssembly,
    "skysense": SkySense,
}


def make_model(specs, config, num_classes: int, label_patch: int, dtype) -> Assembly:
    """The whole model of an experiment.

    Args:
      specs: the modalities that the data hold, in order.
      config: schema.Experiment.
      num_classes: K.
      label_patch: label pixels per token side; 0 for tile labels.
      dtype: of the computation.
    """
    kind = ASSEMBLIES[config.model.assembly]
    return kind(tuple(specs), config.model, config.contrast, config.task, num_classes, label_patch, dtype)
