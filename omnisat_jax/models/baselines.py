"""Published networks that are not built from our fusion. Letters: B batch, T dates, H W pixels, C channels, K classes, N heads."""

import flax.linen as nn
import jax.numpy as jnp

from omnisat_jax import schema
from omnisat_jax.models.encoders.utae import UTAENetwork
from omnisat_jax.models.layers import Conv, ConvNormAct


class UTAESegmenter(nn.Module):
    """U-TAE with its own segmentation head (Garnot & Landrieu, ICCV 2021).

    Attributes:
      settings, ltae: widths.
      head_width: channels of the head's hidden convolution.
      num_classes: K.
      norm: "image", or "affine" for original weights (their BatchNorms folded into a scale and a shift).
      faithful: as published: padding is seen by attention's input norm, and the logits pass a ReLU. The default makes padding invisible and
        leaves the logits alone.
      dtype: of the computation.
    """

    settings: schema.UTAE
    ltae: schema.LTAE
    head_width: int
    num_classes: int
    norm: str = "image"
    faithful: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, values, dates, valid, *, train: bool = False, return_attention: bool = False):
        """values (B,T,H,W,C), dates (B,T) days, valid (B,T) bool -> logits (B,H,W,K) float32 [, attention (N,B,T,h,w) float32]."""
        network = UTAENetwork(self.settings, self.ltae, self.dtype, norm=self.norm, faithful=self.faithful, name="network")
        features, attention = network(values, dates, valid, train=train)
        border = self.settings.border
        x = ConvNormAct(self.head_width, border=border, norm=self.norm, dtype=self.dtype, name="hidden")(features)
        if self.norm == "affine":
            x = ConvNormAct(self.num_classes, border=border, norm="affine", activation="none", dtype=jnp.float32, name="logits")(x)
        else:
            x = Conv(self.num_classes, border=border, dtype=jnp.float32, name="logits")(x)
        logits = (nn.relu(x) if self.faithful else x).astype(jnp.float32)
        return (logits, attention.swapaxes(0, 1)) if return_attention else logits
