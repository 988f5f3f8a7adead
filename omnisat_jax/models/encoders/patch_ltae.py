"""Patch L-TAE: the series of each patch as one vector a date, collapsed by L-TAE (OmniSat, Astruc et al., ECCV 2024).

Letters: B batch, T dates, H W pixels, C channels, P patches, D width.
"""

import flax.linen as nn
import jax.numpy as jnp

from omnisat_jax import schema
from omnisat_jax.models.ltae import LTAE
from omnisat_jax.ops.patches import to_patches


class PatchLTAE(nn.Module):
    """Series -> tokens; no dense map.

    Attributes:
      settings, ltae: widths.
      width: D of the tokens.
      patch: pixels a token side.
      dtype: of the computation.
    """

    settings: schema.PatchLTAE
    ltae: schema.LTAE
    width: int
    patch: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, values, dates, valid, *, train: bool):
        """values (B,T,H,W,C) normalised, dates (B,T), valid (B,T) -> tokens (B,P,D), None."""
        b, t, h, w, c = values.shape
        x = to_patches(values.reshape(b * t, h, w, c), self.patch)
        x = x.reshape(b, t, *x.shape[1:]).astype(self.dtype)
        for features in (*self.settings.input_widths, self.ltae.width):
            x = nn.relu(nn.LayerNorm(dtype=self.dtype)(nn.Dense(features, dtype=self.dtype)(x)))
        x = nn.Dropout(self.ltae.dropout, deterministic=not train)(x)
        widths = (*self.settings.output_widths, self.width)
        tokens, _ = LTAE(self.ltae, widths, self.dtype, name="ltae")(x, dates, valid, train=train)
        return tokens, None
