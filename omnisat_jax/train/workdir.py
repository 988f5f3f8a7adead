"""The folder of a run: one start at a time, of one configuration, and what has finished in it."""

import contextlib
import fnmatch
import json
import logging
import os
import pathlib
import re
import unicodedata

from omnisat_jax.config import versions
from omnisat_jax.errors import DataError, UserError, printable, system_reason
from omnisat_jax.files import atomic
from omnisat_jax.files.hashing import file_hash
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.files.locks import exclusive
from omnisat_jax.files.paths import is_stray
from omnisat_jax.parallel.hosts import is_leader, leader_first
from omnisat_jax.train import identity

LOCK = ".lock"
MOST_SHOWN = 12  # keys of another configuration
# In a folder without a run these are no stranger's: a lock, programs compiled ahead, files that were being written, by earlier versions as well.
_OURS = re.compile(r"\.lock|compiled_.*\.json|.+\.partial-\d+")
_MAGIC = "[]*?\\"  # Orbax finds its files by patterns
# What an evaluation promises; results.md and report.html are made from these.
_RESULTS = ("results.json", "tiles.npz")
_MODEL = ("model/config.json", "model/statistics.json", "model/weights.safetensors")
log = logging.getLogger(__name__)


class WorkdirError(UserError):
    """The folder belongs to another run, cannot hold one, or holds files that are damaged."""


def check_place(workdir) -> None:
    """Refuses a folder that could be written to and never read again.

    Raises:
      WorkdirError: a character in its path, named.
    """
    text = os.fspath(workdir)
    if "://" in text:
        raise WorkdirError(f"{printable(text)}: --workdir must be a folder of this machine or one that it mounts, not an address")
    whole = str(pathlib.Path(text).resolve()) if "\0" not in text else text
    shown = printable(whole).replace("\n", "\\n")
    for character in whole:
        if character in _MAGIC or unicodedata.category(character) in ("Cc", "Cs"):
            raise WorkdirError(
                f"{shown}: --workdir must not have {printable(repr(character))} in its path, as checkpoints below it could not be "
                "read again. Choose another --workdir"
            )


@contextlib.contextmanager
def held(workdir, *, folds: bool = False):
    """Creates the folder of a run, and keeps every other start out of it while the body runs, whatever host that is on.

    Args:
      folds: it holds one run per fold, each in its own folder.

    Raises:
      WorkdirError: a folder that cannot be, or that holds other things.
      InUseError: another start is at work; on every process of this one.
    """
    check_place(workdir)
    workdir = pathlib.Path(workdir)
    with contextlib.ExitStack() as stack:
        with leader_first("lock"):
            if is_leader():
                _make(workdir, folds)
                stack.enter_context(exclusive(workdir / LOCK, str(workdir)))
                for folder in (workdir, *(workdir / name for name in (*identity.STAGES, "evaluate", "model"))):
                    atomic.clear_partials(folder)
        yield


def _make(workdir, folds):
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        others = [entry.name for entry in workdir.iterdir()]
    except OSError as error:
        what = "it is a file, or a link that leads nowhere" if isinstance(error, FileExistsError) else system_reason(error)
        raise WorkdirError(f"{workdir}: cannot be the folder of a run ({what}). Choose another --workdir") from error
    if folds and "config.json" in others:
        raise WorkdirError(f"{workdir} holds a single run: choose another --workdir for --folds")
    known = "fold_*" if folds else "config.json"
    if any(fnmatch.fnmatch(name, known) for name in others) or not folds and "run.json" in others:
        return
    others = sorted(name for name in others if not (_OURS.fullmatch(name) or atomic.is_partial(name) or is_stray(name)))
    if others:
        raise WorkdirError(
            f"{workdir} is not empty and holds no run (no config.json, but {printable(', '.join(others[:3]))}): choose another --workdir"
        )


