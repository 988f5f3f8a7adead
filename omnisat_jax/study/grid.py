"""From a study's configuration to its runs, and which of them share their pre-training."""

import ast
import dataclasses
import hashlib
import itertools
import json
import pathlib
import re
from typing import Annotated

from omnisat_jax.config import files as config_files
from omnisat_jax.config import schema
from omnisat_jax.config.building import build
from omnisat_jax.config.rules import NAME, ConfigError, Length, Pattern, Range, Text, found, is_group, nearest
from omnisat_jax.errors import UserError, printable
from omnisat_jax.files import paths

MOST_RUNS = 100_000
HOME = "configs/studies/base.py"
ROW_NAME = Pattern(
    paths.NAME.pattern, "a name of 1 to 128 letters, digits and ._- that begins with a letter, digit or _: it names folders"
)
Line = Annotated[str, Text(2000)]

PROJECT = pathlib.Path(__file__).parents[2]  # holds launch.py and configs/


@dataclasses.dataclass(frozen=True)
class Row:
    """One method; see configs/studies/base.py."""

    position: Annotated[int, Range(0, 10_000)]
    preset: Line
    changes: Annotated[tuple[Line, ...], Length(0, 200)]
    published: Annotated[float, Range(0, 100, "%")]
    source: Line
    subset: Line


@dataclasses.dataclass(frozen=True)
class Study:
    """A grid of runs; see configs/studies/base.py for every key."""

    name: Annotated[str, NAME]
    config: schema.Path
    size: Line
    raw_dir: schema.Path
    prepared_dir: schema.Path
    seeds: Annotated[tuple[schema.Seed, ...], Length(1, 1000, distinct=True)]
    folds: Annotated[tuple[schema.Fold, ...], Length(1, 1000, distinct=True)]
    label_shares: Annotated[tuple[schema.Share, ...], Length(1, 1000, distinct=True)]
    changes: Annotated[tuple[Line, ...], Length(0, 200)]
    baseline: Line
    resamples: Annotated[int, Range(1, 1_000_000, "resamples")]
    only: Annotated[tuple[Line, ...], Length(0, 1000)]
    rows: Annotated[dict[Annotated[str, ROW_NAME], Row], Length(1, 1000)]


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
      ConfigError: an unknown, missing, wrongly typed or impossible key, an empty grid, a baseline that is no row.
    """
    if not is_group(config):
        raise ConfigError(f"the study: expected a group of keys, found {found(config)}.")
    values = dict(config.items())
    for key in ("seeds", "folds", "label_shares", "only"):
        if key in values and not isinstance(values[key], tuple | list):
            values[key] = (values[key],)
    study = build(Study, values, "study.", source=HOME)
    shares = [f"{share:g}" for share in study.label_shares]
    if len(set(shares)) < len(shares):
        raise ConfigError(f"study.label_shares: expected shares that differ in their first six digits, found {study.label_shares}.")
    # A ConfigDict does not keep the order of its keys; on a command line several names come as one text.
    rows = dict(sorted(study.rows.items(), key=lambda item: item[1].position))
    only = tuple(name for text in study.only for name in text.split(",") if name)
    for name in only:
        if name not in rows:
            raise ConfigError(f"study.only names {name!r}, which is no row.{nearest(name, list(rows))}")
    study = dataclasses.replace(study, only=only, rows={name: row for name, row in rows.items() if not only or name in only})
    if study.baseline not in study.rows:
        raise ConfigError(f"study.baseline must be one of the rows {', '.join(study.rows)}, found {study.baseline!r}")
    return study


def load_config(path: str, preset: str):
    """The ConfigDict of a configuration file and preset.

    Raises:
      ConfigError: no such file, one that is no configuration, or no such preset.
    """
    file = locate(path)
    if not file.is_file():
        raise ConfigError(f"study.config: expected a configuration file, found nothing at {path}")
    try:
        return config_files.load(f"{file}:{preset}", "study.config")
    except ConfigError:
        raise
    except UserError as error:  # what the file says of a preset
        raise ConfigError(f"study.size and the presets of the rows: {error}") from error


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
            raise ConfigError(
                f"the study changes {printable(key)!r}, which the configuration does not have.{nearest(key[:100], list(known))}"
            )
        try:
            value = _convert(text, known[key])
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
            raise ConfigError(f"the study sets {key} to {found(text)}, expected a {type(known[key]).__name__}") from error
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
    count = len(study.rows) * len(study.seeds) * len(study.folds) * len(study.label_shares)
    if count > MOST_RUNS:
        raise ConfigError(f"study.rows x seeds x folds x label_shares: expected at most {MOST_RUNS} runs, found {count}")
    known = {}
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
        if same in known:
            known[same] = dataclasses.replace(known[same], rows=(*known[same].rows, name))
            continue
        try:
            settings = schema.parse(apply(load_config(study.config, preset), changes))
        except ConfigError as error:
            raise ConfigError(f"row {name}: {error}") from error
        if settings.eval.probe != "none":
            raise ConfigError(f"row {name}: eval.probe is {settings.eval.probe!r}, but a study compares fine-tuned models tile by tile")
        label = f"{name}-seed{seed}-fold{fold}" + (f"-labels{share:g}" if share != 1 else "")
        key = _pretraining(settings) if settings.pretrain.steps else ""
        known[same] = Run(
            re.sub(r"[^\w.+-]", "_", label), (name,), seed, fold, float(share), preset, changes, key, schema.flatten(settings)
        )
    for run in known.values():
        _check_subsets(study, run)
    return sorted(known.values(), key=lambda run: (run.pretraining == "", run.seed, run.fold, run.pretraining))


def _check_subsets(study, run):
    """What rows are scored on is among what their run knows: others would have no line in the table."""
    names = [key.split(".")[1] for key in run.settings if key.startswith("modalities.") and key.endswith(".kind")]
    for row in run.rows:
        wanted = [name for name in study.rows[row].subset.split("+") if study.rows[row].subset]
        unknown = [name for name in wanted if name not in names]
        if unknown or len(set(wanted)) < len(wanted):
            raise ConfigError(
                f"study.rows.{row}.subset: expected some of {', '.join(names)}, each once, joined by '+', found {study.rows[row].subset!r}"
            )


def _pretraining(settings):
    kept = {k: v for k, v in schema.flatten(settings).items() if not k.startswith(_AFTER)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:12]
