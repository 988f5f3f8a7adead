"""The door: a ConfigDict becomes frozen, typed, checked dataclasses here; inside the package no ConfigDict exists.

Every key is annotated with what it may be. No dataclass has defaults: those live in configs/base.py, once.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Annotated

from omnisat_jax.config.constraints import check
from omnisat_jax.config.registry import MODELS, TASKS
from omnisat_jax.config.rules import (
    NAME,
    Choice,
    ConfigError,
    Day,
    Length,
    Range,
    Text,
    build,
    found,
    is_group,
)
from omnisat_jax.errors import printable
from omnisat_jax.modalities import MODALITY_NAME, ModalitySpec

# Upper ends keep a slip of the keyboard from asking for more memory than there is; the largest published models lie far below them.
Path = Annotated[str, Text()]
Seed = Annotated[int, Range(0, 2**32 - 1)]  # what JAX, NumPy and Grain all take
Fold = Annotated[int, Range(1, 1000, "counted from 1")]
Share = Annotated[float, Range(0, 1, "share", but=(0,))]
Probability = Annotated[float, Range(0, 1, "probability", but=(1,))]  # of being dropped: at 1 nothing would be left
Weight = Annotated[float, Range(0, 1000, "weight")]
Width = Annotated[int, Range(1, 4096, "channels")]
Widths = Annotated[tuple[Width, ...], Length(2, 8)]  # each level halves the map: the eighth sees 128 px as one
Heads = Annotated[int, Range(1, 256, "heads")]
Depth = Annotated[int, Range(1, 64, "blocks")]
Steps = Annotated[int, Range(0, 100_000_000, "steps")]
Interval = Annotated[int, Range(1, 100_000_000, "steps")]
BatchSize = Annotated[int, Range(1, 65_536, "tiles")]
Devices = Annotated[int, Range(-1, 1_048_576, "devices", but=(0,))]
DEEPEST = 2  # groups above a key


@dataclasses.dataclass(frozen=True)
class SimulatedConfig:
    tiles: Annotated[int, Range(0, 100_000, "tiles")]
    tile_size: Annotated[int, Range(1, 1024, "pixels")]
    seed: Seed


@dataclasses.dataclass(frozen=True)
class DataConfig:
    dataset: Annotated[str, Choice(("pastis", "treesat", "flair", "tiles"))]
    raw_dir: Path
    prepared_dir: Path
    cache_dir: Path
    nomenclature: Annotated[str, Choice(("", "12", "13", "19"))]
    on_bad: Annotated[str, Choice(("raise", "skip", "mask"))]
    max_bad: Annotated[float, Range(0, 1, "share")]
    float16: bool
    statistics: Annotated[str, Choice(("all", "clear"))]
    label_share: Share
    protocol: Annotated[str, Choice(("auto", "official_5fold", "single_split", "tile_f1", "leave_one_fold_out", "fixed"))]
    fold: Fold
    origin: Annotated[str, Day(("season", "year"))]
    crop: Annotated[int, Range(0, 65_536, "label pixels")]
    augment: Annotated[str, Choice(("d4", "none"))]
    void_test_parcels: bool
    threads: Annotated[int, Range(1, 256, "threads")]
    buffer: Annotated[int, Range(1, 64, "batches")]  # of which one can have a gigabyte
    simulated: SimulatedConfig


@dataclasses.dataclass(frozen=True)
class UTAEConfig:
    encoder_widths: Widths
    decoder_widths: Widths
    border: Annotated[str, Choice(("reflect", "zeros"))]


@dataclasses.dataclass(frozen=True)
class LTAEConfig:
    heads: Heads
    key_dim: Annotated[int, Range(1, 1024, "channels a head")]
    width: Width
    period: Annotated[float, Range(1, 1_000_000, "days")]
    dropout: Probability
    attention_dropout: Probability


@dataclasses.dataclass(frozen=True)
class PatchLTAEConfig:
    input_widths: Annotated[tuple[Width, ...], Length(0, 8)]
    output_widths: Annotated[tuple[Width, ...], Length(0, 8)]


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    depth: Depth
    heads: Heads
    stem: Annotated[str, Choice(("linear", "conv"))]
    dropout: Probability


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    widths: Widths
    blocks: Depth


@dataclasses.dataclass(frozen=True)
class PatchCNNConfig:
    blocks: Depth


@dataclasses.dataclass(frozen=True)
class LocationConfig:
    degrees: Annotated[int, Range(1, 40, "degrees")]
    layers: Annotated[int, Range(1, 16, "layers")]
    hidden: Width
    frequency: Annotated[float, Range(0, 1000, "radians", but=(0,))]


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    hidden: Width


@dataclasses.dataclass(frozen=True)
class PublishedConfig:
    grid_positions: bool
    keep_position: bool
    mask_padding: bool
    train_tile: bool


@dataclasses.dataclass(frozen=True)
class SkySenseConfig:
    frame_width: Width
    depth: Depth


@dataclasses.dataclass(frozen=True)
class ProjectionConfig:
    hidden: Width
    width: Width


@dataclasses.dataclass(frozen=True)
class FusionConfig:
    depth: Depth
    heads: Heads
    mlp_ratio: Annotated[int, Range(1, 16, "times the width")]
    dropout: Probability
    attention: Annotated[str, Choice(("xla", "cudnn"))]


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    width: Width
    dropout: Probability


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    architecture: Annotated[str, Choice(MODELS)]
    width: Annotated[int, Range(8, 4096, "channels")]
    precision: Annotated[str, Choice(("auto", "float32", "bfloat16"))]
    norm: Annotated[str, Choice(("image", "pixel"))]
    remat: bool
    utae: UTAEConfig
    ltae: LTAEConfig
    patch_ltae: PatchLTAEConfig
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


@dataclasses.dataclass(frozen=True)
class StageConfig:
    steps: Steps
    batch_size: BatchSize
    num_microbatches: BatchSize
    learning_rate: Annotated[float, Range(0, 10, but=(0,))]
    warmup: Annotated[float, Range(0, 1, "share of the steps")]
    weight_decay: Annotated[float, Range(0, 10)]
    clip: Annotated[float, Range(0.001, 1_000_000, "gradient norm")]
    modality_dropout: Probability
    log_every: Interval
    eval_every: Steps
    save_every: Interval
    keep: Annotated[int, Range(1, 1000, "checkpoints")]


@dataclasses.dataclass(frozen=True)
class ContrastiveConfig:
    weight: Weight
    granularities: Annotated[tuple[Annotated[str, Choice(("pixel", "patch", "tile"))], ...], Length(1, 3, distinct=True)]
    pixels: Annotated[int, Range(1, 65_536, "pixels per tile")]
    views: Annotated[tuple[Annotated[str, MODALITY_NAME], ...], Length(0, 10, distinct=True)]
    group_size: Annotated[int, Range(0, 99_999, "tiles", but=(1,))]
    implementation: Annotated[str, Choice(("ring", "dense"))]
    temperature: Annotated[float, Range(0.001, 100)]
    learned_temperature: bool
    fused: bool
    roll: bool
    jitter: Annotated[float, Range(0, 2, "standard deviations")]
    jitter_days: Annotated[float, Range(0, 366, "days")]


@dataclasses.dataclass(frozen=True)
class ReconstructionConfig:
    weight: Weight
    mask_ratio: Annotated[float, Range(0, 1, "share of the tokens", but=(1,))]
    date_share: Share


@dataclasses.dataclass(frozen=True)
class SegmentationConfig:
    dice_weight: Weight


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    replica: Devices
    data: Devices
    fsdp: Annotated[int, Range(1, 1_048_576, "devices")]
    fsdp_min_size: Annotated[int, Range(0, 2**40, "elements")]


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    batch_size: BatchSize
    panels: Annotated[int, Range(0, 1000, "tiles")]
    threshold: Annotated[float, Range(0, 1, "probability", but=(0, 1))]
    probe: Annotated[str, Choice(("none", "linear", "knn"))]
    probe_tokens: Annotated[int, Range(1, 10_000_000, "tokens")]
    probe_neighbours: Annotated[int, Range(1, 10_000, "tokens")]
    monitor_tiles: Annotated[int, Range(0, 100_000, "tiles")]


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    name: Annotated[str, NAME]
    seed: Seed
    task: Annotated[str, Choice(TASKS)]
    data: DataConfig
    modalities: Annotated[tuple[ModalitySpec, ...], Length(1, 10)]  # of n every one of 2^n - 1 subsets is scored
    model: ModelConfig
    pretrain_from: Path
    pretrain: StageConfig
    finetune: StageConfig
    contrastive: ContrastiveConfig
    reconstruction: ReconstructionConfig
    segmentation: SegmentationConfig
    nonfinite_budget: Annotated[int, Range(0, 1_000_000, "steps")]
    mesh: MeshConfig
    eval: EvalConfig


def parse(config) -> ExperimentConfig:
    """Typed, checked settings from a ConfigDict.

    Raises:
      ConfigError: an unknown, missing, wrongly typed or impossible value, with its full key.
    """
    experiment = build(ExperimentConfig, config)
    check(experiment)
    return experiment


def flatten(settings, prefix="") -> dict[str, object]:
    """{dotted key: plain value} of settings, the form in which two configurations are compared."""
    flat = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        key = prefix + field.name
        if dataclasses.is_dataclass(value):
            flat.update(flatten(value, key + "."))
        elif value and isinstance(value, tuple) and dataclasses.is_dataclass(value[0]):
            for item in value:
                flat.update(flatten(item, f"{key}.{item.name}."))
        else:
            flat[key] = list(value) if isinstance(value, tuple) else value
    return flat


# Keys that are younger than some model folders and runs, each with the value that the program behaved by before it had them;
# "modalities.*.key" stands for every modality.
ADDED: dict[str, object] = {}
# Keys that were called otherwise once, each with its present name, and groups of them.
RENAMED = {
    "model.assembly": "model.architecture",
    "pretrain.parts": "pretrain.num_microbatches",
    "finetune.parts": "finetune.num_microbatches",
    "contrast.granularity": "contrastive.granularities",
    "contrast.scope": "contrastive.group_size",
}
RENAMED_GROUPS = {"contrast": "contrastive"}
# Keys whose values were written otherwise once: from the old spelling to the present one.
RESPELLED = {
    "contrast.granularity": lambda text: text.split("+") if isinstance(text, str) else text,
    "contrast.scope": lambda text: _group_size(text),
}


def _group_size(text):
    """Tiles that "global" or "group:K" contrasted together; anything else as it is, to be refused with its key."""
    match = re.fullmatch("global|group:([0-9]{1,5})", text) if isinstance(text, str) else None
    return int(match[1] or 0) if match else text


def upgrade(flat: Mapping[str, object]) -> dict[str, object]:
    """A flat configuration of any version, with today's keys and spellings."""
    renamed = {}
    for key, value in flat.items():
        new = key
        if isinstance(key, str):
            group, dot, rest = key.partition(".")
            new = RENAMED.get(key, f"{RENAMED_GROUPS.get(group, group)}{dot}{rest}")
        renamed[new] = RESPELLED[key](value) if key in RESPELLED else value
    names = dict.fromkeys(key.split(".")[1] for key in renamed if isinstance(key, str) and key.startswith("modalities."))
    added = {
        key.replace("*", name): value
        for key, value in ADDED.items()
        for name in (names if key.startswith("modalities.*.") else [""])
    }
    return {**renamed, **{key: value for key, value in added.items() if key not in renamed}}


