"""The folder of a study: which study it belongs to, and which of its runs are finished.

<folder>/settings.json                                  the study
<folder>/study.json, table.md, table.csv, table.tex     its results
<folder>/pretrain/<key>/                                pre-training that several runs start from
<folder>/runs/<run>/                                    one run, as written by launch.py
<folder>/logs/<run>.log                                 output of one run
"""

import dataclasses
import json
import pathlib

from omnisat_jax.config import versions
from omnisat_jax.files import working_copy
from omnisat_jax.files.atomic import write_json
from omnisat_jax.files.json_file import read_json
from omnisat_jax.study.grid import Run, Study
from omnisat_jax.train.workdir import WorkdirError
from omnisat_jax.types import StrPath

# What a finished run holds.
PROMISED = (
    "evaluate/done.json", "results.json", "tiles.npz", "model/model.safetensors", "model/statistics.json", "model/config.json",
)  # fmt: skip
FORMERLY = {"model/model.safetensors": "model/weights.safetensors"}  # what runs of earlier versions hold instead
# A study may gain seeds, folds, label shares and rows, but not change these.
FIXED = ("name", "config", "size", "raw_dir", "prepared_dir", "changes")


def claim(folder: pathlib.Path, study: Study) -> None:
    """Creates the folder of a study, or checks that it belongs to the same one.

    Raises:
      WorkdirError: it belongs to another study; names the keys.
    """
    path = folder / "settings.json"
    now = json.loads(json.dumps(dataclasses.asdict(study)))
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, now)
        if working_copy.create(path):
            return
    found = read_json(path, what="the settings of a study", advice=f"Restore it, or delete it if {folder} holds the same study.")
    before = {key: found.get(key).value for key in FIXED}
    changed = _differences(before, {key: now[key] for key in FIXED})
    if changed:
        raise WorkdirError(f"{folder} holds another study:\n" + "\n".join(changed) + "\nChoose another --workdir.")
    write_json(path, now)


def run_folder(folder: StrPath, run: Run) -> pathlib.Path:
    """The folder of one run of a study."""
    return pathlib.Path(folder) / "runs" / run.name


def is_done(folder: StrPath, run: Run) -> bool:
    """Whether a run of a study is finished.

    Raises:
      WorkdirError: its folder holds a run with another configuration; names the keys.
    """
    workdir = run_folder(folder, run)
    path = workdir / "config.json"
    if path.is_file():
        found = read_json(path, what="the configuration of a run", advice=f"Restore it, or delete {workdir} to run it again.")
        before = versions.upgrade({key: value.value for key, value in found.items().items()})
        now = json.loads(json.dumps(run.flat_config))
        # Where pre-training is taken from is for the study to choose.
        changed = _differences(before | {"pretrain_from": ""}, now | {"pretrain_from": ""})
        if changed:
            raise WorkdirError(
                f"{workdir} holds a run with another configuration:\n"
                + "\n".join(changed)
                + "\nChoose another --workdir, or delete that folder."
            )
    return (workdir / "evaluate" / "done.json").is_file() and not missing(folder, run)


def missing(folder: StrPath, run: Run) -> list[str]:
    """The files of a finished run that this one lacks."""
    root = run_folder(folder, run)
    return [name for name in PROMISED if not any(working_copy.is_there(root / each) for each in (name, FORMERLY.get(name, name)))]


def _differences(before, now):
    """One line per key whose value differs."""
    return [
        f"  {key}: {before.get(key)!r} before, {now.get(key)!r} now"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
