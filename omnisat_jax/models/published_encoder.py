"""OmniSat's encoder as published (Astruc et al., ECCV 2024), for weights of the authors' code, in evaluation.

`models.published` is the model to train. Letters: B batch, T dates, H W pixels, C channels, M modalities, P patches, D width.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from omnisat_jax.batch import Known, known_only
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.models.encoders.image import PatchCNN
from omnisat_jax.models.encoders.patch_ltae import PatchLTAE
from omnisat_jax.models.published_fusion import PublishedFusion


class PublishedSeriesEncoder(nn.Module):
    """Patch L-TAE as published: every date is attended to, real or padded, unless `valid` says otherwise.

    Attributes:
      config, ltae: widths.
      width: D.
      patch: pixels per token side.
      normalise_input: whether attention has an input norm (the published one has it for Sentinel-2 only).
    """

    config: schema.PatchLTAEConfig
    ltae: schema.LTAEConfig
    width: int
    patch: int
    normalise_input: bool

    @nn.compact
    def __call__(
        self, values: jax.Array, dates: jax.Array, valid: jax.Array | None = None, *, train: bool = False
    ) -> jax.Array:
        """values (B,T,H,W,C), dates (B,T) days, valid (B,T) bool or None for all -> tokens (B,P,D)."""
        entry = _known(values, dates, valid)
        encoder = PatchLTAE(
            self.config, self.ltae, self.width, self.patch, norm="affine", normalise_input=self.normalise_input, name="encoder"
        )
        return encoder(entry["values"], entry["dates"], entry["valid"], train=train).tokens


class PublishedImageEncoder(nn.Module):
    """Patch CNN as published, its BatchNorm folded into a scale and a shift.

    Attributes:
      config: number of residual blocks.
      width: D.
      patch: pixels per token side.
    """

    config: schema.PatchCNNConfig
    width: int
    patch: int

    @nn.compact
    def __call__(self, values: jax.Array, *, train: bool = False) -> jax.Array:
        """values (B,H,W,C) -> tokens (B,P,D)."""
        values = _known(values)["values"]
        return PatchCNN(self.config, self.width, self.patch, norm="affine", name="encoder")(values, train=train).tokens


def _known(values: jax.Array, dates: jax.Array | None = None, valid: jax.Array | None = None) -> Known:
    """One modality as an entry of a batch, with unknown values masked."""
    entry = {"values": values, "present": jnp.ones(values.shape[0], bool)}
    if dates is not None:
        entry |= {"dates": dates, "valid": jnp.ones(values.shape[:2], bool) if valid is None else valid}
    return known_only(entry)


class PublishedEncoder(nn.Module):
    """The encoders of all modalities and the combiner.

    Attributes:
      encoders: (name, encoder) in the order of the published code: images, Sentinel-2, Sentinel-1.
      fusion: attributes of `PublishedFusion`.
    """

    encoders: tuple[tuple[str, nn.Module], ...]
    fusion: dict

    @nn.compact
    def __call__(self, inputs: Mapping[str, tuple[jax.Array, ...] | jax.Array], *, train: bool = False) -> jax.Array:
        """Encodes tiles.

        Args:
          inputs: {name: (values, dates), (values, dates, valid), or values of an image}. The original needs every modality; here one without
            a valid date or a known value is never a key of the combiner.
          train: whether dropout is on.

        Returns:
          (B,P+1,D), the tile first.

        Raises:
          UserError: other modalities than the weights have, or tokens on different grids.
        """
        names = [name for name, _ in self.encoders]
        if set(inputs) != set(names):
            raise UserError(f"expected the modalities {', '.join(names)}, found {', '.join(inputs)}")
        tokens, present = [], []
        for name, encoder in self.encoders:
            entry = inputs[name]
            given = entry if isinstance(entry, tuple | list) else (entry,)
            present.append(_known(*given)["present"])
            tokens.append(encoder.copy(name=f"encoder_{name}")(*given, train=train))
        if len({x.shape for x in tokens}) > 1:
            raise UserError(f"modalities must cover the same patches, found {dict(zip(names, (x.shape for x in tokens)))}")
        return PublishedFusion(**self.fusion, name="fusion")(jnp.stack(tokens, 1), jnp.stack(present, 1))
