"""The terminal during training: one progress line a stage; quiet lines in the log when it is not a terminal."""

import contextlib
import logging

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)


@contextlib.contextmanager
def progress(console, stage: str, total: int, first: int):
    """Yields show(step, values): updates the bar, or logs a line where there is no terminal."""
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

        def show(step, values):
            speed = values.get("examples_per_second", float("nan"))
            bar.update(task, completed=step, loss=values["loss"], speed=speed)
            log.info("%s step %d: %s", stage, step, ", ".join(f"{key} {value:.4g}" for key, value in values.items()))

        yield show
