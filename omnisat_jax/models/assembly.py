"""What every whole model offers to the tasks: encode once, predict from any subset, and, where it can be pre-trained, embed.

Letters: B batch, M modalities, P patches, D width, K classes.
"""

import flax.linen as nn
import jax.numpy as jnp

from omnisat_jax import schema
from omnisat_jax.modalities import ModalitySpec


class Assembly(nn.Module):
    """Base of the whole models.

    Attributes:
      specs: the modalities, in order.
      settings: widths.
      contrast: what `embed` gives.
      task: "segment" or "classify".
      num_classes: K.
      label_patch: label pixels a token side (segment).
      dtype: of the computation; parameters are float32.
    """

    specs: tuple[ModalitySpec, ...]
    settings: schema.Model
    contrast: schema.Contrast
    task: str
    num_classes: int
    label_patch: int
    dtype: jnp.dtype = jnp.float32

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities, in order."""
        return tuple(spec.name for spec in self.specs)

    def encode(self, inputs, *, train: bool):
        """Whatever does not depend on the subset of modalities, from `batch.normalise`d inputs; a pytree that `predict` takes."""
        raise NotImplementedError

    def tokens(self, encoded, present, *, train: bool):
        """(B,P,D) tokens of the patches from the modalities in present (B,M); what a frozen probe reads."""
        raise NotImplementedError

    def attention(self, encoded):
        """{series: (B,T,h,w) float32} what each date received at each place, of the encoders that tell."""
        return {}

    def predict(self, encoded, present, *, train: bool):
        """Logits, (B,H,W,K) or (B,K) float32, from what `encode` returned and the modalities in present (B,M)."""
        raise NotImplementedError

    def __call__(self, inputs, present, *, train: bool):
        """Logits of normalised inputs under present (B,M)."""
        return self.predict(self.encode(inputs, train=train), present, train=train)
