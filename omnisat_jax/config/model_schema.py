"""The part of the typed configuration that describes the model; see `config.schema`, through which the rest of the package reads it."""

import dataclasses
from typing import Annotated

from omnisat_jax.config.registry import MODELS
from omnisat_jax.config.rules import Choice, Length, Range

# The upper ends, far above the largest published models, catch typos that would exhaust the memory.
Probability = Annotated[float, Range(0, 1, "probability", excluding=(1,))]  # of being dropped; at 1 nothing would remain
Width = Annotated[int, Range(1, 4096, "channels")]
Widths = Annotated[tuple[Width, ...], Length(2, 8)]  # each level halves the resolution: one pixel of the eighth level covers 128 px
Heads = Annotated[int, Range(1, 256, "heads")]
Depth = Annotated[int, Range(1, 64, "blocks")]


@dataclasses.dataclass(frozen=True)
class UTAEConfig:
    """U-TAE: a U-Net with temporal attention (Garnot & Landrieu, 2021, arXiv:2107.07933)."""

    encoder_widths: Widths
    decoder_widths: Widths
    border: Annotated[str, Choice(("reflect", "zeros"))]


@dataclasses.dataclass(frozen=True)
class LTAEConfig:
    """Lightweight temporal attention encoder (Garnot & Landrieu, 2020, arXiv:2007.00586), used by the series encoders."""

    heads: Heads
    key_dim: Annotated[int, Range(1, 1024, "channels per head")]
    width: Width
    period: Annotated[float, Range(1, 1_000_000, "days")]
    dropout: Probability
    attention_dropout: Probability


@dataclasses.dataclass(frozen=True)
class PatchLTAEConfig:
    """Series encoder of OmniSat: an MLP per patch, then temporal attention (Astruc et al., 2024, arXiv:2404.08351)."""

    input_widths: Annotated[tuple[Width, ...], Length(0, 8)]
    output_widths: Annotated[tuple[Width, ...], Length(0, 8)]


@dataclasses.dataclass(frozen=True)
class TemporalFirstConfig:
    """Series encoder that looks over time first, at every pixel, and then over space (after Tarasiou et al., 2023, arXiv:2301.04944)."""

    times: Annotated[int, Range(1, 512, "reference times")]
    days: Annotated[float, Range(0, 36_600, "days", excluding=(0,))]
    date_width: Width
    width: Width
    blocks: Annotated[int, Range(0, 64, "blocks")]
    dropout: Probability


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """Image encoder: a vision transformer (Dosovitskiy et al., 2021, arXiv:2010.11929)."""

    depth: Depth
    heads: Heads
    stem: Annotated[str, Choice(("linear", "conv"))]
    dropout: Probability


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """Image encoder: a residual network (He et al., 2016, arXiv:1512.03385)."""

    widths: Widths
    blocks: Depth
    texture_radius: Annotated[int, Range(0, 15, "pixels")]


@dataclasses.dataclass(frozen=True)
class PatchCNNConfig:
    """Image encoder: a convolutional network per patch."""

    blocks: Depth


@dataclasses.dataclass(frozen=True)
class LocationConfig:
    """Location encoder: spherical harmonics and a sinusoidal network (Rußwurm et al., 2024, arXiv:2310.06743)."""

    degrees: Annotated[int, Range(1, 40, "degrees")]
    layers: Annotated[int, Range(1, 16, "layers")]
    hidden: Width
    frequency: Annotated[float, Range(0, 1000, "radians", excluding=(0,))]


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Decoders of masked reconstruction."""

    hidden: Width


@dataclasses.dataclass(frozen=True)
class PublishedConfig:
    """Known defects of the published OmniSat code, each repaired (True) or reproduced (False)."""

    grid_positions: bool
    keep_position: bool
    mask_padding: bool
    train_tile: bool


@dataclasses.dataclass(frozen=True)
class SkySenseConfig:
    """Baseline after SkySense (Guo et al., 2024, arXiv:2312.10115)."""

    frame_width: Width
    depth: Depth


@dataclasses.dataclass(frozen=True)
class ProjectionConfig:
    """Projection heads into the space of the contrastive loss."""

    hidden: Width
    width: Width


@dataclasses.dataclass(frozen=True)
class FusionConfig:
    """Fusion transformer over the tokens of all modalities."""

    depth: Depth
    heads: Heads
    mlp_ratio: Annotated[int, Range(1, 16, "times the width")]
    dropout: Probability
    attention: Annotated[str, Choice(("auto", "xla", "cudnn"))]


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    """Head for segmentation or classification."""

    width: Width
    unimodal: Annotated[str, Choice(("none", "mean", "sum"))]
    dropout: Probability


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model: its architecture, and the sizes of all components."""

    architecture: Annotated[str, Choice(MODELS)]
    width: Annotated[int, Range(8, 4096, "channels")]
    precision: Annotated[str, Choice(("auto", "float32", "bfloat16"))]
    norm: Annotated[str, Choice(("image", "pixel"))]
    remat: bool
    utae: UTAEConfig
    ltae: LTAEConfig
    patch_ltae: PatchLTAEConfig
    temporal_first: TemporalFirstConfig
    vit: ViTConfig
    resnet: ResNetConfig
    patch_cnn: PatchCNNConfig
    location: LocationConfig
    decoder: DecoderConfig
    published: PublishedConfig
    skysense: SkySenseConfig
    projection: ProjectionConfig
    fusion: FusionConfig
    head: HeadConfig
