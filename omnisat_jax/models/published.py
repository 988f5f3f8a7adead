"""OmniSat as published (Astruc et al., ECCV 2024), to be trained. Every repaired defect is a switch in `model.published`.

Not available: BatchNorm on stored values (here values are standardised, and norms look at one tile), and random dates in evaluation. Left out
for brevity: dropout and stochastic depth of the combiner. Negatives from one device only are `contrastive.group_size`; modality dropout is a key
of each stage.

Letters: B batch, M modalities, P patches, D width, K classes.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from omnisat_jax.modalities import ModalitySpec, richest_series
from omnisat_jax.models.encoders.encoding import Encoding
from omnisat_jax.models.encoders.patch_ltae import PatchLTAE
from omnisat_jax.models.encoders.registry import make_encoder
from omnisat_jax.models.heads import ClassificationHead
from omnisat_jax.models.omnisat import encode_each
from omnisat_jax.models.pretrainable import PretrainableModel
from omnisat_jax.models.published_fusion import PublishedFusion
from omnisat_jax.types import Batch


class PublishedOmniSat(PretrainableModel):
    """Patch L-TAE, patch CNN and the published combiner; the labels of a tile are predicted from the tile token."""

    def setup(self) -> None:
        super().setup()
        self.encoders = {spec.name: self._encoder(spec) for spec in self.specs}
        switches, fusion = self.config.published, self.config.fusion
        self.fusion = PublishedFusion(
            fusion.depth, fusion.heads, published=not switches.grid_positions, keep_position=switches.keep_position
        )

    def _encoder(self, spec: ModalitySpec) -> nn.Module:
        if spec.encoder != "patch_ltae":
            return make_encoder(spec, self.config, self.dtype)
        # The published encoder of Sentinel-2 has a norm before attention and that of Sentinel-1 has none. Sensors are not known by name
        # here: it is the series that have as many bands as the richest one.
        normalise = spec.channels == richest_series(self.specs).channels
        config = self.config
        return PatchLTAE(config.patch_ltae, config.ltae, config.width, spec.patch, self.dtype, normalise_input=normalise)

    def encode_known(self, inputs: Batch, *, train: bool) -> dict[str, Encoding]:
        """{name: Encoding} of normalized inputs."""
        if not self.config.published.mask_padding:
            inputs = {
                name: entry | {"valid": jnp.ones_like(entry["valid"])} if "valid" in entry else entry
                for name, entry in inputs.items()
            }
        return encode_each(self.specs, self.encoders, inputs, train=train)

    def _combine(self, encoded: Mapping[str, Encoding], present: jax.Array, masked: jax.Array | None) -> jax.Array:
        """(B,P+1,D) float32, the tile first."""
        tokens = jnp.stack([encoded[name].tokens for name in self.names], 1)
        return self.fusion(tokens.astype(jnp.float32), present, masked)

    def fuse(
        self, encoded: Mapping[str, Encoding], present: jax.Array, masked: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Tokens (B,P,D) of the patches; the tile token is added to each unless `train_tile` is off, as in the original."""
        del train
        combined = self._combine(encoded, present, masked)
        return combined[:, 1:] + (combined[:, :1] if self.config.published.train_tile else 0)

    def predict_from(self, encoded: Mapping[str, Encoding], present: jax.Array, *, train: bool) -> jax.Array:
        """Logits (B,K) float32 of the tile."""
        assert isinstance(self.head, ClassificationHead)
        return self.head(self._combine(encoded, present, None)[:, :1], train=train)
