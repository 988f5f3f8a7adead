"""What whole models share that can be pre-trained without labels: views to align, and measurements to reconstruct.

Letters: B batch, M modalities, V views, P patches, D width, E width of the contrastive space, N chosen dates.
"""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from omnisat_jax.errors import UserError
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.models.decoder import Decoder, most_attended
from omnisat_jax.models.heads import ClassificationHead, Projection, SegmentationHead, Temperature
from omnisat_jax.ops.patches import resize, roll_map, roll_tokens

FUSED = "fused"


class PretrainDraws(NamedTuple):
    """What chance decides of a pre-training step, drawn outside the model.

    Attributes:
      masked: (B,M,P) bool, tokens that fusion sees as a learned vector; or None.
      shifts: (M,2) int32, patches down and to the right by which each modality is rolled before it is encoded, and back afterwards; or None.
      pixels: (N,) float32 in [0, 1), which pixels of the dense map are contrasted, as shares of their row-major order; or None.
    """

    masked: jax.Array | None = None
    pixels: jax.Array | None = None
    shifts: jax.Array | None = None


@flax.struct.dataclass
class Views:
    """The views of one granularity: names of the V views, z (V,B,P,E) float32 of unit length."""

    z: jax.Array
    names: tuple[str, ...] = flax.struct.field(pytree_node=False)


class Reconstruction(NamedTuple):
    """One modality decoded: values (B,P,...) or (B,N,P,...); and of a series the chosen dates (B,N) and which of them are valid."""

    values: jax.Array
    chosen: jax.Array | None = None
    valid: jax.Array | None = None


class PretrainableModel(MultimodalModel):
    """Base of the models that can be pre-trained. A subclass gives `encode_known` ({name: Encoding}) and `fuse`."""

    def setup(self):
        contrasted = [*self.contrasted, FUSED]
        self.projections = {
            f"{granularity}_{name}": Projection(self.config.projection, self.dtype)
            for granularity in self.contrastive.granularities
            for name in contrasted
        }
        self.temperature = Temperature(self.contrastive.temperature, self.contrastive.learned_temperature)
        self.decoders = {
            spec.name: Decoder(self.config.decoder.hidden, spec.patch**2 * spec.channels, self.config.ltae.period, self.dtype)
            for spec in self.specs
            if spec.kind != "location"
        }
        if self.task == "segment":
            self.head = SegmentationHead(
                self.config.head,
                self.num_classes,
                self.label_patch,
                self.names,
                self.config.utae.border,
                self.dtype,
                self.config.norm,
            )
        else:
            self.head = ClassificationHead(self.config.head, self.num_classes, self.dtype)

    @property
    def contrasted(self) -> tuple[str, ...]:
        """Modalities that are views of the contrast."""
        return tuple(name for name in self.names if not self.contrastive.views or name in self.contrastive.views)

    def fuse(self, encoded, present, masked=None, *, train: bool):
        """Fused tokens (B,P,D) of the modalities in present (B,M), some tokens masked (B,M,P)."""
        raise NotImplementedError

    def tokens_of(self, encoded, present, *, train: bool):
        """Fused tokens (B,P,D) of the modalities in present (B,M)."""
        return self.fuse(encoded, present, train=train)

    def attention_of(self, encoded):
        """{series: (B,T,h,w) float32} what each date received at each place."""
        series = [spec.name for spec in self.specs if spec.kind == "series"]
        return {name: encoded[name].attention for name in series}

    def predict_from(self, encoded, present, *, train: bool):
        """Logits, (B,H,W,K) or (B,K) float32."""
        fused = self.fuse(encoded, present, train=train)
        if self.task == "segment":
            return self.head(fused, {name: out.features for name, out in encoded.items()}, present, train=train)
        return self.head(fused, train=train)

    def embed(self, inputs, visible, draws: PretrainDraws, *, reconstruct: float = 0.0, train: bool):
        """What pre-training compares.

        Args:
          inputs: normalised modalities.
          visible: (B,M) the subset that fusion may use; never a location, which would name the place.
          draws: masked tokens and contrasted pixels of this step.
          reconstruct: share of the dates of a series to decode; 0 = decode nothing.

        Returns:
          {granularity: Views}, the temperature, {name: Reconstruction}.
        """
        inputs, there = self.known(inputs)
        encoded = self._encode_rolled(inputs, draws.shifts, train)
        sensors = jnp.asarray([spec.kind != "location" for spec in self.specs])
        fused = None
        if self.contrastive.fused or reconstruct:
            fused = self.fuse(encoded, visible & there & sensors, draws.masked, train=train)
        views = {granularity: self._views(granularity, encoded, fused, draws.pixels) for granularity in self.contrastive.granularities}
        decoded = {}
        for spec in self.specs:
            if not reconstruct or spec.kind == "location":
                continue
            decoder = self.decoders[spec.name]
            if spec.kind == "image":
                decoded[spec.name] = Reconstruction(decoder(fused))
                continue
            entry = inputs[spec.name]
            chosen, valid = most_attended(encoded[spec.name].attention, entry["valid"], reconstruct)
            dates = jnp.take_along_axis(entry["dates"], chosen, axis=1)
            decoded[spec.name] = Reconstruction(decoder(fused, dates), chosen, valid)
        return views, self.temperature(), decoded

    def _encode_rolled(self, inputs, shifts, train):
        """Encodes each modality from a place of its own in the tile, and moves what comes out back.

        Encoders that see more than a patch could otherwise tell patches apart by where they lie, which satisfies the contrast and means
        nothing: borders of convolutions and learned positions give that away.
        """
        if shifts is None:
            return self.encode_known(inputs, train=train)
        shifts, moved = dict(zip(self.names, shifts)), dict(inputs)
        for spec in self.specs:
            if spec.kind != "location":
                values = inputs[spec.name]["values"]
                moved[spec.name] = inputs[spec.name] | {
                    "values": roll_map(values, shifts[spec.name], values.shape[-2] // spec.patch)
                }
        encoded = self.encode_known(moved, train=train)
        sensors = [spec.name for spec in self.specs if spec.kind != "location"]
        return encoded | {name: self.roll_back(encoded[name], shifts[name]) for name in sensors}

    def roll_back(self, out, shift):
        """What `encode_known` gave of a modality that was rolled by shift (2,), moved back."""
        grid = round(out.tokens.shape[1] ** 0.5)
        features = None if out.features is None else roll_map(out.features, -shift, grid)
        return out._replace(tokens=roll_tokens(out.tokens, -shift), features=features)

    def _views(self, granularity, encoded, fused, pixels):
        if granularity == "pixel":
            maps = {name: encoded[name].features for name in self.contrasted if encoded[name].features is not None}
            if not maps:
                raise UserError("contrastive.granularities 'pixel' needs an encoder with a dense map: utae or resnet")
            side = max(m.shape[1] for m in maps.values())
            views = {name: resize(m, side).reshape(m.shape[0], side * side, -1) for name, m in maps.items()}
            chosen = (pixels * side * side).astype(jnp.int32)  # the same places in every tile and view
            views = {name: view[:, chosen] for name, view in views.items()}
        else:
            views = {name: encoded[name].tokens for name in self.contrasted}
            if self.contrastive.fused:
                views[FUSED] = fused
        if granularity == "tile":
            views = {name: view.mean(1, keepdims=True) for name, view in views.items()}
        z = jnp.stack([self.projections[f"{granularity}_{name}"](view) for name, view in views.items()])
        return Views(z, tuple(views))
