"""U-TAE and the ways to give it several series, as OmniSat is compared with.

Letters: B batch, T dates, H W pixels, C channels, K classes, M modalities, N heads, P patches.
"""

import flax.linen as nn
import jax.numpy as jnp

from omnisat_jax.batch import known_only
from omnisat_jax.config import schema
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.models.encoders.utae import UTAEDecoder, UTAENetwork, UTAEStream
from omnisat_jax.models.heads import ClassificationHead, ConvHead
from omnisat_jax.ops.dates import interpolation_weights
from omnisat_jax.ops.patches import pool_to_grid


class UTAESegmenter(nn.Module):
    """U-TAE with its own segmentation head (Garnot & Landrieu, ICCV 2021), as weights of the original need it.

    Attributes:
      settings, ltae: widths.
      head_width: channels of the head's hidden convolution.
      num_classes: K.
      norm: "image", or "affine" for original weights (their BatchNorms folded into a scale and a shift).
      faithful: as published: padding is seen by attention's input norm, and the logits pass a ReLU. The default makes padding invisible and
        leaves the logits alone.
      dtype: of the computation.
    """

    settings: schema.UTAEConfig
    ltae: schema.LTAEConfig
    head_width: int
    num_classes: int
    norm: str = "image"
    faithful: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, values, dates, valid, *, train: bool = False, return_attention: bool = False):
        """values (B,T,H,W,C), dates (B,T) days, valid (B,T) bool -> logits (B,H,W,K) float32 [, attention (N,B,T,h,w) float32]."""
        network = UTAENetwork(self.settings, self.ltae, self.dtype, norm=self.norm, faithful=self.faithful, name="network")
        known = known_only({"values": values, "dates": dates, "valid": valid, "present": jnp.ones(values.shape[0], bool)})
        features, attention = network(known["values"], known["dates"], known["valid"], train=train)
        logits = ConvHead(self.head_width, self.num_classes, self.settings.border, self.norm, self.dtype, name="head")(features)
        logits = nn.relu(logits) if self.faithful else logits
        return (logits, attention.swapaxes(0, 1)) if return_attention else logits


class SeriesBaseline(MultimodalModel):
    """Series -> one dense map -> U-TAE's head. How several series become one map is what the baselines differ in.

    With one modality all of them are U-TAE.
    """

    def setup(self):
        if self.task == "segment":
            self.head = ConvHead(
                self.settings.head.width, self.num_classes, self.settings.utae.border, self.settings.norm, self.dtype
            )
        else:
            self.head = ClassificationHead(self.settings.head, self.num_classes, self.dtype)

    def _utae(self, kind, **more):
        return kind(self.settings.utae, self.settings.ltae, self.dtype, self.settings.remat, self.settings.norm, **more)

    def features(self, encoded, present, *, train: bool):
        """Dense map (B,H,W,C) from what `encode_known` returned; absent modalities are zeros."""
        raise NotImplementedError

    def tokens_of(self, encoded, present, *, train: bool):
        """Mean features of each patch (B,P,C)."""
        features = self.features(encoded, present, train=train)
        return pool_to_grid(features, features.shape[1] // self.specs[0].patch)

    def predict_from(self, encoded, present, *, train: bool):
        """Logits, (B,H,W,K) or (B,K) float32."""
        if self.task == "segment":
            return self.head(self.features(encoded, present, train=train))
        return self.head(self.tokens_of(encoded, present, train=train), train=train)


class EarlyFusion(SeriesBaseline):
    """One U-TAE over the bands of all series, interpolated to the dates of the one with most bands (Garnot et al., ISPRS 2022).

    Without that series nothing is seen: this is what early fusion is.
    """

    def setup(self):
        super().setup()
        self.network = self._utae(UTAENetwork)

    def encode_known(self, inputs, *, train: bool):
        """The inputs as they are: everything later depends on which of them are there."""
        del train
        return inputs

    def features(self, encoded, present, *, train: bool):
        """Dense map (B,H,W,C)."""
        reference = max(self.specs, key=lambda spec: spec.channels).name
        dates = encoded[reference]["dates"]
        bands = []
        for index, name in enumerate(self.names):
            entry, seen = encoded[name], present[:, index]
            values = entry["values"]
            if name != reference:
                weights = interpolation_weights(entry["dates"], entry["valid"], dates)
                values = jnp.einsum("bst,bthwc->bshwc", weights, values)
            else:
                valid = entry["valid"] & seen[:, None]
            bands.append(jnp.where(seen[:, None, None, None, None], values, 0))
        return self.network(jnp.concatenate(bands, -1), dates, valid, train=train)[0]


class LateFusion(SeriesBaseline):
    """A U-TAE a series; their dense maps side by side (Garnot et al., ISPRS 2022)."""

    def setup(self):
        super().setup()
        self.networks = {name: self._utae(UTAENetwork) for name in self.names}

    def encode_known(self, inputs, *, train: bool):
        """{name: dense map (B,H,W,C)}."""
        return {
            name: self.networks[name](*(inputs[name][key] for key in ("values", "dates", "valid")), train=train)[0]
            for name in self.names
        }

    def features(self, encoded, present, *, train: bool):
        """Dense map (B,H,W,M*C)."""
        del train
        return _side_by_side([encoded[name] for name in self.names], present)


class DualStream(SeriesBaseline):
    """A stream down a series, with spatial and temporal encoder of its own, and one way up from the maps of all streams."""

    def setup(self):
        super().setup()
        self.streams = {name: self._utae(UTAEStream) for name in self.names}
        self.decoder = UTAEDecoder(self.settings.utae, self.dtype, self.settings.norm)

    def encode_known(self, inputs, *, train: bool):
        """{name: maps (B,h,w,C), finest first}, and an empty map of the tile's size."""
        maps = {
            name: self.streams[name](*(inputs[name][key] for key in ("values", "dates", "valid")), train=train)[0]
            for name in self.names
        }
        return maps, inputs[self.names[0]]["values"][:, 0, :, :, :0]

    def features(self, encoded, present, *, train: bool):
        """Dense map (B,H,W,C)."""
        del train
        maps, size = encoded
        levels = zip(*(maps[name] for name in self.names))
        x = self.decoder([_side_by_side(level, present) for level in levels])
        return x[:, : size.shape[1], : size.shape[2]]


def _side_by_side(maps, present):
    """M maps (B,h,w,C) -> (B,h,w,M*C), absent ones zero."""
    seen = present[:, :, None, None, None]
    return jnp.concatenate([jnp.where(seen[:, index], m, 0) for index, m in enumerate(maps)], -1)
