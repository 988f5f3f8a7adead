"""Runs the grid of a study: one process per run, shared pre-training first, resumable; failures are kept and reported.

The files are described in `omnisat_jax.study.folder`.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import filelock
from rich.console import Console
from rich.text import Text

from omnisat_jax.cli import children
from omnisat_jax.errors import UserError, printable
from omnisat_jax.files import working_copy
from omnisat_jax.files.locks import InUseError
from omnisat_jax.shards import Shard
from omnisat_jax.study.board import Board
from omnisat_jax.study.folder import claim, is_done, missing, run_folder
from omnisat_jax.study.grid import Run, Study, runs
from omnisat_jax.train.workdir import cores
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

LAST_LINES = 3  # of the log of a failed run that are shown
_COLOURS = {"done": "green", "failed": "red"}


@dataclasses.dataclass(frozen=True)
class Launcher:
    """How the runs of a study are started.

    Attributes:
      command: to which the options of a run are appended, such as ("python", "/path/launch.py").
      root: folder in which a relative `study.config` is looked for if it is not in the current one; None = nowhere else.
    """

    command: tuple[str, ...]
    root: pathlib.Path | None = None

    @classmethod
    def of_program(cls, path: StrPath) -> "Launcher":
        """Starts runs by a Python program with the options of launch.py, and looks for configuration files beside it.

        Raises:
          UserError: the program does not exist.
        """
        program = pathlib.Path(path).resolve()
        if not program.is_file():
            raise UserError(
                f"{program}: expected the program that starts the runs of a study, found no file; run the study with "
                "`python launch.py --study=...` from a copy of the repository"
            )
        return cls((sys.executable, str(program)), program.parent)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
      state: "done", "failed", "elsewhere" (another process runs it) or "waiting" (it belongs to another shard, or the study ended).
      reason: of a failure.
      seconds: duration, including the wait for shared pre-training.
    """

    state: str
    reason: str = ""
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class Slot:
    """The CPU cores and environment variables of one of the simultaneous runs."""

    cores: list[int]
    environment: dict[str, str]


def run_study(
    study: Study, folder: StrPath, launcher: Launcher, *, console: Console, processes: int = 1, shard: Shard | None = None
) -> dict[str, Outcome]:
    """Runs everything of a shard that is not finished.

    Args:
      study: the grid.
      folder: of the study; shards may share it, or be merged later.
      launcher: starts the runs.
      console: to report to.
      processes: number of simultaneous runs.
      shard: which runs this process does; None = all. Runs that share their pre-training belong to the same shard.

    Returns:
      {name: outcome} of every run of the study.

    Raises:
      ConfigError: a run has an impossible configuration; raised before anything starts.
      WorkdirError: the folder belongs to another study.
      KeyboardInterrupt, Terminated: this process was asked to end; its runs have been ended too.
    """
    folder, shard = pathlib.Path(folder).absolute(), shard or Shard()
    working_copy.share(folder)
    working_copy.pull(folder)
    if processes < 1:
        raise UserError(f"--study_processes: expected 1 or more, found {processes}")
    grid = runs(study, launcher.root)
    claim(folder, study)
    groups = sorted({run.pretraining or run.name for run in grid})
    groups = set(shard.of(groups))
    mine = [run for run in grid if (run.pretraining or run.name) in groups]
    # Pre-training that several runs need, or that an earlier call, perhaps with other label shares, has shared.
    needed = collections.Counter(run.pretraining for run in mine if run.pretraining)
    shared = {key for key, times in needed.items() if times > 1 or _pretrained(folder / "pretrain" / key)}
    outcomes = {run.name: Outcome("done" if is_done(folder, run) else "waiting") for run in grid}
    todo = _in_order([run for run in mine if outcomes[run.name].state != "done"], shared)
    console.print(
        f"study {study.name}: {number_of(len(grid), 'run')}, {sum(o.state == 'done' for o in outcomes.values())} finished before, {len(todo)} to run"
        + (f" in shard {shard}" if shard.count > 1 else ""),
        highlight=False,
    )
    board, crew = Board(console, len(todo)), Crew()
    worker = _Worker(folder, launcher, shared, _slots(processes), board, crew)
    pool = concurrent.futures.ThreadPoolExecutor(processes)
    try:
        with board.shown():
            for ended in concurrent.futures.as_completed([pool.submit(worker.run, run) for run in todo]):
                run, outcome = ended.result()
                outcomes[run.name] = outcome
                _report(console, run, outcome, board.ended())
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        crew.stop()
        raise
    pool.shutdown()
    return outcomes


def _report(console, run, outcome, left):
    duration = f" {run.name} ({outcome.seconds / 60:.1f} min, {left} left)"
    console.print(Text(outcome.state, style=_COLOURS.get(outcome.state, "yellow")) + Text(duration))
    if outcome.reason:
        console.print(f"  {outcome.reason}", markup=False, highlight=False)


def _in_order(todo, shared):
    """First one run of each shared pre-training, then the runs that need none, last the others, which may have to wait for theirs."""
    first = {run.pretraining: run.name for run in reversed(todo) if run.pretraining in shared}
    return sorted(todo, key=lambda run: 1 if run.pretraining not in shared else 0 if run.name == first[run.pretraining] else 2)


def _pretrained(folder):
    return (folder / "pretrain" / "done.json").is_file()


