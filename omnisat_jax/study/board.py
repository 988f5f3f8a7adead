"""The terminal during a study: which runs are at work, how far each of them is, and how many are left."""

import contextlib
import json
import pathlib
import time

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

TAIL = 4096  # bytes of metrics.jsonl that hold its last lines


class Board:
    """A table of the runs at work, drawn anew each second; threads may use it. Nothing is drawn where there is no terminal."""

    def __init__(self, console, total: int):
        self._console, self._total, self._ended, self._at_work = console, total, 0, {}

    @contextlib.contextmanager
    def shown(self):
        """PretrainDraws the table below what is printed meanwhile."""
        if not self._console.is_terminal:
            yield self
            return
        with Live(self, console=self._console, refresh_per_second=1, transient=True):
            yield self

    @contextlib.contextmanager
    def at_work(self, name: str, folder, settings: dict):
        """Lists a run while it lasts.

        Args:
          folder: of the run, where its metrics.jsonl grows.
          settings: {dotted key: value} of its configuration.
        """
        self._at_work[name] = (pathlib.Path(folder), settings, time.monotonic())
        try:
            yield
        finally:
            del self._at_work[name]

    def ended(self) -> int:
        """Counts one more run as ended; how many are left."""
        self._ended += 1
        return self._total - self._ended

    def __rich__(self):
        counts = Text(f"{self._ended} of {self._total} runs ended, {self._total - self._ended} left")
        table = Table(box=None)
        for column, justify in (("run", "left"), ("at", "left"), ("step", "right"), ("minutes", "right")):
            table.add_column(column, justify=justify, no_wrap=True)
        for name, (folder, settings, since) in list(self._at_work.items()):
            stage, step = _last_step(folder / "metrics.jsonl")
            of = f"{step} / {settings[f'{stage}.steps']}" if stage else ""
            table.add_row(name, stage or "starting", of, f"{(time.monotonic() - since) / 60:.1f}")
        return Group(counts, table) if table.row_count else counts


def _last_step(path):
    """The (stage, step) that a run noted last; ("", 0) before the first."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return "", 0
    for line in reversed(lines):
        # The last line may be half written, the first one cut.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            return entry["stage"], entry["step"]
    return "", 0
