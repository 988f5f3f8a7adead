"""Where numbers go: metrics.jsonl and TensorBoard events, on process 0."""

import contextlib
import itertools
import json
import logging
import math
import os
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from omnisat_jax.errors import UserError, system_reason
from omnisat_jax.files import atomic, working_copy
from omnisat_jax.parallel.hosts import is_leader
from omnisat_jax.types import StrPath

log = logging.getLogger(__name__)


class MetricsWriter:
    """Appends the scalars of one stage. A resumed run continues the file without repeated steps. Only process 0 writes."""

    def __init__(self, workdir: StrPath, stage: str, *, after_step: int):
        """Opens the files, and drops what a killed run wrote after the last checkpoint.

        Args:
          workdir: folder of the run.
          stage: whose scalars are written.
          after_step: rows of the stage up to this step are kept.

        Raises:
          UserError: the files cannot be written; raised by the other methods as well.
        """
        self._stage, self._path, self._open = stage, pathlib.Path(workdir) / "metrics.jsonl", None
        if not is_leader():
            return
        _cut(self._path, stage, after_step)
        with _said(self._path):
            self._open = self._path.open("a"), _Board(self._path.parent / "tensorboard" / stage, after_step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one line: {"stage", "step", **values}; a number that is not finite is written as null."""
        if not self._open:
            return
        file, board = self._open
        clean = {key: value if math.isfinite(value) else None for key, value in values.items()}
        with _said(self._path):
            file.write(json.dumps({"stage": self._stage, "step": step, **clean}) + "\n")
            file.flush()
            board.write(step, values)

    def sync(self) -> None:
        """Waits until everything written is on disk, and in the bucket of the run: a checkpoint must not outlive the curve that leads to it."""
        if self._open:
            file, board = self._open
            with _said(self._path):
                os.fsync(file.fileno())
                board.sync()
            working_copy.push(self._path)

    def close(self) -> None:
        """Closes both files; a failure to write was reported before."""
        for file in self._open or ():
            with contextlib.suppress(OSError):
                file.close()


class _Board:
    """A TensorBoard event file, written by the thread of the caller: the thread of SummaryWriter cannot report that a disk is full."""

    def __init__(self, folder: pathlib.Path, purge_step: int):
        # Imported here because they import PyTorch wherever it is installed, which only a run that writes should pay for.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2
        from tensorboardX.summary import scalar

        folder.mkdir(parents=True, exist_ok=True)
        messages: Any = event_pb2  # classes that protobuf makes at run time
        self._event, self._scalar = messages.Event, scalar
        self._events = EventsWriter(str(folder / "events"))
        # TensorBoard hides what an earlier start wrote from here on.
        start = messages.SessionLog(status=messages.SessionLog.START)
        for content in ({"file_version": "brain.Event:2"}, {"session_log": start}):
            self._events.write_event(self._event(step=purge_step, wall_time=time.time(), **content))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one event per value."""
        now = time.time()
        for key, value in values.items():
            self._events.write_event(self._event(step=step, wall_time=now, summary=self._scalar(key, value)))

    def sync(self) -> None:
        """Writes what is buffered."""
        self._events.flush()

    def close(self) -> None:
        """Closes the file."""
        self._events.close()


@contextlib.contextmanager
def _said(path: pathlib.Path) -> Iterator[None]:
    """Reports a failure to write as a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: the curve cannot be written ({system_reason(error)}). Check the disk and start the same command again") from error


def _cut(path, stage, after_step):
    """Drops rows of a stage after a step. The file is replaced as a whole or not at all; one with damaged rows is kept beside it."""
    text = ""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({system_reason(error)})") from error
    *lines, last = text.split("\n")  # a start that was killed was writing what follows the last end of line
    rows = [(number, line, _row(line)) for number, line in enumerate(lines, 1) if line.strip()]
    broken = [number for number, _, row in rows if row is None]
    if broken:
        beside = next(p for i in itertools.count() if not (p := path.with_name(f"{path.name}.broken-{i}")).exists())
        atomic.write_bytes(beside, path.read_bytes())
        log.warning("%s: %d rows cannot be read, the first in line %d; they are left out, and the file is kept as %s", path, len(broken), broken[0], beside)
    kept = [(line, row) for _, line, row in rows if row is not None and (row["stage"] != stage or row["step"] <= after_step)]
    if after_step and not any(row["stage"] == stage for _, row in kept):
        log.warning("%s holds nothing of the first %d steps of %s: their curve is lost; training is not affected", path, after_step, stage)
    whole = "".join(f"{line}\n" for line, _ in kept)
    if whole != text:
        atomic.write_text(path, whole)


def read_rows(path: StrPath) -> tuple[list[dict[str, Any]], int]:
    """The rows of metrics.jsonl and the number of its damaged lines; no rows if there is no file."""
    path = pathlib.Path(path)
    if not path.is_file():
        return [], 0
    rows = [_row(line) for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return [row for row in rows if row is not None], rows.count(None)


def _row(line):
    """A row, or None if it is damaged."""
    try:
        row = json.loads(line)
        numbers = all(value is None or type(value) in (int, float) for key, value in row.items() if key != "stage")
        return row if isinstance(row["stage"], str) and type(row["step"]) is int and numbers else None
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return None
