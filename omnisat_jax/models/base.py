"""What every whole model offers to the tasks: encode once, predict from any subset, and, where it can be pre-trained, embed.

Letters: B batch, M modalities, P patches, D width, K classes.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from omnisat_jax.batch import known_only
from omnisat_jax.config import schema
from omnisat_jax.modalities import ModalitySpec


class Encoded(NamedTuple):
    """What `MultimodalModel.encode` gives: what the subclass made of the inputs, and there (B,M) bool, which modalities have a known value."""

    parts: object
    there: jax.Array


class MultimodalModel(nn.Module):
    """Base of the whole models.

    What is absent is decided here, for all of them: a series without a valid date and a modality without a known value are absent, whatever
    `present` says, and what stands in their place, or on invalid dates, or is not finite, reaches no encoder. A subclass gives
    `encode_known`, `tokens_of` and `predict_from`, and may give `attention_of`.

    Attributes:
      specs: the modalities, in order.
      settings: widths.
      contrastive: what `embed` gives.
      task: "segment" or "classify".
      num_classes: K.
      label_patch: label pixels per token side (segment).
      dtype: of the computation; parameters are float32.
    """

    specs: tuple[ModalitySpec, ...]
    settings: schema.ModelConfig
    contrastive: schema.ContrastiveConfig
    task: str
    num_classes: int
    label_patch: int
    dtype: jnp.dtype = jnp.float32

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities, in order."""
        return tuple(spec.name for spec in self.specs)

    def encode(self, inputs, *, train: bool) -> Encoded:
        """Whatever does not depend on the subset of modalities, from `batch.normalise`d inputs; a pytree that `predict` takes."""
        inputs, there = self.known(inputs)
        return Encoded(self.encode_known(inputs, train=train), there)

    def tokens(self, encoded: Encoded, present, *, train: bool):
        """(B,P,D) tokens of the patches from the modalities in present (B,M); what a frozen probe reads."""
        return self.tokens_of(encoded.parts, present & encoded.there, train=train)

    def attention(self, encoded: Encoded):
        """{series: (B,T,h,w) float32} what each date received at each place, of the encoders that tell."""
        return self.attention_of(encoded.parts)

    def predict(self, encoded: Encoded, present, *, train: bool):
        """Logits, (B,H,W,K) or (B,K) float32, from what `encode` returned and the modalities in present (B,M)."""
        return self.predict_from(encoded.parts, present & encoded.there, train=train)

    def __call__(self, inputs, present, *, train: bool):
        """Logits of normalised inputs under present (B,M)."""
        return self.predict(self.encode(inputs, train=train), present, train=train)

    def known(self, inputs):
        """Inputs with unknown values masked, and which modalities are there (B,M) bool; see `Encoded`."""
        inputs = {name: known_only(inputs[name]) for name in self.names}
        return inputs, jnp.stack([inputs[name]["present"] for name in self.names], 1)

    def encode_known(self, inputs, *, train: bool):
        """`encode` of inputs of which `known_only` is left."""
        raise NotImplementedError

    def tokens_of(self, encoded, present, *, train: bool):
        """`tokens` of what `encode_known` gave, from the modalities that are there."""
        raise NotImplementedError

    def predict_from(self, encoded, present, *, train: bool):
        """`predict` of what `encode_known` gave, from the modalities that are there."""
        raise NotImplementedError

    def attention_of(self, encoded):
        """`attention` of what `encode_known` gave."""
        return {}
