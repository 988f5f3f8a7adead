"""U-TAE: a U-Net over every date whose skips are collapsed by temporal attention (Garnot & Landrieu, ICCV 2021).

Two deliberate differences from the original: padded dates are invisible, and the decoder normalises each image on its own
(GroupNorm) instead of across the batch, so that a tile's output never depends on its neighbours in the batch.

Letters: B batch, T dates, H W pixels (h w at the bottom), C channels, N heads, P patches, D width.
"""

import flax.linen as nn
import jax.numpy as jnp

from omnisat_jax import schema
from omnisat_jax.models.layers import ConvNormAct, groups_for
from omnisat_jax.models.ltae import LTAE
from omnisat_jax.ops.patches import resize, to_patches


class FrameEncoder(nn.Module):
    """The U-Net's way down, each date on its own: (B*T,H,W,C) -> one map a resolution, finest first."""

    settings: schema.UTAE
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        widths, border = self.settings.encoder_widths, self.settings.border

        def block(features, side=3, stride=1):
            return ConvNormAct(features, side, stride, border, dtype=self.dtype)

        x = block(widths[0])(block(widths[0])(x))
        maps = [x]
        for before, after in zip(widths[:-1], widths[1:]):
            x = block(before, 4, 2)(x)
            x = block(after)(x)
            x = x + block(after)(x)
            maps.append(x)
        return maps


class UTAE(nn.Module):
    """Series -> tokens on the patch grid and a dense map at full resolution.

    Attributes:
      settings, ltae: widths.
      width: D of the tokens.
      patch: pixels a token side.
      dtype: of the computation.
      remat: recompute the frame encoder in the backward pass.
    """

    settings: schema.UTAE
    ltae: schema.LTAE
    width: int
    patch: int
    dtype: jnp.dtype = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, values, dates, valid, *, train: bool):
        """values (B,T,H,W,C) normalised, dates (B,T), valid (B,T) -> tokens (B,P,D), features (B,H,W,C')."""
        b, t, h, w, c = values.shape
        levels = len(self.settings.encoder_widths) - 1
        step = 2**levels
        frames = values.reshape(b * t, h, w, c)
        # Sides that the way down cannot halve are filled up, and the filling is cut off again at the end.
        frames = jnp.pad(frames, ((0, 0), (0, -h % step), (0, -w % step), (0, 0)), mode="edge")
        encoder = nn.remat(FrameEncoder) if self.remat else FrameEncoder
        maps = [m.reshape(b, t, *m.shape[1:]) for m in encoder(self.settings, self.dtype, name="frames")(frames)]

        bottom = maps[-1]
        hb, wb, cb = bottom.shape[2:]
        x, attention = LTAE(self.ltae, (cb,), self.dtype, name="ltae")(bottom.reshape(b, t, hb * wb, cb), dates, valid, train=train)
        x = x.reshape(b, hb, wb, cb)
        attention = attention.reshape(b, -1, t, hb, wb)
        decoder = self.settings.decoder_widths
        x = nn.Dense(decoder[-1], dtype=self.dtype, name="bottom")(x) if cb != decoder[-1] else x
        for level in reversed(range(levels)):
            x = self._up(x, collapse(maps[level], attention), decoder[level], level)
        features = x[:, :h, :w]
        tokens = nn.Dense(self.width, dtype=self.dtype, name="token")(to_patches(features, self.patch))
        return tokens, features

    def _up(self, x, skip, features, level):
        dtype, border = self.dtype, self.settings.border
        x = nn.ConvTranspose(features, (4, 4), (2, 2), "SAME", dtype=dtype, name=f"up{level}")(x)
        x = nn.relu(nn.GroupNorm(groups_for(features, 4), dtype=dtype, name=f"up{level}_norm")(x))
        skip = ConvNormAct(skip.shape[-1], 1, 1, border, dtype=dtype, name=f"skip{level}")(skip)
        x = jnp.concatenate([x, skip], -1)
        x = ConvNormAct(features, 3, 1, border, dtype=dtype, name=f"merge{level}")(x)
        return x + ConvNormAct(features, 3, 1, border, dtype=dtype, name=f"refine{level}")(x)


def collapse(skip, attention):
    """Sums a map over dates with the attention of the bottom, one group of channels a head.

    Args:
      skip: (B,T,H,W,C).
      attention: (B,N,T,h,w), 0 on padded dates; upsampled bilinearly and not renormalised, as in the original.

    Returns:
      (B,H,W,C). Channels that N does not divide use as many heads as do.
    """
    b, t, h, w, c = skip.shape
    heads = groups_for(c, attention.shape[1])
    weights = attention[:, :heads].reshape(b * heads * t, *attention.shape[3:], 1)
    weights = resize(weights, h).reshape(b, heads, t, h, w).astype(skip.dtype)
    grouped = skip.reshape(b, t, h, w, heads, c // heads)
    return jnp.einsum("bnthw,bthwng->bhwng", weights, grouped).reshape(b, h, w, c)
