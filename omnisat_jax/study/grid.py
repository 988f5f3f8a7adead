"""From a study's configuration to its runs, and which of them share their pre-training."""

import ast
import dataclasses
import hashlib
import itertools
import json
import pathlib
import re

from omnisat_jax import config_files, schema
from omnisat_jax.checks import ConfigError, nearest
from omnisat_jax.errors import UserError

PROJECT = pathlib.Path(__file__).parents[2]  # holds launch.py and configs/


@dataclasses.dataclass(frozen=True)
class Row:
    """One method; see configs/studies/base.py."""

    position: int
    preset: str
    changes: tuple[str, ...]
    published: float
    source: str
    subset: str


@dataclasses.dataclass(frozen=True)
class Study:
    """A grid of runs; see configs/studies/base.py for every key."""

    name: str
    config: str
    size: str
    raw_dir: str
    prepared_dir: str
    seeds: tuple[int, ...]
    folds: tuple[int, ...]
    label_shares: tuple[float, ...]
    changes: tuple[str, ...]
    baseline: str
    resamples: int
    only: tuple[str, ...]
    rows: dict[str, Row]


@dataclasses.dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
      name: of its folder.
      rows: names of the rows that it answers: those that differ only in the subset they are scored on.
      preset: of the configuration file.
      changes: {key: text}, as on a command line.
      pretraining: identifies its pre-training; runs with the same one share it. "" = none.
      settings: {dotted key: value} of its whole configuration.
    """

    name: str
    rows: tuple[str, ...]
    seed: int
    fold: int
    label_share: float
    preset: str
    changes: dict[str, str]
    pretraining: str
    settings: dict[str, object]


# What pre-training does not depend on.
_AFTER = ("name", "task", "finetune.", "segmentation.", "eval.", "model.head.", "data.label_share", "pretrain_from")


def parse(config) -> Study:
    """Typed, checked settings of a study from a ConfigDict.

    Raises:
      ConfigError: an unknown or missing key, an empty grid, a baseline that is no row.
    """
    values = config.to_dict()
    fields = {field.name for field in dataclasses.fields(Study)}
    for key in values:
        if key not in fields:
            raise ConfigError(f"unknown study key {key!r}.{nearest(key, fields)}")
    missing = fields - set(values)
    if missing:
        raise ConfigError(f"missing study keys: {', '.join(sorted(missing))}; configs/studies/base.py has them all")
    rows = sorted(values["rows"].items(), key=lambda item: item[1]["position"])
    values["rows"] = {name: Row(**row) for name, row in rows}
    for key in ("seeds", "folds", "label_shares"):
        given = values[key] if isinstance(values[key], tuple | list) else (values[key],)
        values[key] = tuple(given)
        if not given or len(set(given)) < len(given):
            raise ConfigError(f"study.{key}: expected at least one value, each once, found {given}")
    only = values["only"] if isinstance(values["only"], tuple | list) else (values["only"],)
    # On a command line several names come as one text.
    values["only"] = only = tuple(name for text in only for name in text.split(",") if name)
    for name in only:
        if name not in values["rows"]:
            raise ConfigError(f"study.only names {name!r}, which is no row.{nearest(name, list(values['rows']))}")
    values["rows"] = {name: row for name, row in values["rows"].items() if not only or name in only}
    study = Study(**values)
    if study.baseline not in study.rows:
        raise ConfigError(f"study.baseline must be one of the rows {', '.join(study.rows)}, found {study.baseline!r}")
    return study


def load_config(path: str, preset: str):
    """The ConfigDict of a configuration file and preset.

    Raises:
      ConfigError: no such file.
      UserError: no such preset.
    """
    file = locate(path)
    if not file.is_file():
        raise ConfigError(f"study.config: expected a configuration file, found nothing at {path}")
    return config_files.load(f"{file}:{preset}", "study.config")


def locate(path: str) -> pathlib.Path:
    """The configuration file that a study names: below the present folder, or else below that of the program, so that studies run from anywhere."""
    here = pathlib.Path(path)
    return here if here.is_file() or here.is_absolute() else PROJECT / path


def apply(config, changes: dict[str, str]):
    """Changes values of a ConfigDict by their dotted keys, texts turned into the type that is there.

    Raises:
      ConfigError: a key that does not exist, or a text that is no value of its type.
    """
    known = dict(_walk(config))
    for key, text in changes.items():
        if key not in known:
            raise ConfigError(f"the study changes {key!r}, which the configuration does not have.{nearest(key, list(known))}")
        try:
            value = _convert(text, known[key])
        except (ValueError, SyntaxError) as error:
            raise ConfigError(f"the study sets {key} to {text!r}, expected a {type(known[key]).__name__}") from error
        config.update_from_flattened_dict({key: value})
    return config


def _walk(config, prefix=""):
    for key, value in config.items():
        if hasattr(value, "items"):
            yield from _walk(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _convert(text, like):
    if isinstance(like, str):
        return text
    value = ast.literal_eval(text)
    if isinstance(like, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(like):
        raise UserError(text)
    return value


def runs(study: Study) -> list[Run]:
    """Every run of the grid, those that share their pre-training beside each other.

    Raises:
      ConfigError: a change that cannot be made, or settings that cannot be run.
    """
    found = {}
    for (name, row), seed, fold, share in itertools.product(study.rows.items(), study.seeds, study.folds, study.label_shares):
        changes = {"data.raw_dir": study.raw_dir, "data.prepared_dir": study.prepared_dir}
        changes = {key: value for key, value in changes.items() if value}
        for text in (*study.changes, *row.changes):
            key, equals, value = text.partition("=")
            if not equals:
                raise ConfigError(f"row {name}: expected key=value, found {text!r}")
            changes[key] = value
        changes |= {"seed": str(seed), "data.fold": str(fold), "data.label_share": str(float(share))}
        preset = ",".join(filter(None, (study.size, row.preset)))
        same = (preset, tuple(sorted(changes.items())))
        if same in found:
            found[same] = dataclasses.replace(found[same], rows=(*found[same].rows, name))
            continue
        settings = schema.parse(apply(load_config(study.config, preset), changes))
        if settings.eval.probe != "none":
            raise ConfigError(f"row {name}: eval.probe is {settings.eval.probe!r}, but a study compares fine-tuned models tile by tile")
        label = f"{name}-seed{seed}-fold{fold}" + (f"-labels{share:g}" if share != 1 else "")
        key = _pretraining(settings) if settings.pretrain.steps else ""
        found[same] = Run(
            re.sub(r"[^\w.+-]", "_", label), (name,), seed, fold, float(share), preset, changes, key, schema.flatten(settings)
        )
    return sorted(found.values(), key=lambda run: (run.pretraining == "", run.seed, run.fold, run.pretraining))


def _pretraining(settings):
    kept = {k: v for k, v in schema.flatten(settings).items() if not k.startswith(_AFTER)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:12]
