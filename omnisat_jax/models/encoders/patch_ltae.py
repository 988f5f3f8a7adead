"""Patch L-TAE: one vector per patch and date, collapsed over dates by L-TAE (OmniSat, Astruc et al., ECCV 2024).

Letters: B batch, T dates, H W pixels, C channels, P patches, D width.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.config import schema
from omnisat_jax.models.encoders.encoding import Encoding
from omnisat_jax.models.layers.blocks import dense_norm_relu
from omnisat_jax.models.layers.ltae import LTAE
from omnisat_jax.ops.patches import to_patches


class PatchLTAE(nn.Module):
    """Series -> tokens; no dense map.

    Attributes:
      config, ltae: widths.
      width: D.
      patch: pixels per token side.
      dtype: of the computation.
      norm: "image" or "affine", see `LTAE`.
      normalise_input: whether attention has an input norm (in the published model it has one for Sentinel-2 only).
    """

    config: schema.PatchLTAEConfig
    ltae: schema.LTAEConfig
    width: int
    patch: int
    dtype: DTypeLike = jnp.float32
    norm: str = "image"
    normalise_input: bool = True

    @nn.compact
    def __call__(self, values: jax.Array, dates: jax.Array, valid: jax.Array, *, train: bool) -> Encoding:
        """values (B,T,H,W,C) normalized, dates (B,T) days, valid (B,T) bool -> Encoding without features."""
        b, t, h, w, c = values.shape
        values = jnp.where(valid[:, :, None, None, None], values, 0)  # NaN times an attention of 0 would be NaN
        x = to_patches(values.reshape(b * t, h, w, c), self.patch)
        x = x.reshape(b, t, *x.shape[1:]).astype(self.dtype)
        for index, features in enumerate((*self.config.input_widths, self.ltae.width)):
            x = dense_norm_relu(x, features, self.norm, self.dtype, f"in{index}")
        x = nn.Dropout(self.ltae.dropout, deterministic=not train)(x)
        widths = (*self.config.output_widths, self.width)
        pool = LTAE(self.ltae, widths, self.dtype, self.normalise_input, norm=self.norm, name="ltae")
        tokens, attention = pool(x, dates, valid, train=train)
        return Encoding(tokens, attention=attention.mean(1).reshape(b, t, h // self.patch, w // self.patch))
