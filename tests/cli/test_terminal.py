"""Text is shown literally on the terminal, and log records are one line."""

import io
import logging
import sys

import pytest

from omnisat_jax.cli import terminal


def shown(text, **options):
    out = io.StringIO()
    terminal.console(file=out, width=80, **options).print(text)
    return out.getvalue()


@pytest.mark.parametrize("text", ["[bold]x[/bold]", ":smile:", "[/]", "[link=http://x]y[/link]"])
def test_markup_is_not_interpreted(text):
    assert shown(text) == f"{text}\n" == shown(text, force_terminal=True)


def test_escape_sequences_are_escaped():
    assert shown("a\x1b[31mb", force_terminal=True) == "a\\x1b[31mb\n"


@pytest.fixture
def restored():
    root, package = logging.getLogger(), logging.getLogger("omnisat_jax")
    handlers, levels = root.handlers[:], (root.level, package.level)
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    package.setLevel(levels[1])


def test_log_records_are_one_line(restored, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.delenv("OMNISAT_DEBUG", raising=False)
    terminal.set_up_logging(terminal.console(file=io.StringIO(), force_terminal=False))
    try:
        raise ValueError("bad\nmore")
    except ValueError:
        logging.getLogger("omnisat_jax.x").info("it \x1b[0m failed", exc_info=True)
    logging.getLogger("another").info("not shown")
    lines = out.getvalue().splitlines()
    assert len(lines) == 1 and lines[0].endswith("it \\x1b[0m failed bad")


@pytest.mark.parametrize(("bars", "debug", "level"), [(True, "", "WARNING"), (False, "", "INFO"), (True, "1", "DEBUG")])
def test_progress_is_logged_where_no_bars_are_shown(restored, monkeypatch, bars, debug, level):
    monkeypatch.setenv("OMNISAT_DEBUG", debug)
    terminal.set_up_logging(terminal.console(file=io.StringIO(), force_terminal=bars))
    assert logging.getLevelName(logging.getLogger("omnisat_jax").level) == level
