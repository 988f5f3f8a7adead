"""The folder of a run: one start at a time, one configuration, and the stages that have finished."""

import contextlib
import fnmatch
import json
import logging
import os
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from omnisat_jax.config import versions
from omnisat_jax.errors import DataError, UserError, printable, system_reason
from omnisat_jax.files import atomic, working_copy
from omnisat_jax.files.addresses import CHECKPOINTED, need_bucket, scheme_of
from omnisat_jax.files.hashing import file_hash
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.files.locks import exclusive
from omnisat_jax.files.paths import is_stray
from omnisat_jax.parallel.hosts import is_leader, leader_first
from omnisat_jax.train import identity
from omnisat_jax.types import StrPath

LOCK = ".lock"
MOST_SHOWN = 12  # keys of another configuration
# What this program may have left in a folder without a run: a lock, reports of --compile_for, files that were being written, by any version.
_OURS = re.compile(r"\.lock|compiled_.*\.json|.+\.partial-\d+")
_MAGIC = "[]*?\\"  # Orbax finds its files by glob patterns
# What a finished evaluation must have written; results.md and report.html can be made from it again.
_RESULTS = ("results.json", "tiles.npz")
_MODEL = ("model/config.json", "model/statistics.json", "model/weights.safetensors")  # of marks that name no files
log = logging.getLogger(__name__)


class WorkdirError(UserError):
    """The folder belongs to another run, cannot hold one, or holds files that are damaged."""


def check_path(workdir: StrPath) -> None:
    """Refuses a folder that could be written to but not be read again.

    Raises:
      WorkdirError: naming the character in its path that does not work.
    """
    text = os.fspath(workdir)
    try:
        need_bucket(text, "--workdir", schemes=CHECKPOINTED)
    except UserError as error:
        raise WorkdirError(str(error)) from error
    if scheme_of(text):
        return
    whole = str(pathlib.Path(text).resolve()) if "\0" not in text else text
    shown = printable(whole).replace("\n", "\\n")
    for character in whole:
        if character in _MAGIC or unicodedata.category(character) in ("Cc", "Cs"):
            raise WorkdirError(
                f"{shown}: --workdir must not have {printable(repr(character))} in its path, as checkpoints below it could not be "
                "read again. Choose another --workdir"
            )


def opened(place: StrPath, *, left_out: Iterable[str] = ()) -> contextlib.AbstractContextManager[pathlib.Path]:
    """Yields the folder of a run to work in: `place` itself, or the working copy of an address, see `working_copy.opened`.

    Args:
      place: a folder or an address.
      left_out: names of folders that are not downloaded, besides the large ones of every run.
    """
    return working_copy.opened(place, left_out=(*working_copy.LARGE, *left_out))


@contextlib.contextmanager
def held(workdir: StrPath, *, folds: bool = False) -> Iterator[None]:
    """Creates the folder of a run and locks it while the body runs, against starts on any host.

    In a bucket there are no locks: whoever goes on must then take over, see `working_copy.own`.

    Args:
      workdir: the folder.
      folds: whether it holds one run per fold, each in its own folder.

    Raises:
      WorkdirError: the folder cannot be created, or holds other things.
      InUseError: another start has locked it; raised on every process of this one.
    """
    check_path(workdir)
    workdir = pathlib.Path(workdir)
    with contextlib.ExitStack() as stack:
        with leader_first("lock"):
            if is_leader():
                _make(workdir, folds)
                stack.enter_context(exclusive(workdir / LOCK, str(workdir)))
                for folder in (workdir, *(workdir / name for name in (*identity.STAGES, "evaluate", "model"))):
                    atomic.clear_partials(folder)
            working_copy.pull(workdir)
        yield


def _make(workdir, folds):
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_a_folder(workdir, error) from error
    _need_run(workdir, folds)


def _not_a_folder(workdir, error):
    what = "it is a file, or a broken link" if os.path.lexists(workdir) and not workdir.is_dir() else system_reason(error)
    return WorkdirError(f"{workdir}: cannot be the folder of a run ({what}). Choose another --workdir")


def _need_run(workdir, folds):
    """Refuses a folder that holds something else than a run, or than one run per fold."""
    try:
        others = working_copy.names_in(workdir)
    except OSError as error:
        raise _not_a_folder(workdir, error) from error
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


def need_own(workdir: StrPath, flat: dict[str, Any], folds: Sequence[int] = ()) -> None:
    """Refuses what `held` and `claim` would refuse, before anything slow begins. Writes nothing. A bucket is not asked, which takes seconds.

    Args:
      workdir: the folder.
      flat: {dotted key: value} of the whole configuration.
      folds: that are run in folders of their own, () = a single run.

    Raises:
      WorkdirError: the folder holds other things, or a run with another configuration.
      DataError: config.json is damaged.
    """
    workdir = pathlib.Path(workdir)
    if scheme_of(os.fspath(workdir)) or not os.path.lexists(workdir):
        return
    _need_run(workdir, bool(folds))
    for number in folds:
        need_own(workdir / f"fold_{number}", flat | {"data.fold": number})
    before = None if folds else _started(workdir)
    if before is not None:
        compare(workdir, before, json.loads(json.dumps(flat)), quiet=True)


