"""The files that runs leave for reports and studies: what they contain, and how they are read.

Nothing in them is trusted: any damage is one sentence that names the file.
"""

import pathlib
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from omnisat_jax.errors import DataError, reason
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.files.paths import need_file
from omnisat_jax.types import StrPath

# results.json: {"name", "task", "protocol": {...}, "subsets": [{"modalities", "scores", ...}], maybe "floor": the same of random weights, maybe
# "training": what each fold trains on, maybe "temperature_scaling": {...}}.
# `results.write_results` writes it, the templates below list its keys.
Results = dict[str, Any]
Template = Any  # see `fit`

NUMBER = (int, float)
# Keys of the protocol in results.json that every reader needs.
_COMMON = {
    "dataset": str, "simulated": bool, "protocol": str, "test": [str], "test_tiles": int, "train_tiles": int, "classes": [str], "unscored": [str],
    "method?": str, "unlabelled_train_tiles?": int, "tiles_of_folds?": {"*": [int]},
    "pretrain_run?": {"dataset": str, "simulated": bool, "fingerprint": str, "parts": [str]},
    "pretrain_data?": [{"folder": str, "dataset": str, "fingerprint": str, "simulated": bool, "tiles": int}],
}  # fmt: skip
STUDY_PROTOCOL = _COMMON | {"threshold": NUMBER}  # what a study needs
TABLE_PROTOCOL = _COMMON | {
    "fingerprint": str, "fold": (int, str), "train": [str], "validation": [str], "void_test_parcels": bool, "dates": {"*": int},
    "seed": int, "checkpoint": (int, str), "pretrain_steps": int, "pretrain_from": str, "label_share": NUMBER, "modalities": [str],
    "missing_modalities": [str], "probe": str, "broken": {"on_bad": str, "tiles": int},
}  # fmt: skip
REPORT_PROTOCOL = TABLE_PROTOCOL | {"colours": [str]}  # what the HTML report needs
_SCORES = {"*": (int, float, type(None), dict)}
_PARCELS = {"scores": _SCORES, "confusion": [[int]]}  # see `metrics.parcels`
_SUBSET = {
    "modalities": [str], "scores": _SCORES, "confusion?": [[NUMBER]], "calibration?": [[NUMBER]], "parcels?": _PARCELS,
    "learnable?": [str],
}  # fmt: skip
_TRAINING = {"pixels": [int], "parcels": [int]}  # per class, of each fold
_SIDE = {"nll": (*NUMBER, type(None)), "ece": (*NUMBER, type(None)), "counts": [[NUMBER]]}
# What a temperature changes; of joined folds the temperatures are one text.
_SCALING = {"temperature": (*NUMBER, str), "remark": str, "validation": [str], "predictions": int, "before": _SIDE, "after": _SIDE}
# run.json, as far as the HTML report shows it.
_RUN = {
    "command": str, "config": {"*": (str, int, float, bool, list, dict, type(None))}, "data": {"source": str, "fingerprint": str},
    "git": (dict, type(None)), "versions": {"*": str}, "device": {"kind": str, "platform": str, "count": int}, "cores?": int, "processes": int,
    "mesh": {"*": int}, "precision": str, "seconds?": {"*": [{"*": NUMBER}]},
}  # fmt: skip
_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "an object", type(None): "null"}


def fit(value: Value, template: Template) -> None:
    """Checks that a JSON value has the form of a template.

    Args:
      value: from a file.
      template: a type or a tuple of types; [template] for a list, every entry of which fits it; {"key": template} for an object, where
        "key?" may be missing and "*" is any key.

    Raises:
      DataError: it has another form; names the file and the key.
    """
    if isinstance(template, list):
        for entry in value.list():
            fit(entry, template[0])
    elif isinstance(template, dict):
        if "*" in template:
            for entry in value.items().values():
                fit(entry, template["*"])
            return
        for key, inner in template.items():
            name = key.removesuffix("?")
            if name == key or name in value.items():
                fit(value.get(name), inner)
    else:
        kinds = template if isinstance(template, tuple) else (template,)
        if type(value.value) not in kinds:
            raise value.error(" or ".join(_NAMES[kind] for kind in kinds))


