"""The terminal during a study: which runs are active, how far each of them is, and how many are left."""

import contextlib
import json
import pathlib
import time
from collections.abc import Iterator, Mapping

from rich.console import Console, Group as Stack, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

TAIL = 4096  # bytes of metrics.jsonl that hold its last lines


class Board:
    """A table of the active runs, redrawn every second. Threads may share it. Without a terminal nothing is drawn."""

    def __init__(self, console: Console, total: int):
        """total: runs that are going to end."""
        self._console, self._total, self._ended = console, total, 0
        self._active: dict[str, tuple[pathlib.Path, Mapping[str, object], float]] = {}

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        """Draws the table below everything that is printed in the body."""
        if not self._console.is_terminal:
            yield
            return
        with Live(self, console=self._console, refresh_per_second=1, transient=True):
            yield

    @contextlib.contextmanager
    def active(self, name: str, folder: StrPath, flat_config: Mapping[str, object]) -> Iterator[None]:
        """Lists a run while the body runs.

        Args:
          name: of the run.
          folder: of the run, which holds its metrics.jsonl.
          flat_config: {dotted key: value} of its configuration.
        """
        self._active[name] = (pathlib.Path(folder), flat_config, time.monotonic())
        try:
            yield
        finally:
            del self._active[name]

    def ended(self) -> int:
        """Counts one more run as ended, and returns how many are left."""
        self._ended += 1
        return self._total - self._ended

    def __rich__(self) -> RenderableType:
        counts = Text(f"{self._ended} of {number_of(self._total, 'run')} ended, {self._total - self._ended} left")
        table = Table(box=None)
        table.add_column("run", no_wrap=True)
        table.add_column("stage", no_wrap=True)
        table.add_column("step", justify="right", no_wrap=True)
        table.add_column("minutes", justify="right", no_wrap=True)
        for name, (folder, flat_config, since) in list(self._active.items()):
            stage, step = _last_step(folder / "metrics.jsonl")
            progress = f"{step} / {flat_config[f'{stage}.steps']}" if stage else ""
            table.add_row(name, stage or "starting", progress, f"{(time.monotonic() - since) / 60:.1f}")
        return Stack(counts, table) if table.row_count else counts


def _last_step(path):
    """(stage, step) of the last row of metrics.jsonl; ("", 0) before the first."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return "", 0
    for line in reversed(lines):
        # The last line may still be incomplete, and the first one cut off.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            return entry["stage"], entry["step"]
    return "", 0
