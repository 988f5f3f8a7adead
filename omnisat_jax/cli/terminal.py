"""Output to the terminal. Text from files is shown literally, never interpreted."""

import logging
import os
import sys
from typing import Any

from rich.console import Console
from rich.segment import Segment

from omnisat_jax.cli.signals import DEBUG
from omnisat_jax.errors import printable, reason


class _Plain(Console):
    """A console that interprets nothing inside a text: no [markup], no :emoji:, no escape sequences. Colors are set with `style=`."""

    def _render_buffer(self, buffer):
        return super()._render_buffer(
            segment if segment.control else Segment(printable(segment.text, None), segment.style) for segment in buffer
        )


def console(**options: Any) -> Console:
    """Returns the console of a command, which prints to stdout.

    Args:
      options: options of `rich.console.Console`.
    """
    return _Plain(**{"file": sys.stdout, "markup": False, "emoji": False, "highlight": False} | options)


class _OneLine(logging.Formatter):
    """Formats every record as one line, without tracebacks."""

    def formatException(self, ei: Any) -> str:
        return reason(ei[1]) if ei[1] else ""

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None
        return " ".join(printable(super().format(record), None).split("\n")) if record.exc_info else printable(super().format(record), None)


def set_up_logging(console: Console) -> None:
    """Configures logging: warnings only if the console shows progress bars, else progress as log lines; everything if debugging."""
    debug = bool(os.environ.get(DEBUG))
    quiet = console.is_terminal or console.quiet
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter((logging.Formatter if debug else _OneLine)("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("omnisat_jax").setLevel(logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO)
    logging.captureWarnings(True)