def claim(workdir, flat: dict) -> list[identity.Change]:
    """Makes an empty folder that of this configuration, or checks that it is; the folder must be `held`.

    Args:
      flat: {dotted key: value} of the whole configuration.

    Returns:
      What has changed and may; config.json still says what was before.

    Raises:
      WorkdirError: another configuration, shown key by key.
      DataError: config.json is damaged.
    """
    workdir = pathlib.Path(workdir)
    path, flat = workdir / "config.json", json.loads(json.dumps(flat))
    if path.exists():
        advice = "Restore it; or delete it: it is then made again from run.json."
        before = {key: value.value for key, value in read_json(path, what="the configuration of the run", advice=advice).items().items()}
    elif (workdir / "run.json").exists():
        about = read_json(workdir / "run.json", what="the record of the run", advice="Restore it, or choose another --workdir.")
        before = {key: value.value for key, value in about.get("config").items().items()}
        log.warning("%s is missing; it is made again from run.json", path)
    else:
        atomic.write_json(path, flat)
        return []
    changes = compare(workdir, before, flat)
    if not path.exists():
        atomic.write_json(path, before)
    return changes


def compare(workdir, before: dict, flat: dict) -> list[identity.Change]:
    """The changes between two configurations of a run that may be.

    Raises:
      WorkdirError: one that may not.
    """
    if before == flat:
        return []  # marks need not be read, which would tell of damaged ones twice
    stages = (*identity.STAGES, "evaluate")
    begun = [stage for stage in stages if (pathlib.Path(workdir) / stage).exists()]
    done = [stage for stage in stages if finished(workdir, stage) is not None]
    # Keys that are younger than the run: it behaved by their known values.
    changes = identity.changes(versions.upgrade(before), flat, begun=begun, done=done)
    refused = [change for change in changes if not change.allowed]
    if refused:
        more = f"\n  and {len(refused) - MOST_SHOWN} more keys" if len(refused) > MOST_SHOWN else ""
        raise WorkdirError(
            f"{workdir} holds a run with another configuration:\n"
            + "\n".join(printable(f"  {change}") for change in refused[:MOST_SHOWN])
            + more
            + f"\nGive the same configuration to continue it, or another --workdir to start a new run. {identity.MAY_CHANGE}"
        )
    return changes


def finished(workdir, stage: str) -> Value | None:
    """What a finished stage said of itself, or None of one that has not finished. A damaged mark counts as none, with a warning."""
    path = pathlib.Path(workdir) / stage / "done.json"
    if not path.exists():
        return None
    try:
        advice = "Delete it: the stage then goes on from what is saved and is marked again."
        about = read_json(path, what="the mark of a finished stage", advice=advice)
        about.items()
        return about
    except DataError as error:
        log.warning("%s It counts as deleted.", error)
        return None


def mark_done(workdir, stage: str, facts: dict) -> None:
    """Declares a stage finished, on process 0."""
    if is_leader():
        folder = pathlib.Path(workdir) / stage
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_json(folder / "done.json", facts)


def unmark(workdir, stage: str) -> None:
    """Declares a stage unfinished, on process 0."""
    if is_leader():
        (pathlib.Path(workdir) / stage / "done.json").unlink(missing_ok=True)


def mark_evaluated(workdir, facts: dict, *, model: bool) -> None:
    """Declares the evaluation finished, on process 0, and what it wrote.

    Args:
      facts: plain values to keep with the mark.
      model: whether the trained model is among the files.
    """
    if not is_leader():
        return
    workdir = pathlib.Path(workdir)
    kept = [*(workdir / name for name in _RESULTS), *((workdir / "model").glob("*") if model else ())]
    kept = [path for path in kept if path.is_file() and not atomic.is_partial(path.name)]
    mark_done(workdir, "evaluate", facts | {"files": {path.relative_to(workdir).as_posix(): file_hash(path) for path in kept}})


def evaluated(workdir) -> tuple[dict | None, str]:
    """The results of a finished evaluation.

    Returns:
      (results.json, ""), or (None, why it does not count as finished; "" where it never was).
    """
    workdir = pathlib.Path(workdir)
    about = finished(workdir, "evaluate")
    if about is None:
        return None, ""
    try:
        about.get("checkpoint").integer(0, 2**53)
        results = read_json(workdir / "results.json", what="the results of the run")
        results.get("subsets").list()
        probe = results.get("protocol").get("probe").text()
        # Marks of earlier versions name no files.
        expected = about.find("files").value or dict.fromkeys(_MODEL if probe == "none" else ())
        for name, known in expected.items():
            path = workdir / name
            if not path.is_file():
                return None, f"{path} is missing"
            if known and file_hash(path) != known:
                return None, f"{path} is not what the evaluation wrote"
    except DataError as error:
        return None, str(error)
    except (AttributeError, TypeError):
        return None, f"{about.path}: expected the names of files, found others"
    return results.value, ""


def cores() -> list[int]:
    """CPU cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
