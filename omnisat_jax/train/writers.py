"""Where numbers go: metrics.jsonl and TensorBoard events, on process 0."""

import json
import math
import pathlib

from omnisat_jax.parallel.hosts import is_leader


class MetricsWriter:
    """Appends scalars of one stage; a resumed run continues the file without repeated steps. Other processes than 0 write nothing."""

    def __init__(self, workdir, stage: str, *, after_step: int):
        """Keeps what was written up to `after_step` of this stage and drops what a killed run wrote beyond it."""
        self._stage, self._file, self._board = stage, None, None
        if not is_leader():
            return
        path = pathlib.Path(workdir) / "metrics.jsonl"
        if path.exists():
            rows = [line for line in path.read_text().splitlines() if _complete(line)]
            kept = [line for line in rows if (row := json.loads(line))["stage"] != stage or row["step"] <= after_step]
            path.write_text("".join(line + "\n" for line in kept))
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

    def close(self):
        """Flushes and closes both."""
        if self._file:
            self._file.close()
            self._board.close()


def _complete(line):
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
