"""The interface of every model: encode once, then predict from any subset of modalities.

Letters: B batch, M modalities, P patches, D width, T dates, h w cells, H W label pixels, K classes.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.batch import Known, known_only
from omnisat_jax.config import schema
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.types import Batch, PyTree


class Encoded(NamedTuple):
    """What `MultimodalModel.encode` returns.

    Attributes:
      parts: pytree that the subclass made of the inputs.
      there: (B,M) bool, which modalities have a known value.
    """

    parts: PyTree
    there: jax.Array


class MultimodalModel(nn.Module):
    """Base class of the models.

    It decides for all of them what is absent: a series without a valid date and a modality without a known value are absent, whatever
    `present` says, and no encoder sees the values of an absent modality or an invalid date, or values that are not finite. A subclass
    implements `encode_known`, `tokens_of` and `predict_from`, and optionally `attention_of`.

    Attributes:
      specs: the modalities, in order.
      config: widths and other choices of the model.
      contrastive: configuration of the contrastive loss, which decides what `embed` of a `PretrainableModel` returns.
      task: "segment" or "classify".
      num_classes: K.
      label_patch: label pixels per token side (segment).
      dtype: of the computation; parameters are float32.
    """

    specs: tuple[ModalitySpec, ...]
    config: schema.ModelConfig
    contrastive: schema.ContrastiveConfig
    task: str
    num_classes: int
    label_patch: int
    dtype: DTypeLike = jnp.float32

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities, in order."""
        return tuple(spec.name for spec in self.specs)

    def encode(self, inputs: Batch, *, train: bool) -> Encoded:
        """Computes everything that does not depend on the subset of modalities.

        Args:
          inputs: {name: entry} as `batch.normalise` returns them.
          train: whether dropout is on.
        """
        inputs, there = self.known(inputs)
        return Encoded(self.encode_known(inputs, train=train), there)

    def tokens(self, encoded: Encoded, present: jax.Array, *, train: bool) -> jax.Array:
        """(B,P,D) tokens of the patches from the modalities in present (B,M) bool; a frozen probe reads these."""
        return self.tokens_of(encoded.parts, present & encoded.there, train=train)

    def attention(self, encoded: Encoded) -> dict[str, jax.Array]:
        """{series: (B,T,h,w) float32 attention that each date received in each cell}, for encoders that expose it."""
        return self.attention_of(encoded.parts)

    def predict(self, encoded: Encoded, present: jax.Array, *, train: bool) -> jax.Array:
        """Logits, (B,H,W,K) or (B,K) float32, from the modalities in present (B,M) bool."""
        return self.predict_from(encoded.parts, present & encoded.there, train=train)

    def __call__(self, inputs: Batch, present: jax.Array, *, train: bool) -> jax.Array:
        """Logits of normalized inputs from the modalities in present (B,M) bool."""
        return self.predict(self.encode(inputs, train=train), present, train=train)

    def unimodal(self, encoded: Encoded) -> dict[str, tuple[jax.Array, jax.Array]]:
        """What single modalities predict by themselves, {name: (logits (B,H,W,K) float32, there (B,) bool)}; empty if the model has no such heads."""
        logits = self.unimodal_of(encoded.parts)
        return {name: (value, encoded.there[:, self.names.index(name)]) for name, value in logits.items()}

    def known(self, inputs: Batch) -> tuple[dict[str, Known], jax.Array]:
        """Inputs with unknown values masked, and which modalities have a known value, (B,M) bool."""
        entries = {name: known_only(inputs[name]) for name in self.names}
        return entries, jnp.stack([entries[name]["present"] for name in self.names], 1)

    def encode_known(self, inputs: Batch, *, train: bool) -> PyTree:
        """`encode` of inputs whose unknown values are masked."""
        raise NotImplementedError

    def tokens_of(self, encoded: PyTree, present: jax.Array, *, train: bool) -> jax.Array:
        """`tokens` of what `encode_known` returned; present (B,M) holds only modalities with a known value."""
        raise NotImplementedError

    def predict_from(self, encoded: PyTree, present: jax.Array, *, train: bool) -> jax.Array:
        """`predict` of what `encode_known` returned; present (B,M) holds only modalities with a known value."""
        raise NotImplementedError

    def unimodal_of(self, encoded: PyTree) -> dict[str, jax.Array]:
        """The logits of `unimodal` of what `encode_known` returned."""
        del encoded
        return {}

    def attention_of(self, encoded: PyTree) -> dict[str, jax.Array]:
        """`attention` of what `encode_known` returned."""
        del encoded
        return {}
