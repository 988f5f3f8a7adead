"""The terminal during training: one progress bar per stage, or a line in the log every now and then where there is no terminal."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

PAUSE = 15.0  # s between two lines of the log at least
log = logging.getLogger(__name__)


@contextlib.contextmanager
def progress(
    console: Console, stage: str, total: int, first: int, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Yields show(step, values), which moves the bar, and logs the step and the time left.

    Args:
      console: of the user.
      stage: name shown.
      total: steps of the stage.
      first: steps already taken.
      clock: seconds from any start.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TextColumn("{task.fields[speed]:.1f} tiles/s"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    start, logged = clock(), float("-inf")
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(stage, total=total, completed=first, loss=float("nan"), speed=float("nan"))

        def show(step: int, values: Mapping[str, float]) -> None:
            nonlocal logged
            speed, now = values.get("examples_per_second", float("nan")), clock()
            bar.update(task, completed=step, loss=values["loss"], speed=speed)
            log.debug("%s step %d: %s", stage, step, ", ".join(f"{key} {value:.4g}" for key, value in values.items()))
            if step < total and now - logged < PAUSE:
                return
            logged = now
            rate = f", {speed:.1f} tiles/s" if speed == speed else ""
            left = f", {_time((total - step) * (now - start) / (step - first))} left" if first < step < total else ""
            log.info("%s: step %d of %d, loss %.3f%s%s", stage, step, total, values["loss"], rate, left)

        yield show


def _time(seconds: float) -> str:
    """Seconds as "0:40", "12:05" or "3:00:00"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