def read_results(folder: StrPath, protocol: Mapping[str, Template] = TABLE_PROTOCOL, *, scored: bool = True) -> Results:
    """Reads results.json of a finished run.

    Args:
      folder: of the run.
      protocol: template of the keys of its protocol that the caller needs.
      scored: whether the caller needs the scores of each subset of modalities.

    Raises:
      DataError: the file is missing or damaged.
    """
    folder = pathlib.Path(folder)
    advice = f"Delete {folder / 'evaluate'} and start the run's command again: it repeats the evaluation without training."
    results = read_json(folder / "results.json", what="the results of a finished run", advice=advice)
    try:
        task = results.get("task").choice(("segment", "classify"))
        fit(results, {"name?": str, "protocol": dict(protocol), "subsets": [_SUBSET], "floor?": [_SUBSET], "training?": [_TRAINING], "temperature_scaling?": _SCALING})
        if not results.value["subsets"]:
            raise results.get("subsets").error("at least one subset of modalities", "none")
        _check_classes(results)
        for entry in results.get("subsets").list() if scored else ():
            fit(entry.get("scores").get("miou" if task == "segment" else "f1_macro"), (*NUMBER, type(None)))
    except DataError as error:
        raise DataError(tile="-", path=error.path, expected=error.expected, found=error.found, advice=advice) from error
    return results.value


def _check_classes(results: Value) -> None:
    """Checks that everything that is counted per class is counted for the classes of the protocol."""
    k = len(results.value["protocol"]["classes"])
    for fold in results.find("training", []).list():
        for key in ("pixels", "parcels"):
            if len(fold.value[key]) != k:
                raise fold.get(key).error(f"numbers of {k} classes", f"{len(fold.value[key])} numbers")
    for kind in ("subsets", "floor"):
        for entry in results.find(kind, []).list():
            if "parcels" in entry.value and [len(row) for row in entry.value["parcels"]["confusion"]] != [k + 1] * k:
                raise entry.get("parcels").error(f"counts of {k} by {k + 1} classes", "others")


def read_run_info(folder: StrPath) -> dict[str, Any]:
    """Reads run.json, the record of a run's starts: command, versions, device, times; {} if the run has none.

    Raises:
      DataError: the file is damaged.
    """
    path = pathlib.Path(folder) / "run.json"
    if not path.is_file():
        return {}
    info = read_json(path, what="the record of a run", advice="Delete it: the report is then made without it.")
    fit(info, _RUN)
    if info.value["git"]:
        fit(info.get("git"), {"revision": str, "dirty": bool})
    return info.value


def read_cores(folder: StrPath) -> int | None:
    """The number of CPU cores of a run that was computed on them, as run.json says; else None.

    Raises:
      DataError: run.json is damaged.
    """
    path = pathlib.Path(folder) / "run.json"
    if not path.is_file():
        return None
    info = read_json(path, what="the record of a run")
    fit(info, {"device?": {"platform?": str}, "cores?": int})
    return info.value.get("cores") if info.value.get("device", {}).get("platform") == "cpu" else None


def read_arrays(path: StrPath, what: str) -> dict[str, np.ndarray]:
    """Reads every array of a .npz file.

    Args:
      path: the file.
      what: it contains, for messages.

    Raises:
      DataError: the file is missing or damaged.
    """
    path = need_file(path, what=what, advice="Evaluate the run again.")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        size = path.stat().st_size
        # The message of NumPy advises to unpickle them.
        why = "no arrays, or arrays of Python objects, which are not loaded" if "pickle" in str(error) else reason(error)
        raise DataError(
            tile="-", path=path, expected=f"{what}: NumPy arrays", found=f"{size:,} bytes that cannot be read ({why})",
            advice="Evaluate the run again.",
        ) from error  # fmt: skip
