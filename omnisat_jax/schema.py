"""The door: a ConfigDict becomes frozen, typed, checked dataclasses here; inside the package no ConfigDict exists.

No dataclass has defaults: those live in configs/base.py, once.
"""

import dataclasses
import types
import typing

from omnisat_jax.checks import ConfigError, check, nearest
from omnisat_jax.modalities import ModalitySpec


@dataclasses.dataclass(frozen=True)
class Simulated:
    tiles: int
    tile_size: int
    seed: int


@dataclasses.dataclass(frozen=True)
class Data:
    dataset: str
    raw_dir: str
    prepared_dir: str
    cache_dir: str
    nomenclature: str
    on_bad: str
    max_bad: float
    float16: bool
    statistics: str
    label_share: float
    protocol: str
    fold: int
    origin: str
    crop: int
    augment: str
    void_test_parcels: bool
    threads: int
    buffer: int
    simulated: Simulated


@dataclasses.dataclass(frozen=True)
class UTAE:
    encoder_widths: tuple[int, ...]
    decoder_widths: tuple[int, ...]
    border: str


@dataclasses.dataclass(frozen=True)
class LTAE:
    heads: int
    key_dim: int
    width: int
    period: float
    dropout: float
    attention_dropout: float


@dataclasses.dataclass(frozen=True)
class PatchLTAE:
    input_widths: tuple[int, ...]
    output_widths: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class ViT:
    depth: int
    heads: int
    stem: str
    dropout: float


@dataclasses.dataclass(frozen=True)
class ResNet:
    widths: tuple[int, ...]
    blocks: int


@dataclasses.dataclass(frozen=True)
class PatchCNN:
    blocks: int


@dataclasses.dataclass(frozen=True)
class Location:
    degrees: int
    layers: int
    hidden: int
    frequency: float


@dataclasses.dataclass(frozen=True)
class Decoder:
    hidden: int


@dataclasses.dataclass(frozen=True)
class Published:
    grid_positions: bool
    keep_position: bool
    mask_padding: bool
    train_tile: bool


@dataclasses.dataclass(frozen=True)
class SkySense:
    frame_width: int
    depth: int


@dataclasses.dataclass(frozen=True)
class Projection:
    hidden: int
    width: int


@dataclasses.dataclass(frozen=True)
class Fusion:
    depth: int
    heads: int
    mlp_ratio: int
    dropout: float
    attention: str


@dataclasses.dataclass(frozen=True)
class Head:
    width: int
    dropout: float


@dataclasses.dataclass(frozen=True)
class Model:
    assembly: str
    width: int
    precision: str
    norm: str
    remat: bool
    utae: UTAE
    ltae: LTAE
    patch_ltae: PatchLTAE
    vit: ViT
    resnet: ResNet
    patch_cnn: PatchCNN
    location: Location
    decoder: Decoder
    published: Published
    skysense: SkySense
    projection: Projection
    fusion: Fusion
    head: Head


@dataclasses.dataclass(frozen=True)
class Stage:
    steps: int
    batch_size: int
    parts: int
    learning_rate: float
    warmup: float
    weight_decay: float
    clip: float
    modality_dropout: float
    log_every: int
    eval_every: int
    save_every: int
    keep: int


@dataclasses.dataclass(frozen=True)
class Contrast:
    weight: float
    granularity: str
    pixels: int
    views: tuple[str, ...]
    scope: str
    implementation: str
    temperature: float
    learned_temperature: bool
    fused: bool
    roll: bool
    jitter: float
    jitter_days: float

    @property
    def granularities(self) -> tuple[str, ...]:
        """What rows of the loss are, each a loss of its own."""
        return tuple(self.granularity.split("+"))

    @property
    def group(self) -> int:
        """Tiles that are contrasted together; 0 = the whole batch."""
        return int(self.scope.split(":")[1]) if self.scope.startswith("group:") else 0


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    weight: float
    mask_ratio: float
    date_share: float


@dataclasses.dataclass(frozen=True)
class Segmentation:
    dice_weight: float


@dataclasses.dataclass(frozen=True)
class Mesh:
    replica: int
    data: int
    fsdp: int
    fsdp_min_size: int


@dataclasses.dataclass(frozen=True)
class Eval:
    batch_size: int
    panels: int
    threshold: float
    probe: str
    probe_tokens: int
    probe_neighbours: int
    monitor_tiles: int


@dataclasses.dataclass(frozen=True)
class Experiment:
    name: str
    seed: int
    task: str
    data: Data
    modalities: tuple[ModalitySpec, ...]
    model: Model
    pretrain_from: str
    pretrain: Stage
    finetune: Stage
    contrast: Contrast
    reconstruction: Reconstruction
    segmentation: Segmentation
    nonfinite_budget: int
    mesh: Mesh
    eval: Eval


def parse(config) -> Experiment:
    """Typed, checked settings from a ConfigDict.

    Raises:
      ConfigError: an unknown, missing, wrongly typed or impossible value, with its full key.
    """
    experiment = _build(Experiment, config, "")
    check(experiment)
    return experiment


def _build(cls, values, prefix):
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            raise ConfigError(f"unknown configuration key {prefix + key!r}.{nearest(key, list(hints))}")
    missing = [prefix + key for key in hints if key not in values]
    if missing:
        raise ConfigError(f"missing configuration keys: {', '.join(missing)}; configs/base.py has them all")
    return cls(**{key: _value(kind, values[key], prefix + key) for key, kind in hints.items()})


def _value(kind, value, key):
    if key == "modalities":
        specs = []
        for name, entry in value.items():
            fields = set(typing.get_type_hints(ModalitySpec)) - {"name"}
            unknown = [field for field in entry if field not in fields]
            if unknown:
                raise ConfigError(f"unknown configuration key 'modalities.{name}.{unknown[0]}'.{nearest(unknown[0], fields)}")
            try:
                specs.append(ModalitySpec(name=name, **entry))
            except (TypeError, ValueError) as error:
                raise ConfigError(f"modalities.{name}: {error}") from error
        return tuple(specs)
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, key + ".")
    if isinstance(kind, types.GenericAlias):
        inner = typing.get_args(kind)[0]
        if not isinstance(value, (tuple, list)) or not all(type(v) is inner for v in value):
            raise ConfigError(f"{key} must be a tuple of {inner.__name__}, found {value!r}")
        return tuple(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{key} must be {kind.__name__}, found {value!r} ({type(value).__name__})")
    return value


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


def unflatten(flat) -> Experiment:
    """The settings that `flatten` made `flat` from.

    Raises:
      ConfigError: see `parse`.
    """
    nested = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        room = nested
        for part in path:
            room = room.setdefault(part, {})
        if path[:1] != ["modalities"] or last != "name":
            room[last] = value
    return parse(nested)
