"""Runs the grid of a study: each run a process in a folder of its own, shared pre-training first, resumable, failures kept and reported.

<folder>/study.json, table.md, table.csv, table.tex     what the runs say together
<folder>/pretrain/<key>/                                 pre-training that several runs start from
<folder>/runs/<run>/                                     as of launch.py
<folder>/logs/<run>.log
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time

import filelock
from rich.text import Text

from omnisat_jax.cli import children
from omnisat_jax.errors import UserError, printable
from omnisat_jax.files.atomic import write_json
from omnisat_jax.files.json_file import read_json
from omnisat_jax.study.board import Board
from omnisat_jax.study.grid import PROJECT, Run, Study, locate, runs
from omnisat_jax.train.workdir import WorkdirError, cores

PROGRAM = (sys.executable, str(PROJECT / "launch.py"))
PROMISED = (
    "evaluate/done.json", "results.json", "tiles.npz", "model/weights.safetensors", "model/statistics.json", "model/config.json",
)  # fmt: skip
LAST_LINES = 3  # of the log of a run that failed


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended: state "done", "failed", "elsewhere" (another process has it) or "waiting" (of another shard), why, and seconds, waiting for shared pre-training among them."""

    state: str
    reason: str = ""
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Slot:
    """What one run at a time may use."""

    cores: list[int]
    environment: dict[str, str]


def claim(folder: pathlib.Path, study: Study) -> None:
    """Creates the folder of a study, or checks that it holds the same one.

    Raises:
      WorkdirError: another study, key by key.
    """
    path = folder / "settings.json"
    settings = json.loads(json.dumps(dataclasses.asdict(study)))
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, settings)
        return
    before = read_json(path, what="the settings of a study", advice=f"Restore it, or delete it if {folder} holds the same study.")
    # More seeds, folds, shares or rows are more of the same study.
    fixed = ("name", "config", "size", "raw_dir", "prepared_dir", "changes")
    then = {key: before.get(key).value for key in fixed}
    changed = [f"  {key}: {then[key]!r} before, {settings[key]!r} now" for key in fixed if then[key] != settings[key]]
    if changed:
        raise WorkdirError(f"{folder} holds another study:\n" + "\n".join(changed) + "\nChoose another --workdir.")
    write_json(path, settings)


def shard_of(text: str) -> tuple[int, int]:
    """(index, count) of "i/n", i from 0.

    Raises:
      UserError: another form.
    """
    index, _, count = text.partition("/")
    if not all(part.isascii() and part.isdecimal() and len(part) < 10 for part in (index, count)) or not int(index) < int(count):
        raise UserError(f"--study_shard: expected INDEX/COUNT with INDEX from 0, such as 0/4, found {text!r}")
    return int(index), int(count)


def run_study(study: Study, folder, *, processes: int = 1, shard: str = "0/1", console) -> dict[str, Outcome]:
    """Runs what is not done yet of a shard.

    Args:
      study: the grid.
      folder: of the study; the same for every shard, or merged later.
      processes: runs at a time.
      shard: "i/n"; runs that share their pre-training are in the same shard.
      console: rich Console.

    Returns:
      {run name: Outcome}, of all runs of the study.

    Raises:
      ConfigError: a run that cannot be; found before anything starts.
      WorkdirError: the folder holds another study.
      KeyboardInterrupt, Terminated: the process was told to end, and so were its runs.
    """
    folder = pathlib.Path(folder)
    index, count = shard_of(shard)
    if processes < 1:
        raise UserError(f"--study_processes: expected 1 or more, found {processes}")
    grid = runs(study)
    claim(folder, study)
    groups = sorted({run.pretraining or run.name for run in grid})
    mine = [run for run in grid if groups.index(run.pretraining or run.name) % count == index]
    # Pre-training that several runs want, or that an earlier call, maybe with other label shares, made for several.
    wanted = collections.Counter(run.pretraining for run in mine if run.pretraining)
    shared = {key for key, count in wanted.items() if count > 1 or (folder / "pretrain" / key / "pretrain" / "done.json").is_file()}
    outcomes = {run.name: Outcome("done" if is_done(folder, run) else "waiting") for run in grid}
    todo = _in_order([run for run in mine if outcomes[run.name].state != "done"], shared)
    console.print(
        f"study {study.name}: {len(grid)} runs, {sum(o.state == 'done' for o in outcomes.values())} done before, {len(todo)} to do"
        + (f" in shard {shard}" if count > 1 else ""),
        highlight=False,
    )
    slots = queue.SimpleQueue()
    for slot in _slots(processes):
        slots.put(slot)

    board, crew = Board(console, len(todo)), Crew()

    def work(run):
        slot, since = slots.get(), time.monotonic()
        try:
            taken, failed = "", None
            if run.pretraining in shared:
                taken = str(folder / "pretrain" / run.pretraining)
                failed = _pretrain(study, folder, run, slot, board, crew)
            outcome = failed or _launch(study, folder, run, slot, board, crew, folder / "runs" / run.name, run.name, taken)
            if outcome.state == "done" and (gone := missing(folder, run)):
                outcome = Outcome("failed", f"ended without {', '.join(gone)}: delete {folder / 'runs' / run.name / 'evaluate'} and repeat")
            return run, dataclasses.replace(outcome, seconds=time.monotonic() - since)
        finally:
            slots.put(slot)

    pool = concurrent.futures.ThreadPoolExecutor(processes)
    try:
        with board.shown():
            for ended in concurrent.futures.as_completed([pool.submit(work, run) for run in todo]):
                run, outcome = ended.result()
                outcomes[run.name] = outcome
                colour = {"done": "green", "failed": "red"}.get(outcome.state, "yellow")
                about = f"{run.name} ({outcome.seconds / 60:.1f} min, {board.ended()} left)"
                console.print(Text(outcome.state, style=colour) + Text(f" {about}"))
                if outcome.reason:
                    console.print(f"  {outcome.reason}", markup=False, highlight=False)
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        crew.dismiss()
        raise
    pool.shutdown()
    return outcomes