def claim(workdir: StrPath, flat: dict[str, Any]) -> list[identity.Change]:
    """Gives a folder in which no run has started to this configuration, or checks that it belongs to it. The folder must be `held`.

    Args:
      workdir: the folder.
      flat: {dotted key: value} of the whole configuration.

    Returns:
      Allowed changes of the configuration; config.json still holds the values from before.

    Raises:
      WorkdirError: another configuration, shown key by key.
      DataError: config.json is damaged.
    """
    workdir = pathlib.Path(workdir)
    path, flat = workdir / "config.json", json.loads(json.dumps(flat))
    before = _started(workdir)
    if before is None:
        atomic.write_json(path, flat)
        return []
    if not path.exists():
        log.warning("%s is missing; it is made again from run.json", path)
    changes = compare(workdir, before, flat)
    if not path.exists():
        atomic.write_json(path, before)
    return changes


def _started(workdir):
    """The configuration at the last start of the run in a folder; None if none has done anything, such as one with a mistake in its configuration."""
    path = workdir / "config.json"
    if path.exists():
        advice = "Restore it; or delete it: it is then made again from run.json."
        before = {key: value.value for key, value in read_json(path, what="the configuration of the run", advice=advice).items().items()}
        return before if any((workdir / name).exists() for name in ("run.json", *identity.STAGES, "evaluate")) else None
    if (workdir / "run.json").exists():
        record = read_json(workdir / "run.json", what="the record of the run", advice="Restore it, or choose another --workdir.")
        return {key: value.value for key, value in record.get("config").items().items()}
    return None


def compare(workdir: StrPath, before: dict[str, Any], flat: dict[str, Any], *, quiet: bool = False) -> list[identity.Change]:
    """The allowed changes between two configurations of a run.

    Args:
      workdir: the folder.
      before: {dotted key: plain value} of the whole configuration at the last start.
      flat: the same at this start.
      quiet: whether damaged marks are not reported, as they are by a later call.

    Raises:
      WorkdirError: a change that is not allowed.
    """
    if before == flat:
        return []  # without reading the marks, which would report damaged ones twice
    stages = (*identity.STAGES, "evaluate")
    begun = [stage for stage in stages if (pathlib.Path(workdir) / stage).exists()]
    done = [stage for stage in stages if finished(workdir, stage, quiet=quiet) is not None]
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


def finished(workdir: StrPath, stage: str, *, quiet: bool = False) -> Value | None:
    """The facts in the mark of a finished stage, or None if it has not finished. A damaged mark counts as none, with a warning unless `quiet`."""
    path = pathlib.Path(workdir) / stage / "done.json"
    if not path.exists():
        return None
    try:
        advice = "Delete it: the stage then goes on from what is saved and is marked again."
        mark = read_json(path, what="the mark of a finished stage", advice=advice)
        mark.items()
        return mark
    except DataError as error:
        if not quiet:
            log.warning("%s It counts as deleted.", error)
        return None


def mark_done(workdir: StrPath, stage: str, facts: dict[str, Any]) -> None:
    """Marks a stage finished, on process 0."""
    if is_leader():
        folder = pathlib.Path(workdir) / stage
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_json(folder / "done.json", facts)
        working_copy.push(folder)


def unmark(workdir: StrPath, stage: str) -> None:
    """Marks a stage unfinished, on process 0."""
    if is_leader():
        (pathlib.Path(workdir) / stage / "done.json").unlink(missing_ok=True)
        working_copy.push(workdir)


def mark_evaluated(workdir: StrPath, facts: dict[str, Any], *, model: bool) -> None:
    """Marks the evaluation finished, on process 0, with the hashes of what it wrote.

    Args:
      workdir: folder of the run.
      facts: plain values to keep with the mark.
      model: whether the trained model is among the files.
    """
    if not is_leader():
        return
    workdir = pathlib.Path(workdir)
    kept = [*(workdir / name for name in _RESULTS), *((workdir / "model").glob("*") if model else ())]
    # The card is for people to edit, and can be written again.
    kept = [path for path in kept if path.is_file() and not atomic.is_partial(path.name) and path.suffix != ".md"]
    mark_done(workdir, "evaluate", facts | {"files": {path.relative_to(workdir).as_posix(): file_hash(path) for path in kept}})


def evaluated(workdir: StrPath) -> tuple[dict[str, Any] | None, str]:
    """The results of a finished evaluation.

    Returns:
      (content of results.json, ""), or (None, why the evaluation does not count as finished, "" where it never was).
    """
    workdir = pathlib.Path(workdir)
    mark = finished(workdir, "evaluate")
    if mark is None:
        return None, ""
    try:
        mark.get("checkpoint").integer(0, 2**53)
        results = read_json(workdir / "results.json", what="the results of the run")
        results.get("subsets").list()
        probe = results.get("protocol").get("probe").text()
        # Marks of earlier versions name no files.
        expected = mark.find("files").value or dict.fromkeys(_MODEL if probe == "none" else ())
        for name, known in expected.items():
            path = workdir / name
            if not path.is_file():
                return None, f"{path} is missing"
            if known and file_hash(path) != known:
                return None, f"{path} is not what the evaluation wrote"
    except DataError as error:
        return None, str(error)
    except (AttributeError, TypeError):
        return None, f"{mark.path}: expected names of files, found something else"
    return results.value, ""


def cores() -> list[int]:
    """CPU cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
