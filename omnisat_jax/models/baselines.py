"""U-TAE, and three ways to give it several series: the baselines that OmniSat is compared with.

Letters: B batch, T dates, H W pixels, h w pixels of a map, C channels, K classes, M modalities, N heads, P patches.
"""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.batch import known_only
from omnisat_jax.config import schema
from omnisat_jax.modalities import richest_series
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.models.encoders.utae import UTAEDecoder, UTAENetwork, UTAEStream
from omnisat_jax.models.heads import ClassificationHead, ConvHead
from omnisat_jax.ops.dates import interpolation_weights
from omnisat_jax.ops.patches import pool_to_grid
from omnisat_jax.types import Batch, PyTree

SERIES_INPUTS = ("values", "dates", "valid")


class UTAESegmenter(nn.Module):
    """U-TAE with its own segmentation head (Garnot & Landrieu, ICCV 2021), for weights of the original.

    Attributes:
      config, ltae: widths.
      head_width: channels of the head's hidden convolution.
      num_classes: K.
      norm: "image", or "affine" for original weights (their BatchNorms folded into a scale and a shift).
      faithful: compute what the original does, whose input norm of attention includes padded dates and whose logits pass a ReLU. By default
        padded dates are invisible and there is no ReLU.
      dtype: of the computation.
    """

    config: schema.UTAEConfig
    ltae: schema.LTAEConfig
    head_width: int
    num_classes: int
    norm: str = "image"
    faithful: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, values: jax.Array, dates: jax.Array, valid: jax.Array, *, train: bool = False, return_attention: bool = False
    ) -> jax.Array | tuple[jax.Array, jax.Array]:
        """values (B,T,H,W,C), dates (B,T) days, valid (B,T) bool -> logits (B,H,W,K) float32 [, attention (N,B,T,h,w) float32]."""
        network = UTAENetwork(self.config, self.ltae, self.dtype, norm=self.norm, faithful=self.faithful, name="network")
        known = known_only({"values": values, "dates": dates, "valid": valid, "present": jnp.ones(values.shape[0], bool)})
        features, attention = network(known["values"], known["dates"], known["valid"], train=train)
        logits = ConvHead(self.head_width, self.num_classes, self.config.border, self.norm, self.dtype, name="head")(features)
        logits = nn.relu(logits) if self.faithful else logits
        return (logits, attention.swapaxes(0, 1)) if return_attention else logits


