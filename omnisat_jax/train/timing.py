"""Where the time of a stage goes, and a profiler trace of chosen steps."""

import collections
import contextlib
import pathlib
import time
from collections.abc import Iterator
from typing import TypeVar

import jax

from omnisat_jax.errors import UserError
from omnisat_jax.types import PyTree, StrPath

Element = TypeVar("Element")


class Ledger:
    """Seconds by cause. Causes do not overlap; what no cause claims is time of the steps themselves.

    Attributes:
      seconds: {cause: seconds}.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = collections.defaultdict(float)
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def during(self, cause: str) -> Iterator[None]:
        """Counts the time of the body."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[cause] += time.perf_counter() - before

    def next_batch(self, batches: Iterator[Element], pending: PyTree) -> Element:
        """The next element of `batches`. Its time counts as waiting for data only if the device has nothing left to do.

        Args:
          batches: what is read.
          pending: metrics of the last step, which show whether the device is done with it; or None.
        """
        idle = pending is None or all(x.is_ready() for x in jax.tree.leaves(pending) if hasattr(x, "is_ready"))
        with self.during("data wait") if idle else contextlib.nullcontext():
            return next(batches)

    def summary(self) -> dict[str, float]:
        """Seconds by cause, "steps" being the rest, and "total"."""
        total = time.perf_counter() - self._start
        claimed = sum(self.seconds.values())
        return {cause: round(seconds, 3) for cause, seconds in self.seconds.items()} | {
            "steps": round(total - claimed, 3),
            "total": round(total, 3),
        }

    def waiting(self) -> float:
        """The share of waiting for data in the time of waiting and of steps."""
        waited = self.seconds.get("data wait", 0.0)
        training = self.summary()["steps"] + waited
        return waited / training if training > 0 else 0.0


class Profile:
    """A profiler trace of steps start <= step < stop, for TensorBoard or Perfetto.

    Attributes:
      folder: where it is written.
      steps: (start, stop), or None for no trace.
    """

    def __init__(self, folder: StrPath, steps: tuple[int, int] | None):
        self.folder, self.steps, self._running = pathlib.Path(folder), steps, False

    def at(self, step: int) -> None:
        """Starts or ends the trace. Must be called before every step."""
        if not self.steps:
            return
        if step == self.steps[0]:
            jax.profiler.start_trace(str(self.folder))
            self._running = True
        elif self._running and step >= self.steps[1]:
            self.close()

    def close(self) -> None:
        """Ends a trace that is still running."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False


def parse_profile(text: str) -> tuple[int, int] | None:
    """(start, stop) of "start:stop"; None of "".

    Raises:
      UserError: another form.
    """
    if not text:
        return None
    start, colon, stop = text.partition(":")
    if not (colon and start.isdigit() and stop.isdigit() and 1 <= int(start) < int(stop)):
        raise UserError(f"--profile: expected START:STOP with steps 1 <= START < STOP, found {text!r}")
    return int(start), int(stop)
