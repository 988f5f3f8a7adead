"""The door: a ConfigDict becomes frozen, typed, checked dataclasses here; inside the package no ConfigDict exists.

No dataclass has defaults: those live in configs/base.py, once.
"""

import dataclasses
import difflib
import types
import typing

from omnisat_jax.modalities import ModalitySpec


class ConfigError(ValueError):
    """A configuration that cannot be run; the message names the key, what was expected and what was found."""


@dataclasses.dataclass(frozen=True)
class Simulated:
    tiles: int
    tile_size: int
    seed: int


@dataclasses.dataclass(frozen=True)
class Data:
    dataset: str
    raw_dir: str
    cache_dir: str
    protocol: str
    fold: int
    origin: str
    crop: int
    augment: str
    void_test_parcels: bool
    threads: int
    buffer: int
    simulated: Simulated

    @property
    def is_simulated(self) -> bool:
        return not self.raw_dir


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
    projection: Projection
    fusion: Fusion
    head: Head


@dataclasses.dataclass(frozen=True)
class Stage:
    steps: int
    batch_size: int
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
    granularity: str
    scope: str
    temperature: float
    learned_temperature: bool
    fused: bool

    @property
    def group(self) -> int:
        """Tiles that are contrasted together; 0 = the whole batch."""
        return int(self.scope.split(":")[1]) if self.scope.startswith("group:") else 0


@dataclasses.dataclass(frozen=True)
class Segmentation:
    dice_weight: float


@dataclasses.dataclass(frozen=True)
class Mesh:
    data: int
    fsdp: int
    fsdp_min_size: int


@dataclasses.dataclass(frozen=True)
class Eval:
    batch_size: int
    panels: int
    threshold: float


@dataclasses.dataclass(frozen=True)
class Experiment:
    name: str
    seed: int
    task: str
    data: Data
    modalities: tuple[ModalitySpec, ...]
    model: Model
    pretrain: Stage
    finetune: Stage
    contrast: Contrast
    segmentation: Segmentation
    nonfinite_budget: int
    mesh: Mesh
    eval: Eval


CHOICES = {
    "task": ("segment", "classify"),
    "data.protocol": ("auto", "official_5fold", "single_split", "leave_one_fold_out", "fixed"),
    "data.augment": ("d4", "none"),
    "model.precision": ("auto", "float32", "bfloat16"),
    "model.norm": ("image", "pixel"),
    "model.utae.border": ("reflect", "zeros"),
    "model.vit.stem": ("linear", "conv"),
    "model.fusion.attention": ("xla", "cudnn"),
    "contrast.granularity": ("patch", "tile"),
}


def nearest(word, candidates):
    """' Did you mean ...?' for the closest candidate, or the list of all of them."""
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(sorted(candidates))}."


def parse(config) -> Experiment:
    """Typed, checked settings from a ConfigDict.

    Raises:
      ConfigError: an unknown, missing, wrongly typed or impossible value, with its full key.
    """
    experiment = _build(Experiment, config, "")
    _check(experiment)
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


def _lookup(experiment, key):
    for part in key.split("."):
        experiment = getattr(experiment, part)
    return experiment


def _check(e: Experiment):
    def need(condition, message):
        if not condition:
            raise ConfigError(message)

    for key, allowed in CHOICES.items():
        found = _lookup(e, key)
        need(found in allowed, f"{key} must be one of {', '.join(allowed)}, found {found!r}.{nearest(str(found), allowed)}")
    need(e.modalities, "modalities is empty: name at least one sensor")
    grounds = {spec.name: spec.ground for spec in e.modalities}
    need(
        max(grounds.values()) - min(grounds.values()) < 1e-6 * max(grounds.values()),
        "patch * resolution must be the same ground distance for every modality, found (m) "
        + ", ".join(f"{name} {ground:g}" for name, ground in grounds.items()),
    )
    model = e.model
    need(model.width % 4 == 0, f"model.width must be divisible by 4, found {model.width}")
    for key, heads in (("fusion", model.fusion.heads), ("vit", model.vit.heads)):
        need(model.width % heads == 0, f"model.{key}.heads must divide model.width {model.width}, found {heads}")
    need(
        model.ltae.width % (2 * model.ltae.heads) == 0,
        f"model.ltae.width must be divisible by 2 * model.ltae.heads, found {model.ltae.width} and {model.ltae.heads}",
    )
    widths = model.utae
    need(
        len(widths.encoder_widths) == len(widths.decoder_widths) >= 2,
        "model.utae.encoder_widths and decoder_widths must have the same length, at least 2, found "
        f"{widths.encoder_widths} and {widths.decoder_widths}",
    )
    for name in ("pretrain", "finetune"):
        stage = getattr(e, name)
        need(stage.steps >= 0, f"{name}.steps must be 0 or more, found {stage.steps}")
        need(stage.batch_size > 0, f"{name}.batch_size must be positive, found {stage.batch_size}")
        need(0 <= stage.modality_dropout < 1, f"{name}.modality_dropout must be in [0, 1), found {stage.modality_dropout}")
        need(0 <= stage.warmup < 1, f"{name}.warmup must be in [0, 1), found {stage.warmup}")
        need(
            stage.log_every > 0 and stage.save_every > 0 and stage.keep > 0,
            f"{name}.log_every, save_every and keep must be positive",
        )
    scope = e.contrast.scope
    valid = scope == "global" or (scope.startswith("group:") and scope[6:].isdigit() and int(scope[6:]) > 1)
    need(valid, f"contrast.scope must be 'global' or 'group:K' with K of at least 2, found {scope!r}")
    if e.contrast.group:
        need(
            e.pretrain.batch_size % e.contrast.group == 0,
            f"pretrain.batch_size {e.pretrain.batch_size} must be a multiple of the group in contrast.scope {scope!r}",
        )
    need(e.contrast.temperature > 0, f"contrast.temperature must be positive, found {e.contrast.temperature}")
    need(e.data.fold >= 1, f"data.fold counts from 1, found {e.data.fold}")
    need(e.eval.batch_size > 0, f"eval.batch_size must be positive, found {e.eval.batch_size}")
    need(e.data.threads > 0 and e.data.buffer > 0, "data.threads and data.buffer must be positive")


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
