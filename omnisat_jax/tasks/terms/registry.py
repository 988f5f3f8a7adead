"""The loss terms of pre-training, by the name of their block of configuration."""

import jax

from omnisat_jax.config import schema
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.tasks.terms.base import Term
from omnisat_jax.tasks.terms.contrastive import Contrastive
from omnisat_jax.tasks.terms.reconstruction import Reconstruction

TERMS: dict[str, type[Term]] = {
    "contrastive": Contrastive,
    "reconstruction": Reconstruction,
}


def make_terms(
    config: schema.ExperimentConfig, specs: tuple[ModalitySpec, ...], mesh: jax.sharding.Mesh | None = None
) -> tuple[Term, ...]:
    """The terms that are enabled, in the order in which their losses are added.

    Args:
      specs: the modalities that the data hold, in model order.
      mesh: devices for the contrastive loss as a ring, if the configuration asks for it; None = dense.
    """
    terms = [kind.from_config(config, specs, mesh) for kind in TERMS.values()]
    return tuple(term for term in terms if term.enabled)
