"""OmniSat: one encoder per modality, and fusion of their tokens. Letters: B batch, M modalities, P patches, D width."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from omnisat_jax.errors import UserError
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models.encoders.encoding import Encoding
from omnisat_jax.models.encoders.registry import make_encoder
from omnisat_jax.models.fusion import Fusion
from omnisat_jax.models.pretrainable import PretrainableModel
from omnisat_jax.types import Batch

ENCODER_INPUTS = {"series": ("values", "dates", "valid"), "image": ("values",), "location": ("values",)}


def encode_each(
    specs: Sequence[ModalitySpec], encoders: Mapping[str, Callable[..., Encoding]], inputs: Batch, *, train: bool
) -> dict[str, Encoding]:
    """{name: Encoding} of normalized inputs, with the token of a location repeated for every patch.

    Raises:
      UserError: the modalities do not lie on one patch grid.
    """
    encoded = {
        spec.name: encoders[spec.name](*(inputs[spec.name][key] for key in ENCODER_INPUTS[spec.kind]), train=train) for spec in specs
    }
    counts = {spec.name: encoded[spec.name].tokens.shape[1] for spec in specs if spec.kind != "location"}
    if len(set(counts.values())) > 1:
        raise UserError(f"modalities must cover the same patches, found tokens per tile: {counts}")
    for spec in specs:
        if spec.kind == "location":
            tokens = encoded[spec.name].tokens
            tokens = jnp.broadcast_to(tokens, (tokens.shape[0], *list(counts.values())[:1], tokens.shape[2]))
            encoded[spec.name] = encoded[spec.name]._replace(tokens=tokens)
    return encoded


class OmniSat(PretrainableModel):
    """From any subset of modalities of a tile to tokens, embeddings for the contrastive loss, and predictions.

    Flax creates parameters only for the submodules that are called. Pre-training creates encoders, fusion, projections and decoders. Fine-tuning
    creates encoders, fusion and head, with the same names.
    """

    def setup(self) -> None:
        super().setup()
        self.encoders = {spec.name: make_encoder(spec, self.config, self.dtype) for spec in self.specs}
        self.fusion = Fusion(self.config.fusion, self.names, self.dtype, self.config.remat)

    def encode_known(self, inputs: Batch, *, train: bool) -> dict[str, Encoding]:
        """{name: Encoding} of normalized inputs, each modality on its own."""
        return encode_each(self.specs, self.encoders, inputs, train=train)

    def fuse(
        self, encoded: Mapping[str, Encoding], present: jax.Array, masked: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Fused tokens (B,P,D) of the modalities in present (B,M) bool; masked (B,M,P) bool hides single tokens."""
        tokens = jnp.stack([encoded[name].tokens for name in self.names], 1)
        return self.fusion(tokens, present, masked, train=train)
