"""U-TAE: a U-Net on every date whose skip connections are collapsed by temporal attention (Garnot & Landrieu, ICCV 2021).

Two deliberate differences from the original, each with a switch back: padded dates are invisible (`faithful`), and the decoder normalizes each
image on its own instead of across the batch (`norm`), so that the output for a tile never depends on the others in its batch.

Letters: B batch, T dates, H W pixels, h w pixels of a coarser map, C channels, N heads, P patches, D width.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.config import schema
from omnisat_jax.models.encoders.encoding import Encoding
from omnisat_jax.models.layers.blocks import ConvNormAct, groups_for, map_norm
from omnisat_jax.models.layers.ltae import LTAE
from omnisat_jax.ops.patches import resize, to_patches

_GROUPS = 4  # of the norms of the decoder


class FrameEncoder(nn.Module):
    """The contracting path of the U-Net, on each date alone.

    Attributes:
      config: widths of the levels, borders.
      norm: see `ConvNormAct`.
      dtype: of the computation.
    """

    config: schema.UTAEConfig
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """(B*T,H,W,C) -> one map (B*T,h,w,C') per level, finest first."""
        widths, border = self.config.encoder_widths, self.config.border

        def block(name: str, features: int, side: int = 3, stride: int = 1) -> ConvNormAct:
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
    """Attributes of the modules that read a series.

    Attributes:
      config, ltae: widths.
      dtype: of the computation.
      remat: recompute the frame encoder in the backward pass.
      norm: see `ConvNormAct`; "affine" (original weights, whose BatchNorms are folded) concerns the decoder and the MLP after attention.
      faithful: set padded dates to zero at the coarsest level and let attention's input norm include them, as the original does.
    """

    config: schema.UTAEConfig
    ltae: schema.LTAEConfig
    dtype: DTypeLike = jnp.float32
    remat: bool = False
    norm: str = "image"
    faithful: bool = False


class UTAEStream(_OverDates):
    """The encoder: every date alone, then all dates collapsed at every level by the attention of the coarsest one."""

    @nn.compact
    def __call__(
        self, values: jax.Array, dates: jax.Array, valid: jax.Array, *, train: bool
    ) -> tuple[list[jax.Array], jax.Array]:
        """Encodes a series.

        Args:
          values: (B,T,H,W,C) normalized. Sides that cannot be halved often enough are padded at the bottom and right.
          dates: (B,T) days.
          valid: (B,T) bool.
          train: whether dropout is on.

        Returns:
          maps (B,h,w,C') of the padded size, finest first, and attention (B,N,T,h,w) float32 at the coarsest level.
        """
        b, t, h, w, c = values.shape
        values = jnp.where(valid[:, :, None, None, None], values, 0)  # NaN times an attention of 0 would be NaN
        multiple = 2 ** (len(self.config.encoder_widths) - 1)
        frames = values.reshape(b * t, h, w, c)
        if h % multiple or w % multiple:
            frames = jnp.pad(frames, ((0, 0), (0, -h % multiple), (0, -w % multiple), (0, 0)), mode="edge")
        encoder = nn.remat(FrameEncoder) if self.remat else FrameEncoder
        norm = "image" if self.norm == "affine" else self.norm  # the original has GroupNorm in the frame encoder
        maps = [m.reshape(b, t, *m.shape[1:]) for m in encoder(self.config, norm, self.dtype, name="frames")(frames)]

        bottom = maps[-1]
        if self.faithful:
            bottom = jnp.where(valid[:, :, None, None, None], bottom, 0)
        hb, wb, cb = bottom.shape[2:]
        pool = LTAE(self.ltae, (cb,), self.dtype, expand=True, norm=self.norm, faithful=self.faithful, name="ltae")
        x, attention = pool(bottom.reshape(b, t, hb * wb, cb), dates, valid, train=train)
        attention = attention.reshape(b, -1, t, hb, wb)
        return [*(collapse(m, attention) for m in maps[:-1]), x.reshape(b, hb, wb, cb)], attention


class UTAEDecoder(nn.Module):
    """The expanding path of the U-Net.

    Attributes:
      config: widths of the levels, borders.
      dtype: of the computation.
      norm: see `ConvNormAct`.
    """

    config: schema.UTAEConfig
    dtype: DTypeLike = jnp.float32
    norm: str = "image"

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array]) -> jax.Array:
        """Maps (B,h,w,C), finest first, each twice as large as the next -> features (B,H,W,C')."""
        widths = self.config.decoder_widths
        *skips, x = maps
        x = nn.Dense(widths[-1], dtype=self.dtype, name="bottom")(x) if x.shape[-1] != widths[-1] else x
        for level in reversed(range(len(skips))):
            x = self._up(x, skips[level], widths[level], level)
        return x

    def _up(self, x, skip, features, level):
        """Doubles the size of x (B,h,w,C) and merges it with the skip connection (B,2h,2w,C')."""

        def block(name, features, side):
            return ConvNormAct(features, side, 1, self.config.border, norm=self.norm, dtype=self.dtype, name=f"up{level}_{name}")

        x = nn.ConvTranspose(features, (4, 4), (2, 2), "SAME", dtype=self.dtype, name=f"up{level}_double")(x)
        x = nn.relu(map_norm(self.norm, features, _GROUPS, self.dtype, f"up{level}_double_norm")(x))
        skip = block("skip", skip.shape[-1], 1)(skip)
        x = block("first", features, 3)(jnp.concatenate([x, skip], -1))
        return x + block("second", features, 3)(x)