def unflatten(flat) -> ExperimentConfig:
    """The settings that `flatten` made `flat` from, or that an earlier version did; whatever a stranger's file says instead is refused.

    Raises:
      ConfigError: see `parse`; or no flat configuration.
    """
    if not is_group(flat):
        raise ConfigError(f"the configuration: expected keys and values, found {found(flat)}.")
    nested: dict = {}
    for key, value in upgrade(flat).items():
        if not isinstance(key, str):
            raise ConfigError(f"the configuration: expected keys of text, found {found(key)}.")
        if is_group(value):
            raise ConfigError(f"{printable(key)}: expected a value, found a group of keys.")
        *path, last = key.split(".")
        if len(path) > DEEPEST:
            raise ConfigError(f"unknown configuration key {printable(key)!r}: no key has more than {DEEPEST + 1} parts.")
        room = nested
        for part in path:
            room = room.setdefault(part, {}) if is_group(room) else room
        if not is_group(room) or last in room:
            raise ConfigError(f"{printable(key)}: expected a value or a group of keys, found both.")
        if path[:1] == ["modalities"] and last == "name" and len(path) == 2:
            if value != path[1]:
                raise ConfigError(f"{printable(key)}: expected {found(path[1])}, found {found(value)}.")
        else:
            room[last] = value
    return parse(nested)
