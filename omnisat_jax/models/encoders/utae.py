"""U-TAE: a U-Net over every date whose skips are collapsed by temporal attention (Garnot & Landrieu, ICCV 2021).

Two deliberate differences from the original, each with a switch back: padded dates are invisible (`faithful`), and the decoder
normalises each image on its own instead of across the batch (`norm`), so that a tile's output never depends on its neighbours.

Letters: B batch, T dates, H W pixels (h w at the bottom), C channels, N heads, P patches, D width.
"""

import flax.linen as nn
import jax.numpy as jnp

from omnisat_jax.config import schema
from omnisat_jax.models.encoders.encoding import Encoding
from omnisat_jax.models.layers.blocks import ConvNormAct, groups_for, map_norm
from omnisat_jax.models.layers.ltae import LTAE
from omnisat_jax.ops.patches import resize, to_patches


class FrameEncoder(nn.Module):
    """The U-Net's way down, each date on its own: (B*T,H,W,C) -> one map a resolution, finest first."""

    settings: schema.UTAEConfig
    norm: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        widths, border = self.settings.encoder_widths, self.settings.border

        def block(name, features, side=3, stride=1):
            return ConvNormAct(features, side, stride, border, norm=self.norm, dtype=self.dtype, name=name)

        x = block("in0", widths[0])(x)
        x = block("in1", widths[0])(x)
        maps = [x]
        for level, (before, after) in enumerate(zip(widths[:-1], widths[1:])):
            x = block(f"down{level}_half", before, 4, 2)(x)
            x = block(f"down{level}_first", after)(x)
            x = x + block(f"down{level}_second", after)(x)
            maps.append(x)
        return maps


class _OverDates(nn.Module):
    """What reads a series.

    Attributes:
      settings, ltae: widths.
      dtype: of the computation.
      remat: recompute the frame encoder in the backward pass.
      norm: see `ConvNormAct`; "affine" (original weights, whose BatchNorms are folded) concerns the way up and the attention MLP.
      faithful: padded dates are zeros at the bottom and seen by attention's input norm, as in the original.
    """

    settings: schema.UTAEConfig
    ltae: schema.LTAEConfig
    dtype: jnp.dtype = jnp.float32
    remat: bool = False
    norm: str = "image"
    faithful: bool = False


class UTAEStream(_OverDates):
    """The way down: every date on its own, then all dates collapsed at every resolution by the attention of the bottom."""

    @nn.compact
    def __call__(self, values, dates, valid, *, train: bool):
        """values (B,T,H,W,C) normalised, dates (B,T), valid (B,T) -> maps (B,h,w,C'), finest first, and attention (B,N,T,h,w) float32.

        Sides that the way down cannot halve are filled up: the maps are of the filled size.
        """
        b, t, h, w, c = values.shape
        values = jnp.where(valid[:, :, None, None, None], values, 0)  # NaN times an attention of 0 would be NaN
        step = 2 ** (len(self.settings.encoder_widths) - 1)
        frames = values.reshape(b * t, h, w, c)
        frames = jnp.pad(frames, ((0, 0), (0, -h % step), (0, -w % step), (0, 0)), mode="edge")
        encoder = nn.remat(FrameEncoder) if self.remat else FrameEncoder
        norm = "image" if self.norm == "affine" else self.norm  # the original has GroupNorm on the way down
        maps = [m.reshape(b, t, *m.shape[1:]) for m in encoder(self.settings, norm, self.dtype, name="frames")(frames)]

        bottom = maps[-1]
        if self.faithful:
            bottom = jnp.where(valid[:, :, None, None, None], bottom, 0)
        hb, wb, cb = bottom.shape[2:]
        pool = LTAE(self.ltae, (cb,), self.dtype, expand=True, norm=self.norm, faithful=self.faithful, name="ltae")
        x, attention = pool(bottom.reshape(b, t, hb * wb, cb), dates, valid, train=train)
        attention = attention.reshape(b, -1, t, hb, wb)
        return [*(collapse(m, attention) for m in maps[:-1]), x.reshape(b, hb, wb, cb)], attention


class UTAEDecoder(nn.Module):
    """The way up: maps (B,h,w,C), finest first, each twice as large as the next -> features (B,H,W,C')."""

    settings: schema.UTAEConfig
    dtype: jnp.dtype = jnp.float32
    norm: str = "image"

    @nn.compact
    def __call__(self, maps):
        widths = self.settings.decoder_widths
        *skips, x = maps
        x = nn.Dense(widths[-1], dtype=self.dtype, name="bottom")(x) if x.shape[-1] != widths[-1] else x
        for level in reversed(range(len(skips))):
            x = self._up(x, skips[level], widths[level], level)
        return x

    def _up(self, x, skip, features, level):
        def block(name, features, side):
            return ConvNormAct(features, side, 1, self.settings.border, norm=self.norm, dtype=self.dtype, name=f"up{level}_{name}")

        x = nn.ConvTranspose(features, (4, 4), (2, 2), "SAME", dtype=self.dtype, name=f"up{level}_double")(x)
        x = nn.relu(map_norm(self.norm, features, 4, self.dtype, f"up{level}_double_norm")(x))
        skip = block("skip", skip.shape[-1], 1)(skip)
        x = block("first", features, 3)(jnp.concatenate([x, skip], -1))
        return x + block("second", features, 3)(x)


class UTAENetwork(_OverDates):
    """Series -> a dense map at full resolution, and the attention that collapsed the dates."""

    @nn.compact
    def __call__(self, values, dates, valid, *, train: bool):
        """values (B,T,H,W,C) normalised, dates (B,T), valid (B,T) -> features (B,H,W,C'), attention (B,N,T,h,w) float32."""
        stream = UTAEStream(self.settings, self.ltae, self.dtype, self.remat, self.norm, self.faithful, name="stream")
        maps, attention = stream(values, dates, valid, train=train)
        features = UTAEDecoder(self.settings, self.dtype, self.norm, name="decoder")(maps)
        return features[:, : values.shape[2], : values.shape[3]], attention


class UTAE(nn.Module):
    """Series -> tokens on the patch grid and a dense map at full resolution.

    Attributes:
      settings, ltae: widths.
      width: D of the tokens.
      patch: pixels per token side.
      dtype, remat, norm: see `_OverDates`.
    """

    settings: schema.UTAEConfig
    ltae: schema.LTAEConfig
    width: int
    patch: int
    dtype: jnp.dtype = jnp.float32
    remat: bool = False
    norm: str = "image"

    @nn.compact
    def __call__(self, values, dates, valid, *, train: bool):
        """values (B,T,H,W,C) normalised, dates (B,T), valid (B,T) -> Encoding, features (B,H,W,C')."""
        network = UTAENetwork(self.settings, self.ltae, self.dtype, self.remat, self.norm, name="network")
        features, attention = network(values, dates, valid, train=train)
        tokens = nn.Dense(self.width, dtype=self.dtype, name="token")(to_patches(features, self.patch))
        return Encoding(tokens, features, attention.mean(1))


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
