"""Typed configuration: `parse` turns a ConfigDict into frozen, checked dataclasses, which the package uses throughout.

Every key is annotated with its allowed values. The dataclasses have no defaults; configs/base.py has the default and a comment for every key.
"""

import dataclasses
import os
from typing import Annotated, Any

from omnisat_jax.config.building import build
from omnisat_jax.config.constraints import check
from omnisat_jax.config.model_schema import (
    DecoderConfig as DecoderConfig,
    FusionConfig as FusionConfig,
    HeadConfig as HeadConfig,
    LocationConfig as LocationConfig,
    LTAEConfig as LTAEConfig,
    ModelConfig as ModelConfig,
    PatchCNNConfig as PatchCNNConfig,
    PatchLTAEConfig as PatchLTAEConfig,
    Probability,
    ProjectionConfig as ProjectionConfig,
    PublishedConfig as PublishedConfig,
    ResNetConfig as ResNetConfig,
    SkySenseConfig as SkySenseConfig,
    TemporalFirstConfig as TemporalFirstConfig,
    UTAEConfig as UTAEConfig,
    ViTConfig as ViTConfig,
)
from omnisat_jax.config.registry import TASKS
from omnisat_jax.config.rules import (
    NAME,
    Choice,
    ConfigError,
    Day,
    Length,
    Range,
    Text,
    found,
    is_group,
)
from omnisat_jax.config.versions import upgrade
from omnisat_jax.errors import printable
from omnisat_jax.modalities import MODALITY_NAME, ModalitySpec

# The upper ends, far above the largest published models, catch typos that would exhaust the memory.
Path = Annotated[str, Text()]
Seed = Annotated[int, Range(0, 2**32 - 1)]  # what JAX, NumPy and Grain all take
Fold = Annotated[int, Range(1, 1000, "counted from 1")]
Share = Annotated[float, Range(0, 1, "share", excluding=(0,))]
Weight = Annotated[float, Range(0, 1000, "weight")]
Steps = Annotated[int, Range(0, 100_000_000, "steps")]
Interval = Annotated[int, Range(1, 100_000_000, "steps")]
BatchSize = Annotated[int, Range(1, 65_536, "tiles")]
Devices = Annotated[int, Range(-1, 1_048_576, "devices", excluding=(0,))]
DEEPEST = 2  # largest number of groups that contain a key


PROTOCOLS = ("auto", "official_5fold", "single_split", "tile_f1", "leave_one_fold_out", "fixed")  # see `records.splits`


@dataclasses.dataclass(frozen=True)
class SimulatedConfig:
    """A simulated dataset, which replaces the real one if `raw_dir` is empty."""

    tiles: Annotated[int, Range(0, 100_000, "tiles")]
    tile_size: Annotated[int, Range(1, 1024, "pixels")]
    seed: Seed


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Where the tiles come from, how they are split, and how they are read."""

    dataset: Annotated[str, Choice(("pastis", "treesat", "flair", "tiles"))]
    raw_dir: Path
    prepared_dir: Path
    cache_dir: Path
    mirror_dir: Path
    mirror_gb: Annotated[float, Range(0, 1_000_000, "GB")]
    nomenclature: Annotated[str, Choice(("", "12", "13", "19"))]
    on_bad: Annotated[str, Choice(("raise", "skip", "mask"))]
    max_bad: Annotated[float, Range(0, 1, "share")]
    unlabelled: Annotated[str, Choice(("refuse", "pretrain"))]
    pretrain_dirs: Path
    pretrain_weights: Annotated[tuple[Annotated[float, Range(0, 1_000_000, "weight", excluding=(0,))], ...], Length(0, 101)]
    float16: bool
    statistics: Annotated[str, Choice(("all", "clear"))]
    label_share: Share
    protocol: Annotated[str, Choice(PROTOCOLS)]
    fold: Fold
    origin: Annotated[str, Day(("season", "year"))]
    crop: Annotated[int, Range(0, 65_536, "label pixels")]
    augment: Annotated[str, Choice(("d4", "none"))]
    void_test_parcels: bool
    threads: Annotated[int, Range(1, 256, "threads")]
    buffer: Annotated[int, Range(1, 64, "batches")]  # a single batch can be as large as a gigabyte
    simulated: SimulatedConfig

    @property
    def mirrors(self) -> str:
        """The folder of copies of records that lie in buckets."""
        return self.mirror_dir or os.path.join(self.cache_dir, "mirrors")

    @property
    def pretrain_folders(self) -> tuple[str, ...]:
        """The folders that `pretrain_dirs` names."""
        return tuple(folder.strip() for folder in self.pretrain_dirs.split(",")) if self.pretrain_dirs else ()


@dataclasses.dataclass(frozen=True)
class StageConfig:
    """One stage of training: pre-training or fine-tuning."""

    steps: Steps
    batch_size: BatchSize
    num_microbatches: BatchSize
    learning_rate: Annotated[float, Range(0, 10, excluding=(0,))]
    warmup: Annotated[float, Range(0, 1, "share of the steps")]
    weight_decay: Annotated[float, Range(0, 10)]
    clip: Annotated[float, Range(0.001, 1_000_000, "gradient norm")]
    ema_decay: Probability
    modality_dropout: Probability
    log_every: Interval
    eval_every: Steps
    save_every: Interval
    keep: Annotated[int, Range(1, 1000, "checkpoints")]


@dataclasses.dataclass(frozen=True)
class FinetuneConfig(StageConfig):
    """Fine-tuning, which may start from pre-trained parameters."""

    encoder_rate: Annotated[float, Range(0, 1, "factor")]


@dataclasses.dataclass(frozen=True)
class ContrastiveConfig:
    """Contrastive loss between modalities: InfoNCE (van den Oord et al., 2018, arXiv:1807.03748)."""

    weight: Weight
    granularities: Annotated[tuple[Annotated[str, Choice(("pixel", "patch", "tile"))], ...], Length(1, 3, distinct=True)]
    pixels: Annotated[int, Range(1, 65_536, "pixels per tile")]
    views: Annotated[tuple[Annotated[str, MODALITY_NAME], ...], Length(0, 10, distinct=True)]
    group_size: Annotated[int, Range(0, 99_999, "tiles", excluding=(1,))]
    implementation: Annotated[str, Choice(("ring", "dense"))]
    positives: Annotated[str, Choice(("mean", "sum"))]
    temperature: Annotated[float, Range(0.001, 100)]
    learned_temperature: bool
    fused: bool
    batch_norm: bool
    roll: bool
    jitter: Annotated[float, Range(0, 2, "standard deviations")]
    jitter_days: Annotated[float, Range(0, 366, "days")]


@dataclasses.dataclass(frozen=True)
class ReconstructionConfig:
    """Masked reconstruction of the inputs."""

    weight: Weight
    mask_ratio: Annotated[float, Range(0, 1, "share of the tokens", excluding=(1,))]
    date_share: Share


@dataclasses.dataclass(frozen=True)
class SegmentationConfig:
    """Loss of fine-tuning on dense labels: cross-entropy and Dice (Milletari et al., 2016, arXiv:1606.04797)."""

    dice_weight: Weight
    label_smoothing: Probability
    unimodal_weight: Weight


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Mesh of devices over which batches and parameters are sharded."""

    replica: Devices
    data: Devices
    fsdp: Annotated[int, Range(1, 1_048_576, "devices")]
    fsdp_min_size: Annotated[int, Range(0, 2**40, "elements")]


