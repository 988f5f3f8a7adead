"""Where numbers go: metrics.jsonl and TensorBoard events, on process 0."""

import contextlib
import itertools
import json
import logging
import math
import os
import pathlib
import time

from omnisat_jax.errors import UserError, system_reason
from omnisat_jax.files import atomic
from omnisat_jax.parallel.hosts import is_leader

log = logging.getLogger(__name__)

class MetricsWriter:
    """Appends scalars of one stage; a resumed run continues the file without repeated steps. Other processes than 0 write nothing."""

    def __init__(self, workdir, stage: str, *, after_step: int):
        """Keeps what was written up to `after_step` of this stage and drops what a killed run wrote beyond it.

        Raises:
          UserError: the files cannot be written, here and below.
        """
        self._stage, self._file, self._board = stage, None, None
        if not is_leader():
            return
        self._path = pathlib.Path(workdir) / "metrics.jsonl"
        _cut(self._path, stage, after_step)
        with _said(self._path):
            self._file = self._path.open("a")
            self._board = _Board(self._path.parent / "tensorboard" / stage, after_step)

    def write(self, step: int, values: dict):
        """One line: {"stage", "step", **values}; a number that is not finite is written as null."""
        if not self._file:
            return
        clean = {key: value if math.isfinite(value) else None for key, value in values.items()}
        with _said(self._path):
            self._file.write(json.dumps({"stage": self._stage, "step": step, **clean}) + "\n")
            self._file.flush()
            self._board.write(step, values)

    def sync(self):
        """Until all that was written is on the disk: a checkpoint must not outlive the curve that leads to it."""
        if self._file:
            with _said(self._path):
                os.fsync(self._file.fileno())
                self._board.sync()

    def close(self):
        """Closes both; what could not be written was said before."""
        with contextlib.suppress(OSError):
            if self._file:
                self._file.close()
        with contextlib.suppress(OSError):
            if self._board:
                self._board.close()


class _Board:
    """A TensorBoard event file, written by the caller's own thread: that of SummaryWriter has nobody to tell that a disk is full."""

    def __init__(self, folder, purge_step):
        # Here: they import PyTorch wherever that is installed, which only a run that writes should pay for.
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.summary import scalar

        folder.mkdir(parents=True, exist_ok=True)
        self._event, self._scalar = Event, scalar
        self._events = EventsWriter(str(folder / "events"))
        # What an earlier start wrote from here on is not shown.
        for about in ({"file_version": "brain.Event:2"}, {"session_log": SessionLog(status=SessionLog.START)}):
            self._events.write_event(Event(step=purge_step, wall_time=time.time(), **about))

    def write(self, step, values):
        now = time.time()
        for key, value in values.items():
            self._events.write_event(self._event(step=step, wall_time=now, summary=self._scalar(key, value)))

    def sync(self):
        self._events.flush()

    def close(self):
        self._events.close()


@contextlib.contextmanager
def _said(path):
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: the curve cannot be written ({system_reason(error)}). See to the disk and start the same command again") from error


def _cut(path, stage, after_step):
    """Drops rows of a stage beyond a step. The file is replaced as a whole or not at all; one with damaged rows is kept beside it."""
    text = ""
    try:
        text = path.read_text(errors="replace")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({system_reason(error)})") from error
    *lines, last = text.split("\n")  # what follows the last end of line was being written by a start that was killed
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


def read_rows(path) -> tuple[list[dict], int]:
    """The rows of metrics.jsonl, and how many of its lines are none; no file is no row."""
    path = pathlib.Path(path)
    if not path.is_file():
        return [], 0
    rows = [_row(line) for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return [row for row in rows if row is not None], rows.count(None)


def _row(line):
    """A row, or None of one that is damaged."""
    try:
        row = json.loads(line)
        numbers = all(value is None or type(value) in (int, float) for key, value in row.items() if key != "stage")
        return row if isinstance(row["stage"], str) and type(row["step"]) is int and numbers else None
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return None
