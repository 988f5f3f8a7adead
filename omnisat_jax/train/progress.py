"""The terminal during training: one progress bar per stage, or lines in the log where there is no terminal."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)


@contextlib.contextmanager
def progress(console: Console, stage: str, total: int, first: int) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Yields show(step, values), which moves the bar and logs the values.

    Args:
      console: of the user.
      stage: name shown.
      total: steps of the stage.
      first: steps already taken.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}"),
        TextColumn("{task.fields[speed]:.1f} tiles/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(stage, total=total, completed=first, loss=float("nan"), speed=float("nan"))

        def show(step: int, values: Mapping[str, float]) -> None:
            speed = values.get("examples_per_second", float("nan"))
            bar.update(task, completed=step, loss=values["loss"], speed=speed)
            log.info("%s step %d: %s", stage, step, ", ".join(f"{key} {value:.4g}" for key, value in values.items()))

        yield show
