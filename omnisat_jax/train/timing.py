"""Where the time of a stage went, and a trace of chosen steps."""

import collections
import contextlib
import pathlib
import time

import jax

from omnisat_jax.errors import UserError


class Ledger:
    """Seconds by cause. Causes do not overlap; what no cause claims is the steps' own."""

    def __init__(self):
        self.seconds = collections.Counter()
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def during(self, cause: str):
        """Counts the body's time."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[cause] += time.perf_counter() - before

    def next_batch(self, batches, pending):
        """The next element of `batches`. Its time counts as waiting for data only if the device had nothing left to do.

        Args:
          pending: metrics of the last step, an array of which tells whether the device is done with it; or None.
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
        """Share of the time of steps and of waiting that went into waiting for data."""
        summary = self.summary()
        training = summary["steps"] + self.seconds["data wait"]
        return self.seconds["data wait"] / training if training > 0 else 0.0


class Profile:
    """A profiler trace of steps start <= step < stop, for TensorBoard or Perfetto.

    Attributes:
      folder: where it goes.
      steps: (start, stop), or None for no trace.
    """

    def __init__(self, folder, steps: tuple[int, int] | None):
        self.folder, self.steps, self._running = pathlib.Path(folder), steps, False

    def at(self, step: int):
        """To be called before every step."""
        if not self.steps:
            return
        if step == self.steps[0]:
            jax.profiler.start_trace(str(self.folder))
            self._running = True
        elif self._running and step >= self.steps[1]:
            self.close()

    def close(self):
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
