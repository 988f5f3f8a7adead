"""OmniSat: an encoder a modality and the fusion, put together. Letters: B batch, M modalities, P patches, D width."""

import jax.numpy as jnp

from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models.encoders.image import PatchCNN, ResNet, ViT
from omnisat_jax.models.encoders.location import LocationEncoder
from omnisat_jax.models.encoders.patch_ltae import PatchLTAE
from omnisat_jax.models.encoders.utae import UTAE
from omnisat_jax.models.fusion import Fusion
from omnisat_jax.models.pretrainable import PretrainableModel

INPUTS = {"series": ("values", "dates", "valid"), "image": ("values",), "location": ("values",)}


def make_encoder(spec: ModalitySpec, model: schema.ModelConfig, dtype, name=None):
    """The encoder that `spec` asks for."""
    if spec.encoder == "location":
        return LocationEncoder(model.location, model.width, dtype, name=name)
    common = dict(width=model.width, patch=spec.patch, dtype=dtype, name=name)
    if spec.encoder == "utae":
        return UTAE(model.utae, model.ltae, remat=model.remat, norm=model.norm, **common)
    if spec.encoder == "patch_ltae":
        return PatchLTAE(model.patch_ltae, model.ltae, **common)
    if spec.encoder == "vit":
        return ViT(model.vit, model.fusion.attention, remat=model.remat, norm=model.norm, **common)
    if spec.encoder == "resnet":
        return ResNet(model.resnet, remat=model.remat, norm=model.norm, **common)
    return PatchCNN(model.patch_cnn, norm=model.norm, **common)


def encode_each(specs, encoders, inputs, *, train: bool):
    """{name: Encoding} of normalised inputs, a location spread over the patches of the others.

    Raises:
      UserError: modalities that do not lie on one patch grid.
    """
    encoded = {
        spec.name: encoders[spec.name](*(inputs[spec.name][key] for key in INPUTS[spec.kind]), train=train) for spec in specs
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
    """Any subset of modalities of a place -> tokens, aligned embeddings, predictions.

    Parameters exist only for what is called: pre-training makes encoders, fusion, projections and decoders; fine-tuning encoders,
    fusion and head, under the same names.
    """

    def setup(self):
        super().setup()
        self.encoders = {spec.name: make_encoder(spec, self.settings, self.dtype) for spec in self.specs}
        self.fusion = Fusion(self.settings.fusion, self.names, self.dtype, self.settings.remat)

    def encode_known(self, inputs, *, train: bool):
        """{name: Encoding} of normalised inputs, each modality on its own."""
        return encode_each(self.specs, self.encoders, inputs, train=train)

    def fuse(self, encoded, present, masked=None, *, train: bool):
        """Fused tokens (B,P,D) of the modalities in present (B,M), some tokens masked (B,M,P)."""
        tokens = jnp.stack([encoded[name].tokens for name in self.names], 1)
        return self.fusion(tokens, present, masked, train=train)
