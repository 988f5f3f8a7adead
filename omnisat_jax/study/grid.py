"""Expands the configuration of a study into its runs, and finds those that share their pre-training."""

import ast
import dataclasses
import hashlib
import itertools
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Annotated, Any

from omnisat_jax.config import files as config_files, presets, schema
from omnisat_jax.config.building import build
from omnisat_jax.config.rules import NAME, ConfigError, Length, Pattern, Range, Text, found, is_group, nearest
from omnisat_jax.errors import UserError, printable
from omnisat_jax.files import paths
from omnisat_jax.types import StrPath

ConfigDict = Any  # of ml_collections, which the package does not import

MOST_RUNS = 100_000
BASE = "configs/studies/base.py"  # lists every key of a study
ROW_NAME = Pattern(
    paths.NAME.pattern, "a name of 1 to 128 letters, digits and ._- that begins with a letter, digit or _: it names folders"
)
Line = Annotated[str, Text(2000)]


@dataclasses.dataclass(frozen=True)
class Row:
    """One method of a study.

    Attributes:
      position: of the row in the table.
      preset: of the configuration file, after the size of the study; "" = the size alone.
      changes: "key=value" of the configuration.
      published: score reported for the method on real data, in %; 0 = none.
      source: where it was reported, and under which protocol.
      subset: modalities that the row is scored on, joined by "+"; "" = all.
    """

    position: Annotated[int, Range(0, 10_000)]
    preset: Line
    changes: Annotated[tuple[Line, ...], Length(0, 200)]
    published: Annotated[float, Range(0, 100, "%")]
    source: Line
    subset: Line


@dataclasses.dataclass(frozen=True)
class Study:
    """A grid of runs: rows x seeds x folds x label shares.

    Attributes:
      name: of the study.
      config: configuration file that the rows are presets of.
      size: first part of every preset.
      raw_dir: raw dataset; "" = simulated data.
      prepared_dir: prepared records; "" = made from the raw dataset.
      seeds, folds, label_shares: of the runs.
      changes: "key=value" for every run.
      baseline: row that the others are compared with.
      resamples: of the bootstrap.
      only: rows to run; () = all.
      rows: {name: row} in the order of the table.
    """

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
      rows: names of the rows that it belongs to: they differ only in the subset they are scored on.
      seed, fold, label_share: of the training.
      config: "FILE:PRESET", as for --config of launch.py.
      changes: {key: text}, as on a command line.
      pretraining: identifies its pre-training, which runs with the same value share; "" = none.
      flat_config: {dotted key: value} of its whole configuration.
    """

    name: str
    rows: tuple[str, ...]
    seed: int
    fold: int
    label_share: float
    config: str
    changes: dict[str, str]
    pretraining: str
    flat_config: dict[str, object]


# Keys that pre-training does not depend on.
_AFTER = ("name", "task", "finetune.", "segmentation.", "eval.", "model.head.", "data.label_share", "pretrain_from")


def parse(config: ConfigDict) -> Study:
    """Turns the ConfigDict of a study into its typed and checked configuration.

    Raises:
      ConfigError: an unknown, missing, wrongly typed or impossible key, an empty grid, or a baseline that is not one of the rows.
    """
    if not is_group(config):
        raise ConfigError(f"the study: expected a group of keys, found {found(config)}.")
    values = dict(config.items())
    for key in ("seeds", "folds", "label_shares", "only"):
        if key in values and not isinstance(values[key], tuple | list):
            values[key] = (values[key],)
    study = build(Study, values, "study.", source=BASE)
    shares = [f"{share:g}" for share in study.label_shares]
    if len(set(shares)) < len(shares):
        raise ConfigError(f"study.label_shares: expected shares that differ in their first six digits, found {study.label_shares}.")
    # A ConfigDict does not keep the order of its keys. On a command line several names arrive as one text.
    rows = dict(sorted(study.rows.items(), key=lambda item: item[1].position))
    only = tuple(name for text in study.only for name in text.split(",") if name)
    for name in only:
        if name not in rows:
            raise ConfigError(f"study.only names {name!r}, which is not one of the rows.{nearest(name, list(rows))}")
    study = dataclasses.replace(study, only=only, rows={name: row for name, row in rows.items() if not only or name in only})
    if study.baseline not in study.rows:
        raise ConfigError(f"study.baseline must be one of the rows {', '.join(study.rows)}, found {study.baseline!r}")
    return study


def locate(path: str, root: StrPath | None = None) -> pathlib.Path:
    """Finds the configuration file that a study names, so that studies run from any folder.

    Args:
      path: relative to the current folder or, if it does not exist there, to `root`.
      root: folder of the program that launches runs.

    Raises:
      ConfigError: the file does not exist.
    """
    candidates = [pathlib.Path(path), *([pathlib.Path(root, path)] if root else [])]
    for file in candidates:
        if file.is_file():
            return file
    raise ConfigError(f"study.config: expected a configuration file, found nothing at {' and '.join(dict.fromkeys(map(str, candidates)))}")


def load_config(file: pathlib.Path, preset: str) -> ConfigDict:
    """Loads a preset of a configuration file.

    Raises:
      ConfigError: the file is not a configuration, or has no such preset.
    """
    try:
        return config_files.load(f"{file}:{preset}", "study.config")
    except ConfigError:
        raise
    except UserError as error:  # raised by the file itself about a preset
        raise ConfigError(f"study.size and the presets of the rows: {error}") from error


def apply(config: ConfigDict, changes: Mapping[str, str]) -> ConfigDict:
    """Changes values of a ConfigDict, and returns it.

    Args:
      config: to change.
      changes: {dotted key: text}; texts are converted to the types of the present values.

    Raises:
      ConfigError: a key that does not exist, or a text that is not a value of its type.
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


