"""How commands end: with an exit code, and one line on stderr if they fail."""

import errno
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading

import pytest

from omnisat_jax.cli import signals
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import DataError, UserError
from tests.cli.programs import python
from tests.conftest import ROOT


def raising(error):
    def main():
        raise error

    return main


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("a.npy: expected 3, found 4."), 1, "error: a.npy: expected 3, found 4."),
        (UserError("a\x1b[2Jb\ud800"), 1, r"error: a\x1b[2Jb\ud800"),
        (DataError(tile="7", path="x", expected="a", found="b"), 1, "error: tile 7: x: expected a, found b."),
        (PermissionError(errno.EACCES, "Permission denied", "/there"), 1, "error: /there: permission denied"),
        (UserError("a.json: cannot be written (the disk is full)"), 1, "error: a.json: cannot be written (the disk is full); free some space, then run the same command again to resume"),
        (UserError("a: the disk is full: start the same command again"), 1, "error: a: the disk is full: start the same command again"),
        (UserError("a: cannot be written (the disk is full); free some space"), 1, "error: a: cannot be written (the disk is full); free some space"),
        (OSError(errno.ENOSPC, "No space left"), 1, "error: the disk is full; free some space, then run the same command again to resume"),
        (RuntimeError("RESOURCE_EXHAUSTED: a file: No space left on device [x]"), 1, "error: no space left on device (RESOURCE_EXHAUSTED: a file"),
        (MemoryError(), 1, "error: not enough memory (MemoryError); use smaller"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying\nto"), 1, "error: not enough memory (RESOURCE_EXHAUSTED: Out of"),
        (caused(KeyError("x"), UserError("the cause")), 1, "error: the cause"),
        (caused(OSError(errno.EFBIG, "File too large"), caused(RuntimeError("x"), UserError("the checkpoint"))), 1, "error: the checkpoint"),
        (caused(KeyError("x"), FileNotFoundError(errno.ENOENT, "", "/a")), 1, "error: /a: no such file or folder"),
        (KeyboardInterrupt(), 130, "stopped: interrupted; run the same command"),
        (signals.Terminated(), 75, "stopped: terminated (SIGTERM); run the same command"),
        (signals.Terminated("told to end after step 3"), 75, "stopped: told to end after step 3"),
        (SystemExit("error in words"), 1, "error: error in words"),
        (ZeroDivisionError("division by zero"), 1, "error: ZeroDivisionError: division by zero. This is a bug in omnisat_jax; its traceback"),
        (RecursionError("maximum"), 1, "error: RecursionError: maximum. This is a bug"),
    ],
)  # fmt: skip
def test_every_failure_is_one_line(error, code, line, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run_command(raising(error)) == code
    out, err = capsys.readouterr()
    assert err.startswith(line) and err.count("\n") == 1 and not out


@pytest.mark.parametrize("code", [0, 1, 2, None])
def test_exit_codes_are_passed_on(code, capsys):
    assert run_command(lambda: code) == (code or 0) == run_command(raising(SystemExit(code)))
    assert capsys.readouterr() == ("", "")


def test_the_traceback_of_a_bug_is_kept(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run_command(raising(KeyError("nobody expected this")))
    kept = pathlib.Path(re.search(r"its traceback is in (\S+)", capsys.readouterr().err)[1])
    assert kept.parent == tmp_path and "in main" in kept.read_text() and "nobody expected this" in kept.read_text()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    run_command(raising(KeyError("again")))
    assert "no file, as none can be written; set OMNISAT_DEBUG=1 to see it" in capsys.readouterr().err


def test_debugging_shows_tracebacks(capsys, monkeypatch):
    monkeypatch.setenv("OMNISAT_DEBUG", "1")
    assert run_command(raising(UserError("x"))) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and err.endswith("error: x\n")


def test_handlers_are_restored():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), threading.excepthook, sys.unraisablehook
    inside = []
    run_command(lambda: inside.append(signal.getsignal(signal.SIGINT)))
    assert inside[0] is not before[0]
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), threading.excepthook, sys.unraisablehook)


def test_failures_of_threads_are_reported_once():
    """Like those of the writers of a library on a full disk."""
    code = """
import errno, threading
def fail(): raise OSError(errno.ENOSPC, "No space left")
def main():
    for thread in [threading.Thread(target=fail) for _ in range(20)]:
        thread.start()
        thread.join()
    if sys.argv[1:]: raise OSError(errno.ENOSPC, "No space left")
"""
    done = python(code + "sys.exit(run_command(main))")
    assert done.returncode == 0
    assert done.stderr == "warning: the disk is full; free some space, then run the same command again to resume (20 times)\n"
    done = python(code + "sys.argv.append('fail')\nsys.exit(run_command(main))")
    assert done.returncode == 1
    assert done.stderr == "error: the disk is full; free some space, then run the same command again to resume\n"


def test_unwritable_output_ends_in_one_line():
    with open("/dev/full", "w") as full:
        done = python("sys.exit(run_command(lambda: print('x' * 10)))", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "error: the disk is full; free some space, then run the same command again to resume\n"


def test_characters_that_the_terminal_cannot_show_are_escaped():
    done = python("sys.exit(run_command(lambda: print('a\\udcffb\\u00b2')))", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\\udcffb\\xb2\n", "")


def test_every_command_ends_the_same_way():
    found = []
    for path in sorted([ROOT / "launch.py", *(p for folder in ("omnisat_jax", "data", "benchmarks") for p in (ROOT / folder).rglob("*.py"))]):
        text = path.read_text()
        if '\nif __name__ == "__main__":' in text:
            found.append(path.name)
            assert "sys.exit(run_command(" in text.split('\nif __name__ == "__main__":')[1], path
    assert len(found) >= 14 and {"launch.py", "prepare.py", "verify.py", "cut.py", "show.py", "__main__.py", "convert.py"} <= set(found)
