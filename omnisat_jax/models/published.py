"""OmniSat as published (Astruc et al., ECCV 2024), to be trained: every repaired defect is a switch (`model.published`).

Not offered: BatchNorm on values as stored (values are standardised, norms look at one tile), and random dates in evaluation. Kept out for
size: dropout and stochastic depth of the combiner. Negatives from one device only are `contrastive.group_size`, modality dropout is a key of each stage.

Letters: B batch, M modalities, P patches, D width, K classes.
"""

import jax.numpy as jnp

from omnisat_jax.models.encoders.patch_ltae import PatchLTAE
from omnisat_jax.models.omnisat import encode_each, make_encoder
from omnisat_jax.models.pretrainable import PretrainableModel
from omnisat_jax.models.published_parts import PublishedFusion


class PublishedOmniSat(PretrainableModel):
    """Patch L-TAE, patch CNN and the published combiner; labels of a tile are read from the tile token."""

    def setup(self):
        super().setup()
        self.encoders = {spec.name: self._encoder(spec) for spec in self.specs}
        switches, fusion = self.settings.published, self.settings.fusion
        self.fusion = PublishedFusion(
            fusion.depth, fusion.heads, published=not switches.grid_positions, keep_position=switches.keep_position
        )

    def _encoder(self, spec):
        if spec.encoder != "patch_ltae":
            return make_encoder(spec, self.settings, self.dtype)
        # Only Sentinel-2, the series of most bands, has a norm before attention.
        bands = max(s.channels for s in self.specs if s.kind == "series")
        settings = self.settings
        return PatchLTAE(
            settings.patch_ltae, settings.ltae, settings.width, spec.patch, self.dtype, normalise_input=spec.channels == bands
        )

    def encode_known(self, inputs, *, train: bool):
        """{name: Encoding} of normalised inputs."""
        if not self.settings.published.mask_padding:
            inputs = {
                name: entry | {"valid": jnp.ones_like(entry["valid"])} if "valid" in entry else entry
                for name, entry in inputs.items()
            }
        return encode_each(self.specs, self.encoders, inputs, train=train)

    def _combine(self, encoded, present, masked):
        tokens = jnp.stack([encoded[name].tokens for name in self.names], 1)
        return self.fusion(tokens.astype(jnp.float32), present, masked)

    def fuse(self, encoded, present, masked=None, *, train: bool):
        """Tokens (B,P,D) of the patches, each with the tile's added unless the published form is kept."""
        del train
        combined = self._combine(encoded, present, masked)
        return combined[:, 1:] + (combined[:, :1] if self.settings.published.train_tile else 0)

    def predict_from(self, encoded, present, *, train: bool):
        """Logits (B,K) float32 of the tile."""
        return self.head(self._combine(encoded, present, None)[:, :1], train=train)