class UTAENetwork(_OverDates):
    """Series -> a dense map at full resolution, and the attention that collapsed the dates."""

    @nn.compact
    def __call__(
        self, values: jax.Array, dates: jax.Array, valid: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """values (B,T,H,W,C) normalized, dates (B,T) days, valid (B,T) bool -> features (B,H,W,C'), attention (B,N,T,h,w) float32."""
        stream = UTAEStream(self.config, self.ltae, self.dtype, self.remat, self.norm, self.faithful, name="stream")
        maps, attention = stream(values, dates, valid, train=train)
        features = UTAEDecoder(self.config, self.dtype, self.norm, name="decoder")(maps)
        return features[:, : values.shape[2], : values.shape[3]], attention


class UTAE(nn.Module):
    """Series -> tokens on the patch grid and a dense map at full resolution.

    Attributes:
      config, ltae: widths.
      width: D.
      patch: pixels per token side.
      dtype, remat, norm: see `_OverDates`.
    """

    config: schema.UTAEConfig
    ltae: schema.LTAEConfig
    width: int
    patch: int
    dtype: DTypeLike = jnp.float32
    remat: bool = False
    norm: str = "image"

    @nn.compact
    def __call__(self, values: jax.Array, dates: jax.Array, valid: jax.Array, *, train: bool) -> Encoding:
        """values (B,T,H,W,C) normalized, dates (B,T) days, valid (B,T) bool -> Encoding with features (B,H,W,C')."""
        network = UTAENetwork(self.config, self.ltae, self.dtype, self.remat, self.norm, name="network")
        features, attention = network(values, dates, valid, train=train)
        tokens = nn.Dense(self.width, dtype=self.dtype, name="token")(to_patches(features, self.patch))
        return Encoding(tokens, features, attention.mean(1))


def collapse(skip: jax.Array, attention: jax.Array) -> jax.Array:
    """Sums a map over dates with the attention of the coarsest level, one group of channels per head.

    Args:
      skip: (B,T,H,W,C).
      attention: (B,N,T,h,w), 0 on padded dates; it is upsampled bilinearly and not renormalized, as in the original.

    Returns:
      (B,H,W,C). If N does not divide C, the largest smaller number of heads that does is used.
    """
    b, t, h, w, c = skip.shape
    heads = groups_for(c, attention.shape[1])
    weights = attention[:, :heads].reshape(b * heads * t, *attention.shape[3:], 1)
    weights = resize(weights, h).reshape(b, heads, t, h, w).astype(skip.dtype)
    grouped = skip.reshape(b, t, h, w, heads, c // heads)
    return jnp.einsum("bnthw,bthwng->bhwng", weights, grouped).reshape(b, h, w, c)