def runs(study: Study, root: StrPath | None = None) -> list[Run]:
    """Lists every run of the grid, those that share their pre-training next to each other.

    Args:
      study: the grid.
      root: where a relative `study.config` lies if not in the current folder, see `locate`.

    Raises:
      ConfigError: a change that cannot be made, or a configuration that cannot be run.
    """
    count = len(study.rows) * len(study.seeds) * len(study.folds) * len(study.label_shares)
    if count > MOST_RUNS:
        raise ConfigError(f"study.rows x seeds x folds x label_shares: expected at most {MOST_RUNS} runs, found {count}")
    found: dict[object, Run] = {}
    for (name, row), seed, fold, share in itertools.product(study.rows.items(), study.seeds, study.folds, study.label_shares):
        try:
            changes = _changes(study, row) | {"seed": str(seed), "data.fold": str(fold), "data.label_share": str(float(share))}
            preset = ",".join(filter(None, (study.size, row.preset)))
            same = (preset, tuple(sorted(changes.items())))
            if same in found:
                found[same] = dataclasses.replace(found[same], rows=(*found[same].rows, name))
                continue
            file = locate(study.config, root)
            plain = load_config(file, preset)
            budget = presets.budget_of(plain)
            presets.need_kept(preset, budget, apply(plain, changes))
            config = schema.parse(plain)
        except ConfigError as error:
            raise ConfigError(f"row {name}: {error}") from error
        if config.eval.probe != "none":
            raise ConfigError(f"row {name}: eval.probe is {config.eval.probe!r}, but a study compares fine-tuned models tile by tile")
        label = f"{name}-seed{seed}-fold{fold}" + (f"-labels{share:g}" if share != 1 else "")
        found[same] = Run(
            name=re.sub(r"[^\w.+-]", "_", label),
            rows=(name,),
            seed=seed,
            fold=fold,
            label_share=float(share),
            config=f"{file}:{preset}",
            changes=changes,
            pretraining=_pretraining(config) if config.pretrain.steps else "",
            flat_config=schema.flatten(config),
        )
    for run in found.values():
        _check_subsets(study, run)
    return sorted(found.values(), key=lambda run: (run.pretraining == "", run.seed, run.fold, run.pretraining))


def _changes(study, row):
    """{key: text} of one row, on top of the study's own."""
    changes = {"data.raw_dir": study.raw_dir, "data.prepared_dir": study.prepared_dir}
    changes = {key: value for key, value in changes.items() if value}
    for text in (*study.changes, *row.changes):
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"expected key=value, found {text!r}")
        changes[key] = value
    return changes


def _check_subsets(study, run):
    """Checks that rows are scored on modalities of their run: others would have no line in the table."""
    names = [key.split(".")[1] for key in run.flat_config if key.startswith("modalities.") and key.endswith(".kind")]
    for row in run.rows:
        wanted = [name for name in study.rows[row].subset.split("+") if study.rows[row].subset]
        unknown = [name for name in wanted if name not in names]
        if unknown or len(set(wanted)) < len(wanted):
            raise ConfigError(
                f"study.rows.{row}.subset: expected some of {', '.join(names)}, each once, joined by '+', found {study.rows[row].subset!r}"
            )


def _pretraining(config):
    kept = {key: value for key, value in schema.flatten(config).items() if not key.startswith(_AFTER)}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:12]
