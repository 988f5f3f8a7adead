"""Base of the models that can be pre-trained: what loss terms read of them, beside the heads of fine-tuning.

Letters: B batch, M modalities, T dates, N chosen dates, P patches, D width, V views, E width of the contrastive space.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from omnisat_jax.config.registry import encoders_with_dense_map
from omnisat_jax.errors import UserError
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.models.decoder import Decoder, most_attended
from omnisat_jax.models.heads import ClassificationHead, Projection, SegmentationHead, Temperature
from omnisat_jax.ops.patches import resize, roll_map, roll_tokens

FUSED = "fused"  # name of the view made of the fused tokens


class PretrainDraws(NamedTuple):
    """Random draws of a pre-training step that change what the model computes; see `PretrainableModel.embed`.

    Attributes:
      masked: (B,M,P) bool, tokens that fusion replaces by a learned vector; None = no token.
      shifts: (M,2) int32, patches down and to the right by which each modality is rolled before it is encoded, and rolled back afterwards;
        None = not rolled.
    """

    masked: jax.Array | None = None
    shifts: jax.Array | None = None


class PretrainOutputs(NamedTuple):
    """The outputs of one forward pass, shared by all loss terms.

    Attributes:
      inputs: {modality: entry}, normalized, unknown values masked, as the encoders would see them without rolling.
      encoded: {modality: Encoding}.
      fused: (B,P,D) tokens fused from the visible modalities; None if they were not computed, because no loss term reads them.
    """

    inputs: Mapping[str, Any]
    encoded: Mapping[str, Any]
    fused: jax.Array | None = None


@flax.struct.dataclass
class Views:
    """The views of one granularity.

    Attributes:
      z: (V,B,P,E) in the dtype of the model, unit length.
      names: of the V views: modalities, and FUSED.
    """

    z: jax.Array
    names: tuple[str, ...] = flax.struct.field(pytree_node=False)


class Decoded(NamedTuple):
    """The decoded values of one modality.

    Attributes:
      values: (B,P,p*p*C) float32 of an image, (B,N,P,p*p*C) of a series.
      chosen: (B,N) int32, positions of the decoded dates; None for an image.
      valid: (B,N) bool, which of them are valid; None for an image.
    """

    values: jax.Array
    chosen: jax.Array | None = None
    valid: jax.Array | None = None


class PretrainableModel(MultimodalModel):
    """Base of the models that can be pre-trained.

    A subclass defines `encode_known`, which returns {modality: Encoding}, and `fuse`. A loss term calls `views`, `temperature` and
    `reconstruct` with the outputs of `embed`, or reads those outputs directly. Parameters of a head exist only if something calls it.
    """

    def setup(self) -> None:
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
        """Modalities that are views of the contrastive loss."""
        return tuple(name for name in self.names if not self.contrastive.views or name in self.contrastive.views)

    def fuse(self, encoded: Any, present: jax.Array, masked: jax.Array | None = None, *, train: bool) -> jax.Array:
        """Fused tokens (B,P,D) of the modalities in present (B,M), with some tokens masked (B,M,P)."""
        raise NotImplementedError

    def tokens_of(self, encoded: Any, present: jax.Array, *, train: bool) -> jax.Array:
        """Fused tokens (B,P,D) of the modalities in present (B,M)."""
        return self.fuse(encoded, present, train=train)

    def attention_of(self, encoded: Any) -> dict[str, jax.Array]:
        """{series: (B,T,h,w) float32}, the attention that each date received at each position of the encoder's grid."""
        series = [spec.name for spec in self.specs if spec.kind == "series"]
        return {name: encoded[name].attention for name in series}

    def predict_from(self, encoded: Any, present: jax.Array, *, train: bool) -> jax.Array:
        """Logits, (B,H,W,K) or (B,K) float32."""
        fused = self.fuse(encoded, present, train=train)
        if isinstance(self.head, SegmentationHead):
            return self.head(fused, {name: out.features for name, out in encoded.items()}, present, train=train)
        return self.head(fused, train=train)

    def unimodal_of(self, encoded: Any) -> dict[str, jax.Array]:
        """{modality: logits (B,H,W,K) float32} of the modalities with a dense map, in a model for segmentation."""
        if not isinstance(self.head, SegmentationHead):
            return {}
        side = round(next(iter(encoded.values())).tokens.shape[1] ** 0.5) * self.label_patch
        return self.head.unimodal({name: out.features for name, out in encoded.items()}, side)

    def embed(
        self, inputs: Mapping[str, Any], visible: jax.Array, draws: PretrainDraws, *, fuse: bool = True, train: bool
    ) -> PretrainOutputs:
        """Encodes every modality and fuses the visible ones.

        Args:
          inputs: normalized modalities.
          visible: (B,M) bool, the subset that fusion may use. It never uses a location, which would identify the tile.
          draws: masked tokens and shifts of this step.
          fuse: whether to compute the fused tokens.
        """
        inputs, there = self.known(inputs)
        encoded = self._encode_rolled(inputs, draws.shifts, train)
        sensors = jnp.asarray([spec.kind != "location" for spec in self.specs])
        fused = self.fuse(encoded, visible & there & sensors, draws.masked, train=train) if fuse else None
        return PretrainOutputs(inputs=inputs, encoded=encoded, fused=fused)

    def views(self, outputs: PretrainOutputs, pixels: jax.Array | None = None) -> dict[str, Views]:
        """Embeddings for the contrastive loss, {granularity: Views}, in the order of the configuration.

        Args:
          outputs: of `embed`; the fused tokens are one of the views if contrastive.fused is set.
          pixels: (N,) float32 in [0, 1), which pixels of the dense maps are embedded, as fractions of their row-major order; used by the
            granularity "pixel" only.
        """
        return {granularity: self._views(granularity, outputs, pixels) for granularity in self.contrastive.granularities}

    def reconstruct(self, outputs: PretrainOutputs, date_share: float) -> dict[str, Decoded]:
        """Decodes the fused tokens to the measurements of every sensor, {modality: Decoded}.

        Args:
          outputs: of `embed`, with fused tokens.
          date_share: share of the dates of a series to decode, the most attended ones; above 0.

        Raises:
          ValueError: no fused tokens.
        """
        fused, decoded = outputs.fused, {}
        if fused is None:
            raise ValueError("reconstruct: expected fused tokens, found none; call embed with fuse=True")
        for spec in self.specs:
            if spec.kind == "location":
                continue
            decoder = self.decoders[spec.name]
            if spec.kind == "image":
                decoded[spec.name] = Decoded(values=decoder(fused))
                continue
            entry = outputs.inputs[spec.name]
            chosen, valid = most_attended(outputs.encoded[spec.name].attention, entry["valid"], date_share)
            dates = jnp.take_along_axis(entry["dates"], chosen, axis=1)
            decoded[spec.name] = Decoded(values=decoder(fused, dates), chosen=chosen, valid=valid)
        return decoded

    def _encode_rolled(self, inputs, shifts, train):
        """Encodes each modality rolled by a shift of its own, and rolls the outputs back.

        Encoders that see more than one patch can infer its position in the tile from convolution borders and learned positions. Matching patches
        by position would minimize the contrastive loss without learning anything about the ground.
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

    def roll_back(self, out: Any, shift: jax.Array) -> Any:
        """Rolls back the Encoding of a modality whose input was rolled by shift (2,)."""
        grid = round(out.tokens.shape[1] ** 0.5)
        features = None if out.features is None else roll_map(out.features, -shift, grid)
        return out._replace(tokens=roll_tokens(out.tokens, -shift), features=features)

    def _views(self, granularity, outputs, pixels):
        encoded = outputs.encoded
        if granularity == "pixel":
            maps = {name: encoded[name].features for name in self.contrasted if encoded[name].features is not None}
            if not maps:
                raise UserError(f"contrastive.granularities 'pixel' needs an encoder with a dense map: {', '.join(encoders_with_dense_map())}")
            side = max(m.shape[1] for m in maps.values())
            views = {name: resize(m, side).reshape(m.shape[0], side * side, -1) for name, m in maps.items()}
            chosen = (pixels * side * side).astype(jnp.int32)  # the same pixels in every tile and view
            views = {name: view[:, chosen] for name, view in views.items()}
        else:
            views = {name: encoded[name].tokens for name in self.contrasted}
            if self.contrastive.fused:
                views[FUSED] = outputs.fused
        if granularity == "tile":
            views = {name: view.mean(1, keepdims=True) for name, view in views.items()}
        z = jnp.stack([self.projections[f"{granularity}_{name}"](view) for name, view in views.items()])
        return Views(z.astype(self.dtype), tuple(views))