@dataclasses.dataclass(frozen=True)
class EvalConfig:
    """Evaluation, probes, and monitoring of pre-training."""

    batch_size: BatchSize
    panels: Annotated[int, Range(0, 1000, "tiles")]
    threshold: Annotated[float, Range(0, 1, "probability", excluding=(0, 1))]
    calibrate: bool
    probe: Annotated[str, Choice(("none", "linear", "knn"))]
    probe_tokens: Annotated[int, Range(1, 10_000_000, "tokens")]
    probe_neighbours: Annotated[int, Range(1, 10_000, "tokens")]
    monitor_tiles: Annotated[int, Range(0, 100_000, "tiles")]


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """A whole experiment."""

    name: Annotated[str, NAME]
    seed: Seed
    task: Annotated[str, Choice(TASKS)]
    data: DataConfig
    modalities: Annotated[tuple[ModalitySpec, ...], Length(1, 10)]  # of n modalities, all 2^n - 1 subsets are scored
    model: ModelConfig
    pretrain_from: Path
    pretrain: StageConfig
    finetune: FinetuneConfig
    contrastive: ContrastiveConfig
    reconstruction: ReconstructionConfig
    segmentation: SegmentationConfig
    nonfinite_budget: Annotated[int, Range(0, 1_000_000, "steps")]
    mesh: MeshConfig
    eval: EvalConfig

    @property
    def label_share(self) -> float:
        """Share of the labeled training tiles that labels are learned from: `data.label_share`, but all of them by a probe."""
        return self.data.label_share if self.eval.probe == "none" else 1.0


def parse(config: Any) -> ExperimentConfig:
    """Builds the typed configuration from a ConfigDict or nested dicts.

    Raises:
      ConfigError: a key is unknown or missing, a value is not allowed, or values do not fit together. The message names the full key.
    """
    experiment = build(ExperimentConfig, config)
    check(experiment)
    return experiment


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Returns {dotted key: plain value} of a configuration dataclass, the form in which configurations are stored and compared.

    Args:
      config: an `ExperimentConfig` or one of its groups.
      prefix: precedes all keys, for example "model.utae.".
    """
    flat = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        key = prefix + field.name
        if dataclasses.is_dataclass(value):
            flat.update(flatten(value, key + "."))
        elif value and isinstance(value, tuple) and dataclasses.is_dataclass(value[0]):
            for item in value:
                flat.update(flatten(item, f"{key}.{item.name}."))
        else:
            flat[key] = list(value) if isinstance(value, tuple) else value
    return flat


def unflatten(flat: Any) -> ExperimentConfig:
    """Inverts `flatten`, also for configurations of earlier versions.

    Args:
      flat: {dotted key: plain value}, from a file that is not trusted.

    Raises:
      ConfigError: see `parse`; or `flat` is not a flat configuration.
    """
    if not is_group(flat):
        raise ConfigError(f"the configuration: expected keys and values, found {found(flat)}.")
    nested: dict = {}
    for key, value in upgrade(flat).items():
        if not isinstance(key, str):
            raise ConfigError(f"the configuration: expected keys that are strings, found {found(key)}.")
        if is_group(value):
            raise ConfigError(f"{printable(key)}: expected a value, found a group of keys.")
        *path, last = key.split(".")
        if len(path) > DEEPEST:
            raise ConfigError(f"unknown configuration key {printable(key)!r}: no key has more than {DEEPEST + 1} parts.")
        group = nested
        for name in path:
            group = group.setdefault(name, {}) if is_group(group) else group
        if not is_group(group) or last in group:
            raise ConfigError(f"{printable(key)}: expected a value or a group of keys, found both.")
        if path[:1] == ["modalities"] and last == "name" and len(path) == 2:
            if value != path[1]:
                raise ConfigError(f"{printable(key)}: expected {found(path[1])}, found {found(value)}.")
        else:
            group[last] = value
    return parse(nested)
