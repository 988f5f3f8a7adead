"""Every fold of a protocol as one run: one folder per fold, finished folds are not repeated, scores come from the sum of their counts."""

import dataclasses
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from omnisat_jax.config import schema
from omnisat_jax.errors import DataError
from omnisat_jax.experiment.context import RunOptions
from omnisat_jax.experiment.run import run
from omnisat_jax.files import atomic, working_copy
from omnisat_jax.files.json_file import read_json
from omnisat_jax.parallel.hosts import is_leader
from omnisat_jax.report import folds as joining, results as reporting, tables
from omnisat_jax.train import workdir


def fold_numbers(texts: Iterable[str]) -> list[int]:
    """The folds that --folds names.

    Raises:
      ConfigError: a text that is not a number.
    """
    wrong = [text for text in texts if not (text.isascii() and text.isdecimal())]
    if wrong:
        raise schema.ConfigError(f"--folds: expected numbers separated by commas, found {wrong[0]!r}")
    return [int(text) for text in texts]


def run_folds(config: schema.ExperimentConfig, numbers: Sequence[int], options: RunOptions) -> dict[str, Any] | None:
    """Runs each fold in <folder>/fold_<number>, one after the other, then joins their scores.

    Args:
      config: what is run; data.fold is replaced.
      numbers: the folds, each once.
      options: how the run is started; its folder holds those of the folds.

    Returns:
      The joined results, also written to <folder>/results.json and results.md; None if `options.stage` ends before the evaluation.

    Raises:
      ConfigError: tile labels, a protocol with one split, or a fold named twice.
      UserError: what `run` raises for a fold; no later fold starts then.
    """
    if config.task != "segment":
        raise schema.ConfigError(
            f"--folds joins counts of pixels; task {config.task!r} has none. Run each split by --config.data.fold"
        )
    if config.data.protocol in ("single_split", "fixed"):
        raise schema.ConfigError(f"--folds: data.protocol {config.data.protocol!r} has one split only")
    if len(set(numbers)) < len(numbers):
        raise schema.ConfigError(f"--folds: expected each fold once, found {', '.join(map(str, numbers))}")
    workdir.check_path(options.folder)
    place, console = os.fspath(options.folder).rstrip("/") or "/", options.console
    names = {number: f"fold_{number}" for number in numbers}
    with workdir.opened(place, left_out=names.values()) as folder, workdir.held(folder, folds=True):
        runs = {}
        for number in numbers:
            console.rule(f"fold {number}")
            changed = dataclasses.replace(config, data=dataclasses.replace(config.data, fold=number))
            own = f"{place}/{names[number]}"
            runs[own] = run(changed, dataclasses.replace(options, folder=own))
        if None in runs.values():
            return None
        results = joining.join(runs)
        if is_leader():
            working_copy.own(folder)  # an earlier start in the same bucket has ended by its fold
            _write(folder, results)
    console.rule("all folds")
    tables.show(console, results)
    return results


def _write(folder, results):
    """Writes the joined results, unless they are there already."""
    path = folder / "results.json"
    try:
        same = path.exists() and read_json(path, what="the joined results").value == json.loads(json.dumps(results))
    except DataError:  # damaged: made again from the results of the folds
        same = False
    if not same:
        atomic.write_json(path, results)
        for name in ("results.md", "report.html"):
            (folder / name).unlink(missing_ok=True)
    reporting.restore_reports(folder, results)
