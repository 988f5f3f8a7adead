"""The outcome of a run in three sentences that need no knowledge of the field: what was trained, how good it is, how sure that is."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from omnisat_jax.metrics.intervals import LEVEL, bootstrap, interval
from omnisat_jax.report import tables
from omnisat_jax.report.contributions import TILES, read_tiles
from omnisat_jax.report.run_files import Results
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of, plural

RESAMPLES = 2000  # of the test tiles
# What the sensors of the datasets are called outside the configuration; others keep their names.
SENSORS = {"s1": "Sentinel-1", "s1a": "Sentinel-1 ascending", "s1d": "Sentinel-1 descending", "s2": "Sentinel-2", "spot": "SPOT"}


def sentences(folder: StrPath, results: Results) -> list[str]:
    """What was trained on what, how good it is with all sensors and with the best single one, and how sure that is.

    Args:
      folder: of the run; its tiles.npz gives the interval, without it there is none.
      results: its results.json.

    Raises:
      DataError: tiles.npz is damaged or does not belong to the results.
    """
    if whole_score(results) is None:
        return [_trained(results), f"No test tile has both a label and a measurement, so there is no {tables.COLUMNS[results['task']][0][1]}."]
    return [_trained(results), _scored(results), _sure(pathlib.Path(folder), results)]


def whole_score(results: Results) -> float | None:
    """mIoU or macro F1 in % with all modalities; None without one."""
    return _known(results["subsets"][0], tables.COLUMNS[results["task"]][0][0])


def best_single(results: Results) -> Mapping[str, Any] | None:
    """The entry of the best subset of one modality; None for a model of one, or where none has a score."""
    key, first = tables.COLUMNS[results["task"]][0][0], results["subsets"][0]
    single = [entry for entry in results["subsets"] if len(entry["modalities"]) == 1 and entry is not first and _known(entry, key) is not None]
    return max(single, key=lambda entry: entry["scores"][key]) if single else None


def names(modalities: Sequence[str]) -> str:
    """Sensors in words, such as "Sentinel-2, aerial and SPOT"."""
    *others, last = [SENSORS.get(name, name) for name in modalities]
    return f"{', '.join(others)} and {last}" if others else last


def _known(entry, key):
    value = entry["scores"].get(key)
    return None if value is None or math.isnan(value) else value


def _trained(results):
    protocol, modalities = results["protocol"], results["subsets"][0]["modalities"]
    kind = "simulated " if protocol["simulated"] else ""
    count, classes = len(modalities), len(protocol["classes"])
    task = f"to map {classes} classes" if results["task"] == "segment" else f"to find {classes} kinds of label"
    sensors = f"{number_of(count, 'sensor')} ({names(modalities)})"
    tiles = f"{tables.training_tiles(protocol, noun=f'{kind}tile', share=protocol['label_share'])} with labels"
    before = "pre-trained without labels and " if protocol["pretrain_steps"] or protocol["pretrain_from"] else ""
    if protocol.get("method"):
        how = f"{protocol['method']} was fitted to {tiles}"
    elif protocol["probe"] != "none":
        how = f"A model of {sensors} was {before or 'not trained, '}frozen, and a {protocol['probe']} probe was fitted to its tokens of {tiles}"
    else:
        how = f"A model of {sensors} was {before}trained on {tiles}"
    return f"{how} {task}, and tested on {protocol['test_tiles']} other {plural(protocol['test_tiles'], 'tile')}."


def _scored(results):
    first, single = results["subsets"][0], best_single(results)
    several = len(first["modalities"]) > 1
    text = f"With {'all sensors' if several else names(first['modalities'])} {_score(results, first)}"
    if single:
        text += f"; with {names(single['modalities'])} alone, the best single sensor, {_score(results, single, short=True)}"
        text += f" on {fewer}" if (fewer := fewer_tiles(results, single)) else ""
    return f"{text}."


def fewer_tiles(results: Results, entry: Mapping[str, Any]) -> str:
    """"3 of the 4 tiles" for a subset that some scored tiles lack entirely, so that its scores are of other tiles than those of all sensors; else ""."""
    tiles, whole = entry.get("tiles"), results["subsets"][0].get("tiles")
    return "" if tiles == whole or None in (tiles, whole) else f"{tiles} of the {number_of(whole, 'tile')}"


def _score(results, entry, short=False):
    (key, title), *others = tables.COLUMNS[results["task"]]
    accuracy = _known(entry, "oa") if results["task"] == "segment" else None
    if accuracy is None:
        return f"{entry['scores'][key]:.1f} %" if short else f"it reaches {entry['scores'][key]:.1f} % {title}"
    what = "" if short else " of the pixels get the right class"
    return f"{accuracy:.1f} %{what} ({entry['scores'][key]:.1f} % {title}{'' if short else ', the mean over the classes'})"


def _sure(folder, results):
    """The interval over test tiles, and how far probabilities are off."""
    title, tiles = tables.COLUMNS[results["task"]][0][1], results["subsets"][0].get("tiles", results["protocol"]["test_tiles"])
    found = _interval(folder, results)
    if found:
        text = f"Other test tiles would give {found[0]:.0f} to {found[1]:.0f} % {title} ({LEVEL} % interval over {number_of(tiles, 'tile')}); another training differs as well"
    else:
        text = f"How far {title} depends on the {number_of(tiles, 'test tile')} and on this one training is not known"
    error = _known(results["subsets"][0], "ece")
    if error is None:
        return f"{text}."
    text += f". The probabilities are off by {error:.1f} points on average"
    scaling = results.get("temperature_scaling")
    if scaling and scaling["predictions"] and scaling["after"]["ece"] is not None:
        text += f", and by {scaling['after']['ece']:.1f} with the temperature that is saved with the model"
    return f"{text}."


def _interval(folder: pathlib.Path, results: Results) -> tuple[float, float] | None:
    if not (folder / TILES).is_file():
        return None
    tiles = read_tiles(folder, results, 0)
    if len(tiles.names) < 2:
        return None
    scores = bootstrap([tiles], RESAMPLES)
    return interval(scores) if np.isfinite(scores).any() else None
