"""Where numbers go: metrics.jsonl and TensorBoard events, on process 0."""

import itertools
import json
import logging
import math
import os
import pathlib

from omnisat_jax.errors import UserError, system_reason
from omnisat_jax.files import atomic
from omnisat_jax.parallel.hosts import is_leader

log = logging.getLogger(__name__)

class MetricsWriter:
    """Appends scalars of one stage; a resumed run continues the file without repeated steps. Other processes than 0 write nothing."""

    def __init__(self, workdir, stage: str, *, after_step: int):
        """Keeps what was written up to `after_step` of this stage and drops what a killed run wrote beyond it."""
        self._stage, self._file, self._board = stage, None, None
        if not is_leader():
            return
        path = pathlib.Path(workdir) / "metrics.jsonl"
        _cut(path, stage, after_step)
        import tensorboardX  # here: it imports PyTorch wherever that is installed, which only a run that writes should pay for

        self._file = path.open("a")
        self._board = tensorboardX.SummaryWriter(str(pathlib.Path(workdir) / "tensorboard" / stage), purge_step=after_step)

    def write(self, step: int, values: dict):
        """One line: {"stage", "step", **values}; a number that is not finite is written as null."""
        if not self._file:
            return
        clean = {key: value if math.isfinite(value) else None for key, value in values.items()}
        self._file.write(json.dumps({"stage": self._stage, "step": step, **clean}) + "\n")
        self._file.flush()
        for key, value in values.items():
            self._board.add_scalar(key, value, step)

    def sync(self):
        """Until all that was written is on the disk: a checkpoint must not outlive the curve that leads to it."""
        if self._file:
            os.fsync(self._file.fileno())

    def close(self):
        """Flushes and closes both."""
        if self._file:
            self._file.close()
            self._board.close()


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


def _row(line):
    """A row, or None of one that is damaged."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(row, dict) and isinstance(row.get("stage"), str) and type(row.get("step")) is int
    return row if whole else None