class Crew:
    """The processes of the active runs, which end together."""

    def __init__(self):
        self._lock, self._stopped = threading.Lock(), False
        self._children: set[subprocess.Popen] = set()

    def start(self, command: Sequence[str], **options: Any) -> subprocess.Popen | None:
        """Starts a run with the options of `children.start`; returns None once the study ends."""
        with self._lock:
            if self._stopped:
                return None
            child = children.start(command, **options)
            self._children.add(child)
            return child

    def wait(self, child: subprocess.Popen) -> int:
        """Waits for a run to end, and returns its exit code."""
        code = child.wait()
        with self._lock:
            self._children.discard(child)
        return code

    def stop(self) -> None:
        """Asks every run to save and end, and waits a short while for them. No other run starts."""
        with self._lock:
            self._stopped = True
            left = list(self._children)
        children.end(left)


@dataclasses.dataclass(frozen=True)
class _Task:
    """One call of the launcher: a whole run, or pre-training alone.

    Attributes:
      name: of its log.
      workdir: its folder.
      run: whose configuration it has.
      options: of launch.py, beyond the configuration.
      pretrain_from: folder of the shared pre-training; "" = none.
    """

    name: str
    workdir: pathlib.Path
    run: Run
    options: tuple[str, ...] = ()
    pretrain_from: str = ""


class _Worker:
    """Executes runs, from several threads."""

    def __init__(self, folder, launcher, shared, slots, board, crew):
        self._folder, self._launcher, self._shared, self._board, self._crew = folder, launcher, shared, board, crew
        self._slots = queue.SimpleQueue()
        for slot in slots:
            self._slots.put(slot)

    def run(self, run: Run) -> tuple[Run, Outcome]:
        """Executes one run in the next free slot, after its shared pre-training."""
        slot, since = self._slots.get(), time.monotonic()
        try:
            source, failure = "", None
            if run.pretraining in self._shared:
                source = working_copy.place_of(self._folder / "pretrain" / run.pretraining)
                failure = self._pretrain(run, slot)
            workdir = run_folder(self._folder, run)
            outcome = failure or self._launch(_Task(run.name, workdir, run, pretrain_from=source), slot)
            if outcome.state == "done" and (gone := missing(self._folder, run)):
                outcome = Outcome("failed", f"ended without {', '.join(gone)}: delete {working_copy.place_of(workdir / 'evaluate')} and start the study again")
            return run, dataclasses.replace(outcome, seconds=time.monotonic() - since)
        finally:
            self._slots.put(slot)

    def _pretrain(self, run, slot):
        """Pre-trains for all runs that share it; returns None when that is done."""
        workdir = self._folder / "pretrain" / run.pretraining
        workdir.parent.mkdir(parents=True, exist_ok=True)
        # Runs with the same pre-training that start together wait here for the first of them.
        with filelock.FileLock(workdir.with_name(f"{workdir.name}.lock")):
            if _pretrained(workdir):
                return None
            outcome = self._launch(_Task(f"pretrain-{run.pretraining}", workdir, run, options=("--stage=pretrain",)), slot)
            return None if outcome.state == "done" else outcome

    def _command(self, task):
        changes = task.run.changes | ({"pretrain_from": task.pretrain_from} if task.pretrain_from else {})
        return [
            *self._launcher.command,
            f"--config={task.run.config}",
            f"--workdir={working_copy.place_of(task.workdir)}",
            *task.options,
            *(f"--config.{key}={value}" for key, value in changes.items()),
        ]

    def _launch(self, task, slot):
        log = self._folder / "logs" / f"{task.name}.log"
        log.parent.mkdir(exist_ok=True)
        task.workdir.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            try:
                kept = stack.enter_context(_held(task.workdir.with_name(f"{task.workdir.name}.running")))
            except InUseError:
                return Outcome("elsewhere", "another process is running it")
            out = stack.enter_context(log.open("w"))
            stack.enter_context(self._board.active(task.name, task.workdir, task.run.flat_config))
            child = self._crew.start(self._command(task), stdout=out, stderr=subprocess.STDOUT, environment=slot.environment, pass_fds=kept)
            if child is None:
                return Outcome("waiting")
            if hasattr(os, "sched_setaffinity"):
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(child.pid, slot.cores)  # before it starts threads, which inherit it
            code = self._crew.wait(child)
            working_copy.push(log)
            working_copy.pull_below(task.workdir)
        if code:
            tail = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-LAST_LINES:]
            return Outcome("failed", printable(f"exit code {code}, {working_copy.place_of(log)}: " + " | ".join(tail), None))
        return Outcome("done")


@contextlib.contextmanager
def _held(path: pathlib.Path) -> Iterator[list[int]]:
    """Holds the lock of a run while the body runs; yields the file descriptors that hold it.

    The run is given them, and holds the lock as well: if the study is killed, no other process enters the folder before the run has ended. In a
    bucket, the run ends at its next upload once another one has entered.

    Raises:
      InUseError: another process holds the lock.
    """
    in_bucket = working_copy.lock(path, path.name)
    if in_bucket:
        with in_bucket:
            yield []
        return
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InUseError(f"{path}: another process is using it") from error
        yield [lock.fileno()]


def _slots(count: int) -> list[Slot]:
    """Divides the CPU cores among simultaneous runs, and the GPUs if CUDA_VISIBLE_DEVICES lists several.

    Runs do not share cores, because the number of threads changes the rounding.
    """
    devices, mine = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","), cores()
    each = max(1, len(mine) // count)
    slots = []
    for index in range(count):
        first = index * each % len(mine)
        gpu = {"CUDA_VISIBLE_DEVICES": devices[index % len(devices)]} if len(devices) > 1 else {}
        slots.append(Slot(cores=mine[first : first + each], environment=os.environ | gpu))
    return slots
