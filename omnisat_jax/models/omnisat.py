"""The whole model: encoders, projections, fusion and head, put together.

Letters: B batch, M modalities, P patches, D width, E width of the contrastive space, K classes, S subsets.
"""

import flax.linen as nn
import jax.numpy as jnp

from omnisat_jax import schema
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models.encoders.image import PatchCNN, ResNet, ViT
from omnisat_jax.models.encoders.patch_ltae import PatchLTAE
from omnisat_jax.models.encoders.utae import UTAE
from omnisat_jax.models.fusion import Fusion
from omnisat_jax.models.heads import ClassificationHead, Projection, SegmentationHead, Temperature


def make_encoder(spec: ModalitySpec, model: schema.Model, dtype, name=None):
    """The encoder that `spec` asks for."""
    common = dict(width=model.width, patch=spec.patch, dtype=dtype, name=name)
    if spec.encoder == "utae":
        return UTAE(model.utae, model.ltae, remat=model.remat, norm=model.norm, **common)
    if spec.encoder == "patch_ltae":
        return PatchLTAE(model.patch_ltae, model.ltae, **common)
    if spec.encoder == "vit":
        return ViT(model.vit, model.fusion.attention, remat=model.remat, norm=model.norm, **common)
    if spec.encoder == "resnet":
        return ResNet(model.resnet, remat=model.remat, norm=model.norm, **common)
    return PatchCNN(model.patch_cnn, norm=model.norm, **common)


class OmniSat(nn.Module):
    """Any subset of modalities of a place -> tokens, aligned embeddings, predictions.

    Parameters exist only for what is called: pre-training makes encoders, fusion and projections; fine-tuning encoders, fusion
    and head, under the same names.

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

    def setup(self):
        names = self.names
        self.encoders = {spec.name: make_encoder(spec, self.settings, self.dtype) for spec in self.specs}
        self.fusion = Fusion(self.settings.fusion, names, self.dtype, self.settings.remat)
        self.projections = {name: Projection(self.settings.projection, self.dtype) for name in (*names, "fused")}
        self.temperature = Temperature(self.contrast.temperature, self.contrast.learned_temperature)
        if self.task == "segment":
            self.head = SegmentationHead(
                self.settings.head, self.num_classes, self.label_patch, names, self.dtype, self.settings.norm
            )
        else:
            self.head = ClassificationHead(self.settings.head, self.num_classes, self.dtype)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities, in order."""
        return tuple(spec.name for spec in self.specs)

    def encode(self, inputs, *, train: bool):
        """Each modality on its own.

        Args:
          inputs: `batch.normalise`d modalities.

        Returns:
          tokens (B,M,P,D), and {name: dense map or None}.

        Raises:
          ValueError: modalities that do not lie on one patch grid.
        """
        tokens, features = [], {}
        for spec in self.specs:
            entry = inputs[spec.name]
            encoder = self.encoders[spec.name]
            if spec.kind == "series":
                out, features[spec.name] = encoder(entry["values"], entry["dates"], entry["valid"], train=train)
            else:
                out, features[spec.name] = encoder(entry["values"], train=train)
            tokens.append(out)
        counts = {spec.name: out.shape[1] for spec, out in zip(self.specs, tokens)}
        if len(set(counts.values())) > 1:
            raise ValueError(f"modalities must cover the same patches, found tokens a tile: {counts}")
        return jnp.stack(tokens, 1), features

    def fuse(self, tokens, present, *, train: bool):
        """tokens (B,M,P,D), present (B,M) -> fused tokens (B,P,D)."""
        return self.fusion(tokens, present, train=train)

    def predict(self, tokens, features, present, *, train: bool):
        """Logits, (B,H,W,K) or (B,K) float32, from what `encode` returned and the modalities in present (B,M)."""
        fused = self.fuse(tokens, present, train=train)
        if self.task == "segment":
            return self.head(fused, features, present, train=train)
        return self.head(fused, train=train)

    def __call__(self, inputs, present, *, train: bool):
        """Logits of normalised inputs under present (B,M)."""
        tokens, features = self.encode(inputs, train=train)
        return self.predict(tokens, features, present, train=train)

    def embed(self, inputs, visible, *, train: bool):
        """Aligned embeddings of each view of a place.

        Args:
          inputs: normalised modalities.
          visible: (B,M) the subset that the fused view may use.

        Returns:
          (V,B,P,E) float32 of unit length, P = 1 where the granularity is the tile; views in the order of `names`, then the fused
          one if the settings ask for it; and the temperature, a scalar.
        """
        tokens, _ = self.encode(inputs, train=train)
        views = dict(zip(self.names, tokens.swapaxes(0, 1)))
        if self.contrast.fused:
            views["fused"] = self.fuse(tokens, visible, train=train)
        if self.contrast.granularity == "tile":
            views = {name: view.mean(1, keepdims=True) for name, view in views.items()}
        return jnp.stack([self.projections[name](view) for name, view in views.items()]), self.temperature()
