"""The progress bar of the commands."""

from rich import progress
from rich.console import Console


def progress_bar(console: Console) -> progress.Progress:
    """A bar with a count and the remaining time; shows nothing where there is no terminal."""
    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