class Crew:
    """The processes of the runs at work, and the end of all of them."""

    def __init__(self):
        self._lock, self._children, self._dismissed = threading.Lock(), set(), False

    def start(self, command, **how) -> subprocess.Popen | None:
        """Starts a run; None once the study ends."""
        with self._lock:
            if self._dismissed:
                return None
            child = children.start(command, **how)
            self._children.add(child)
            return child

    def wait(self, child) -> int:
        """Until a run has ended; its exit code."""
        code = child.wait()
        with self._lock:
            self._children.discard(child)
        return code

    def dismiss(self):
        """Tells every run to save and end, and waits shortly for them; no other one starts."""
        with self._lock:
            self._dismissed = True
            left = list(self._children)
        children.end(left)


def _in_order(todo, shared):
    """First one run of each shared pre-training, then those that need none, last the others, which may have to wait for theirs."""
    first = {run.pretraining: run.name for run in reversed(todo) if run.pretraining in shared}
    return sorted(todo, key=lambda run: 1 if run.pretraining not in shared else 0 if run.name == first[run.pretraining] else 2)


def is_done(folder, run: Run) -> bool:
    """Whether a run is finished.

    Raises:
      WorkdirError: its folder holds a run of other settings, key by key.
    """
    place = pathlib.Path(folder) / "runs" / run.name
    path = place / "config.json"
    if path.is_file():
        found = read_json(path, what="the configuration of a run", advice=f"Restore it, or delete {place} to run it again.")
        before, now = {key: value.value for key, value in found.items().items()}, json.loads(json.dumps(run.settings))
        changed = [
            f"  {key}: {before.get(key)!r} before, {now.get(key)!r} now"
            for key in sorted(before.keys() | now.keys())
            if key != "pretrain_from" and before.get(key) != now.get(key)
        ]
        if changed:
            raise WorkdirError(
                f"{place} holds a run of other settings:\n"
                + "\n".join(changed)
                + "\nChoose another --workdir, or delete that folder."
            )
    return (place / "evaluate" / "done.json").is_file() and not missing(folder, run)


def missing(folder, run: Run) -> list[str]:
    """Files that a finished run has and this one lacks."""
    place = pathlib.Path(folder) / "runs" / run.name
    return [name for name in PROMISED if not (place / name).is_file()]


def _pretrain(study, folder, run, slot, board, crew):
    """Pre-trains for all runs that share it; None when that is done."""
    place = folder / "pretrain" / run.pretraining
    place.parent.mkdir(parents=True, exist_ok=True)
    # Runs of the same pre-training that are started together wait here for the first of them.
    with filelock.FileLock(place.with_name(f"{place.name}.lock")):
        if (place / "pretrain" / "done.json").is_file():
            return None
        outcome = _launch(study, folder, run, slot, board, crew, place, f"pretrain-{run.pretraining}", "", "--stage=pretrain")
        return None if outcome.state == "done" else outcome


def _launch(study, folder, run, slot, board, crew, place, name, pretrain_from, *more):
    (folder / "logs").mkdir(exist_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    changes = run.changes | ({"pretrain_from": pretrain_from} if pretrain_from else {})
    command = [*PROGRAM, f"--config={locate(study.config)}:{run.preset}", f"--workdir={place}", *more]
    command += [f"--compilation_cache={folder / 'programs'}", *(f"--config.{key}={value}" for key, value in changes.items())]
    log = folder / "logs" / f"{name}.log"
    with open(place.with_name(f"{place.name}.running"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return Outcome("elsewhere", "another process is at it")
        # The run holds the lock as well: if the study is killed, nobody else enters the folder before the run has ended.
        about = {"stderr": subprocess.STDOUT, "environment": slot.environment, "pass_fds": [lock.fileno()]}
        with log.open("w") as out, board.at_work(name, place, run.settings):
            child = crew.start(command, stdout=out, **about)
            if child is None:
                return Outcome("waiting")
            if hasattr(os, "sched_setaffinity"):
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(child.pid, slot.cores)  # before it starts threads, which inherit it
            code = crew.wait(child)
    if code:
        tail = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-LAST_LINES:]
        return Outcome("failed", printable(f"exit code {code}, {log}: " + " | ".join(tail), None))
    return Outcome("done")


def _slots(count: int) -> list[Slot]:
    """Cores and, if several GPUs are set aside for the study, GPUs are dealt out: runs do not share threads, whose number changes the rounding."""
    devices, mine = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","), cores()
    each = max(1, len(mine) // count)
    slots = []
    for index in range(count):
        first = index * each % len(mine)
        gpu = {"CUDA_VISIBLE_DEVICES": devices[index % len(devices)]} if len(devices) > 1 else {}
        slots.append(Slot(cores=mine[first : first + each], environment=os.environ | gpu))
    return slots
