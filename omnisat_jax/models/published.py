"""OmniSat as published (Astruc et al., ECCV 2024), for weights trained with the authors' code.

Letters: B batch, T dates, H W pixels, C channels, P patches, D width.
"""

import flax.linen as nn
import jax.numpy as jnp

from omnisat_jax import schema
from omnisat_jax.models.encoders.image import PatchCNN
from omnisat_jax.models.encoders.patch_ltae import PatchLTAE


class PublishedSeriesEncoder(nn.Module):
    """Patch L-TAE as published: every date is attended to, real or padded, unless `valid` says otherwise.

    Attributes:
      settings, ltae: widths.
      width: D.
      patch: pixels a token side.
      normalise_input: whether attention has an input norm (the published one has it for Sentinel-2 only).
    """

    settings: schema.PatchLTAE
    ltae: schema.LTAE
    width: int
    patch: int
    normalise_input: bool

    @nn.compact
    def __call__(self, values, dates, valid=None, *, train: bool = False):
        """values (B,T,H,W,C), dates (B,T) days, valid (B,T) bool or None -> tokens (B,P,D)."""
        if valid is None:
            valid = jnp.ones(values.shape[:2], bool)
        encoder = PatchLTAE(
            self.settings, self.ltae, self.width, self.patch, norm="affine", normalise_input=self.normalise_input, name="encoder"
        )
        return encoder(values, dates, valid, train=train)[0]


class PublishedImageEncoder(nn.Module):
    """Patch CNN as published, its BatchNorm folded.

    Attributes:
      settings: number of residual blocks.
      width: D.
      patch: pixels a token side.
    """

    settings: schema.PatchCNN
    width: int
    patch: int

    @nn.compact
    def __call__(self, values, *, train: bool = False):
        """values (B,H,W,C) -> tokens (B,P,D)."""
        return PatchCNN(self.settings, self.width, self.patch, norm="affine", name="encoder")(values, train=train)[0]
