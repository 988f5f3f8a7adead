"""What runs leave for reports and studies, read without trust: every damage is one sentence that names the file."""

import pathlib
import zipfile
import zlib

import numpy as np

from omnisat_jax.errors import DataError, reason
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.files.paths import need_file

NUMBER = (int, float)
# The protocol in results.json: what everybody needs, what a study needs, and what a document tells.
_PROTOCOL = {
    "dataset": str, "simulated": bool, "protocol": str, "test": [str], "test_tiles": int, "train_tiles": int, "classes": [str], "unscored": [str],
}  # fmt: skip
SCORED = _PROTOCOL | {"threshold": NUMBER}
TOLD = _PROTOCOL | {
    "fingerprint": str, "fold": (int, str), "train": [str], "validation": [str], "void_test_parcels": bool, "dates": {"*": int},
    "seed": int, "checkpoint": (int, str), "pretrain_steps": int, "pretrain_from": str, "label_share": NUMBER, "modalities": [str],
    "missing_modalities": [str], "probe": str, "broken": {"on_bad": str, "tiles": int},
}  # fmt: skip
PICTURED = TOLD | {"colours": [str]}
SUBSET = {"modalities": [str], "scores": {"*": (int, float, type(None), dict)}, "confusion?": [[NUMBER]], "calibration?": [[NUMBER]]}
_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "an object", type(None): "null"}


def fit(value: Value, template) -> None:
    """Shows that a JSON value has a form.

    Args:
      template: a type or several; [template] of every entry of a list; {"key": template} of an object, where "key?" may be missing and "*" is any key.

    Raises:
      DataError: it has not; names the file and the key.
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


def read_results(folder, protocol=TOLD, *, scored: bool = True) -> dict:
    """results.json of a finished run.

    Args:
      protocol: keys of its protocol that the caller needs.
      scored: whether it needs the scores of each subset of modalities.

    Raises:
      DataError: there is none, or it is damaged.
    """
    folder = pathlib.Path(folder)
    advice = f"Delete {folder / 'evaluate'} and start the run's command again: it evaluates anew and trains nothing."
    results = read_json(folder / "results.json", what="the results of a finished run", advice=advice)
    try:
        task = results.get("task").choice(("segment", "classify"))
        fit(results, {"name?": str, "protocol": protocol, "subsets": [SUBSET], "floor?": [SUBSET]})
        if not results.value["subsets"]:
            raise results.get("subsets").error("at least one subset of modalities", "none")
        for entry in results.get("subsets").list() if scored else ():
            fit(entry.get("scores").get("miou" if task == "segment" else "f1_macro"), (*NUMBER, type(None)))
    except DataError as error:
        raise DataError(tile="-", path=error.path, expected=error.expected, found=error.found, advice=advice) from error
    return results.value


def read_arrays(path, what: str) -> dict[str, np.ndarray]:
    """Every array of a .npz file.

    Raises:
      DataError: missing or damaged.
    """
    path = need_file(path, what=what, advice="Evaluate the run again.")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        size = path.stat().st_size
        # NumPy would advise to load them all the same.
        why = "no arrays, or such of Python objects, which are not loaded" if "pickle" in str(error) else reason(error)
        raise DataError(
            tile="-", path=path, expected=f"{what}: arrays of NumPy", found=f"{size:,} bytes that are none ({why})",
            advice="Evaluate the run again.",
        ) from error  # fmt: skip