class SeriesBaseline(MultimodalModel):
    """Series -> one dense map -> the head of U-TAE. The baselines differ in how several series become one map.

    With one modality all of them are U-TAE.
    """

    def setup(self) -> None:
        if self.task == "segment":
            self.head = ConvHead(self.config.head.width, self.num_classes, self.config.utae.border, self.config.norm, self.dtype)
        else:
            self.head = ClassificationHead(self.config.head, self.num_classes, self.dtype)

    def _utae(self, kind):
        """A network or stream with the widths of the configuration."""
        return kind(self.config.utae, self.config.ltae, self.dtype, self.config.remat, self.config.norm)

    def features(self, encoded: PyTree, present: jax.Array, *, train: bool) -> jax.Array:
        """Dense map (B,H,W,C) from what `encode_known` returned; absent modalities contribute zeros."""
        raise NotImplementedError

    def tokens_of(self, encoded: PyTree, present: jax.Array, *, train: bool) -> jax.Array:
        """Mean features of each patch (B,P,C)."""
        features = self.features(encoded, present, train=train)
        return pool_to_grid(features, features.shape[1] // self.specs[0].patch)

    def predict_from(self, encoded: PyTree, present: jax.Array, *, train: bool) -> jax.Array:
        """Logits, (B,H,W,K) or (B,K) float32."""
        if isinstance(self.head, ConvHead):
            return self.head(self.features(encoded, present, train=train))
        return self.head(self.tokens_of(encoded, present, train=train), train=train)


class EarlyFusion(SeriesBaseline):
    """One U-TAE over the bands of all series, interpolated to the dates of the reference series (Garnot et al., ISPRS 2022).

    Without the reference series there are no dates and the model sees nothing, which is inherent to early fusion.
    """

    def setup(self) -> None:
        super().setup()
        self.network = self._utae(UTAENetwork)

    @property
    def reference(self) -> str:
        """Name of the series whose dates are used: `modalities.richest_series`, as in the paper, which uses the dates of Sentinel-2."""
        return richest_series(self.specs).name

    def encode_known(self, inputs: Batch, *, train: bool) -> Batch:
        """The inputs, unchanged: everything depends on which of them are present."""
        del train
        return inputs

    def features(self, encoded: Batch, present: jax.Array, *, train: bool) -> jax.Array:
        """Dense map (B,H,W,C)."""
        reference = self.reference
        dates = encoded[reference]["dates"]
        valid = encoded[reference]["valid"] & present[:, self.names.index(reference), None]
        bands = []
        for index, name in enumerate(self.names):
            entry, seen = encoded[name], present[:, index]
            values = entry["values"]
            if name != reference:
                weights = interpolation_weights(entry["dates"], entry["valid"], dates)
                values = jnp.einsum("bst,bthwc->bshwc", weights, values)
            bands.append(jnp.where(seen[:, None, None, None, None], values, 0))
        return self.network(jnp.concatenate(bands, -1), dates, valid, train=train)[0]


class LateFusion(SeriesBaseline):
    """One U-TAE per series; their dense maps are concatenated (Garnot et al., ISPRS 2022)."""

    def setup(self) -> None:
        super().setup()
        self.networks = {name: self._utae(UTAENetwork) for name in self.names}

    def encode_known(self, inputs: Batch, *, train: bool) -> dict[str, jax.Array]:
        """{name: dense map (B,H,W,C)}."""
        return {name: self.networks[name](*(inputs[name][key] for key in SERIES_INPUTS), train=train)[0] for name in self.names}

    def features(self, encoded: Mapping[str, jax.Array], present: jax.Array, *, train: bool) -> jax.Array:
        """Dense map (B,H,W,M*C)."""
        del train
        return _concatenate([encoded[name] for name in self.names], present)


class DualStream(SeriesBaseline):
    """One stream per series, with a spatial and a temporal encoder of its own, and one decoder for the maps of all streams."""

    def setup(self) -> None:
        super().setup()
        self.streams = {name: self._utae(UTAEStream) for name in self.names}
        self.decoder = UTAEDecoder(self.config.utae, self.dtype, self.config.norm)

    def encode_known(self, inputs: Batch, *, train: bool) -> tuple[dict[str, list[jax.Array]], jax.Array]:
        """{name: maps (B,h,w,C), finest first}, and an array (B,H,W,0) that carries the size of the tile."""
        maps = {name: self.streams[name](*(inputs[name][key] for key in SERIES_INPUTS), train=train)[0] for name in self.names}
        return maps, inputs[self.names[0]]["values"][:, 0, :, :, :0]

    def features(
        self, encoded: tuple[Mapping[str, list[jax.Array]], jax.Array], present: jax.Array, *, train: bool
    ) -> jax.Array:
        """Dense map (B,H,W,C)."""
        del train
        maps, size = encoded
        levels = zip(*(maps[name] for name in self.names))
        x = self.decoder([_concatenate(level, present) for level in levels])
        return x[:, : size.shape[1], : size.shape[2]]


def _concatenate(maps: Sequence[jax.Array], present: jax.Array) -> jax.Array:
    """M maps (B,h,w,C) -> (B,h,w,M*C), those of absent modalities zero; present (B,M) bool."""
    seen = present[:, :, None, None, None]
    return jnp.concatenate([jnp.where(seen[:, index], m, 0) for index, m in enumerate(maps)], -1)
