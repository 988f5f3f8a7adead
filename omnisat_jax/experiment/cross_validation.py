"""Every fold of a protocol as one run: a folder a fold, finished folds not repeated, scores from the sum of their counts."""

import dataclasses
import json
import pathlib

from rich.console import Console

from omnisat_jax.config import schema
from omnisat_jax.errors import DataError
from omnisat_jax.experiment import run as experiment
from omnisat_jax.files import atomic
from omnisat_jax.files.json_file import read_json
from omnisat_jax.parallel.hosts import is_leader
from omnisat_jax.report import folds as joining
from omnisat_jax.report import results as reporting
from omnisat_jax.report import tables
from omnisat_jax.train import workdir


def fold_numbers(texts) -> list[int]:
    """The folds that --folds names.

    Raises:
      ConfigError: something that is no number.
    """
    wrong = [text for text in texts if not (text.isascii() and text.isdecimal())]
    if wrong:
        raise schema.ConfigError(f"--folds: expected numbers separated by commas, found {wrong[0]!r}")
    return [int(text) for text in texts]


def run_folds(
    config: schema.ExperimentConfig, numbers, *, folder, stage: str, console: Console, accept_new_data: bool = False, profile=None
) -> dict | None:
    """Runs `experiment.run` for each fold in <folder>/fold_<number>; then joins what they scored.

    Args:
      config: data.fold is replaced.
      numbers: the folds, each once.

    Returns:
      The joined results, also written to <folder>/results.json and results.md; None if `stage` ends before the evaluation.

    Raises:
      ConfigError: tile labels, or a fold named twice. And what `experiment.run` raises, before any later fold starts.
    """
    if config.task != "segment":
        raise schema.ConfigError(
            f"--folds joins counts of pixels; task {config.task!r} has none. Run each split by --config.data.fold"
        )
    if config.data.protocol in ("single_split", "fixed"):
        raise schema.ConfigError(f"--folds: data.protocol {config.data.protocol!r} has one split only")
    if len(set(numbers)) < len(numbers):
        raise schema.ConfigError(f"--folds: expected each fold once, found {', '.join(map(str, numbers))}")
    folder = pathlib.Path(folder)
    with workdir.held(folder, folds=True):
        runs = {}
        for number in numbers:
            console.rule(f"fold {number}")
            changed = dataclasses.replace(config, data=dataclasses.replace(config.data, fold=number))
            place = folder / f"fold_{number}"
            runs[str(place)] = experiment.run(
                changed, folder=place, stage=stage, console=console, accept_new_data=accept_new_data, profile=profile
            )
        if None in runs.values():
            return None
        results = joining.join(runs)
        if is_leader():
            _write(folder, results)
    console.rule("all folds")
    tables.show(console, results)
    return results


def _write(folder, results):
    """Writes the joined results, unless they are there already."""
    path = folder / "results.json"
    try:
        same = path.exists() and read_json(path, what="the joined results").value == json.loads(json.dumps(results))
    except DataError:  # damaged: they are made again from those of the folds
        same = False
    if not same:
        atomic.write_json(path, results)
        for name in ("results.md", "report.html"):
            (folder / name).unlink(missing_ok=True)
    reporting.restore_reports(folder, results)
