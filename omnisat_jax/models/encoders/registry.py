"""Constructors of the encoders, by the names that `config.registry.ENCODERS` lists. Register an encoder of your own here."""

from collections.abc import Callable

import flax.linen as nn
from jax.typing import DTypeLike

from omnisat_jax.config import schema
from omnisat_jax.config.registry import ENCODERS, KINDS, EncoderInfo
from omnisat_jax.config.rules import ConfigError, found
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models.encoders.image import PatchCNN, ResNet, ViT
from omnisat_jax.models.encoders.location import LocationEncoder
from omnisat_jax.models.encoders.patch_ltae import PatchLTAE
from omnisat_jax.models.encoders.temporal_first import TemporalFirst
from omnisat_jax.models.encoders.utae import UTAE

# (modality, configuration of the model, dtype of the computation) -> a module that is called as `Encoding` describes.
EncoderConstructor = Callable[[ModalitySpec, schema.ModelConfig, DTypeLike], nn.Module]


def _utae(spec: ModalitySpec, config: schema.ModelConfig, dtype: DTypeLike) -> nn.Module:
    return UTAE(config.utae, config.ltae, config.width, spec.patch, dtype, config.remat, config.norm)


def _patch_ltae(spec: ModalitySpec, config: schema.ModelConfig, dtype: DTypeLike) -> nn.Module:
    return PatchLTAE(config.patch_ltae, config.ltae, config.width, spec.patch, dtype)


def _temporal_first(spec: ModalitySpec, config: schema.ModelConfig, dtype: DTypeLike) -> nn.Module:
    return TemporalFirst(config.temporal_first, config.utae.border, config.width, spec.patch, dtype, config.remat)


def _vit(spec: ModalitySpec, config: schema.ModelConfig, dtype: DTypeLike) -> nn.Module:
    return ViT(config.vit, config.fusion.attention, config.width, spec.patch, dtype, config.remat, config.norm)


def _resnet(spec: ModalitySpec, config: schema.ModelConfig, dtype: DTypeLike) -> nn.Module:
    return ResNet(config.resnet, config.width, spec.patch, dtype, config.remat, config.norm)


def _patch_cnn(spec: ModalitySpec, config: schema.ModelConfig, dtype: DTypeLike) -> nn.Module:
    return PatchCNN(config.patch_cnn, config.width, spec.patch, dtype, config.norm)


def _location(spec: ModalitySpec, config: schema.ModelConfig, dtype: DTypeLike) -> nn.Module:
    del spec
    return LocationEncoder(config.location, config.width, dtype)


CONSTRUCTORS: dict[str, EncoderConstructor] = {
    "utae": _utae,
    "patch_ltae": _patch_ltae,
    "temporal_first": _temporal_first,
    "vit": _vit,
    "resnet": _resnet,
    "patch_cnn": _patch_cnn,
    "location": _location,
}


def register_encoder(name: str, *, kind: str, dense_map: bool = False) -> Callable[[EncoderConstructor], EncoderConstructor]:
    """Makes an encoder of your own available to configurations, as a decorator of its constructor.

        @register_encoder("conv_patch", kind="image")
        def conv_patch(spec, config, dtype):
            return ConvPatch(width=config.width, patch=spec.patch, dtype=dtype)

    The module that registers it must be imported before a configuration names it, for example by the configuration file.

    Args:
      name: 1 to 64 letters, digits and _ after a letter. Registering a name again replaces it, except for the built-in ones.
      kind: of the modalities it reads: "series", "image" or "location".
      dense_map: whether its `Encoding` has `features`.

    Raises:
      ConfigError: an impossible or built-in name, or an unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"the kind of encoder {name!r}: expected one of {', '.join(KINDS)}, found {found(kind)}.")

    def register(constructor: EncoderConstructor) -> EncoderConstructor:
        ENCODERS.register(name, EncoderInfo(kind, dense_map))
        CONSTRUCTORS[name] = constructor
        return constructor

    return register


def make_encoder(spec: ModalitySpec, config: schema.ModelConfig, dtype: DTypeLike) -> nn.Module:
    """The encoder that a modality names.

    Raises:
      ConfigError: no encoder of that name, or one of another kind of modality.
    """
    info = ENCODERS.find(spec.encoder)
    if info.kind != spec.kind:
        raise ConfigError(f"modalities.{spec.name}.encoder: expected one that reads a {spec.kind}, found {spec.encoder!r}.")
    return CONSTRUCTORS[spec.encoder](spec, config, dtype)
