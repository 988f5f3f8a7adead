"""How commands end: the exit code, and one line on stderr."""

import errno
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from omnisat_jax.cli import signals
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import DataError, UserError
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
        (OSError(errno.ENOSPC, "No space left"), 1, "error: the disk is full; make room, and the same command goes on from what is saved"),
        (RuntimeError("RESOURCE_EXHAUSTED: a file: No space left on device [x]"), 1, "error: no space left on device (RESOURCE_EXHAUSTED: a file"),
        (MemoryError(), 1, "error: not enough memory (MemoryError); use smaller"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying\nto"), 1, "error: not enough memory (RESOURCE_EXHAUSTED: Out of"),
        (caused(KeyError("x"), UserError("the cause")), 1, "error: the cause"),
        (caused(OSError(errno.EFBIG, "File too large"), caused(RuntimeError("x"), UserError("the checkpoint"))), 1, "error: the checkpoint"),
        (caused(KeyError("x"), FileNotFoundError(errno.ENOENT, "", "/a")), 1, "error: /a: no such file or folder"),
        (KeyboardInterrupt(), 130, "stopped: interrupted; the same command goes on"),
        (signals.Terminated(), 75, "stopped: told to end (SIGTERM); the same command"),
        (signals.Terminated("told to end after step 3"), 75, "stopped: told to end after step 3"),
        (SystemExit("error in words"), 1, "error: error in words"),
        (ZeroDivisionError("division by zero"), 1, "error: ZeroDivisionError: division by zero. This is a fault of the program; its traceback"),
        (RecursionError("maximum"), 1, "error: RecursionError: maximum. This is a fault"),
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


def test_a_fault_keeps_its_traceback(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run_command(raising(KeyError("nobody expected this")))
    kept = pathlib.Path(re.search(r"its traceback is in (\S+)", capsys.readouterr().err)[1])
    assert kept.parent == tmp_path and "in main" in kept.read_text() and "nobody expected this" in kept.read_text()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    run_command(raising(KeyError("again")))
    assert "no file, as none can be written; OMNISAT_DEBUG=1 shows it" in capsys.readouterr().err


def test_debugging_shows_tracebacks(capsys, monkeypatch):
    monkeypatch.setenv("OMNISAT_DEBUG", "1")
    assert run_command(raising(UserError("x"))) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback") and err.endswith("error: x\n")


def test_handlers_are_put_back():
    import signal
    import threading

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), threading.excepthook, sys.unraisablehook
    inside = []
    run_command(lambda: inside.append(signal.getsignal(signal.SIGINT)))
    assert inside[0] is not before[0]
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), threading.excepthook, sys.unraisablehook)


def python(code, **how):
    head = "import sys\nfrom omnisat_jax import signals\nfrom omnisat_jax.cli.command import run_command\nsignals.listen()\n"
    how = {"capture_output": True, "text": True} | how
    return subprocess.run([sys.executable, "-c", head + code], cwd=ROOT, **how)


def test_threads_that_fail_say_so_once():
    """As the writers of a library do on a full disk."""
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
    assert done.stderr == "warning: the disk is full; make room, and the same command goes on from what is saved (20 times)\n"
    done = python(code + "sys.argv.append('fail')\nsys.exit(run_command(main))")
    assert done.returncode == 1
    assert done.stderr == "error: the disk is full; make room, and the same command goes on from what is saved\n"


def test_what_cannot_be_printed_ends_in_one_line():
    with open("/dev/full", "w") as full:
        done = python("sys.exit(run_command(lambda: print('x' * 10)))", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "error: the disk is full; make room, and the same command goes on from what is saved\n"


def test_names_that_the_terminal_cannot_show_are_written_out():
    done = python("sys.exit(run_command(lambda: print('a\\udcffb\\u00b2')))", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\\udcffb\\xb2\n", "")


def test_a_signal_that_a_library_turns_into_an_error_is_still_a_signal():
    code = """
import os, signal
def main():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in iter(int, 1): pass
    except BaseException:
        raise RuntimeError("INTERNAL: callback failed")
sys.exit(run_command(main))
"""
    done = python(code)
    assert (done.returncode, done.stderr) == (130, "stopped: interrupted; the same command goes on from what is saved\n")


def test_the_second_signal_ends_at_once():
    """The first one is being dealt with, which takes for ever."""
    code = """
import os, signal
signals.AGAIN = 0.0
def main():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in iter(int, 1): pass
    finally:
        signal.signal(signal.SIGINT, lambda *_: None)  # as if nothing in Python could react any more
        while True:
            os.kill(os.getpid(), signal.SIGINT)
sys.exit(run_command(main))
"""
    done = python(code)
    assert (done.returncode, done.stderr) == (130, "stopped: interrupted; the same command goes on from what is saved\n")


def test_a_handler_of_a_library_gets_what_we_hand_on():
    """As JAX's preemption service: it replaces the handler in C, where Python does not see it."""
    code = """
import ctypes, os, signal
got = []
theirs = ctypes.CFUNCTYPE(None, ctypes.c_int)(got.append)
library = ctypes.CDLL(None)
library.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
def main():
    with signals.handler_kept(signal.SIGTERM) as tell:
        library.signal(signal.SIGTERM, ctypes.cast(theirs, ctypes.c_void_p))
    with signals.on_termination(tell):
        os.kill(os.getpid(), signal.SIGTERM)
        while not got: pass
    print(got, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in iter(int, 1): pass
sys.exit(run_command(main))
"""
    done = python(code)
    assert (done.returncode, done.stdout) == (75, "[15]\n")
    assert done.stderr == "stopped: told to end (SIGTERM); the same command goes on from what is saved\n"


def test_every_command_ends_the_same_way():
    """No main of its own way; and none is left out."""
    found = []
    for path in sorted([ROOT / "launch.py", *(p for folder in ("omnisat_jax", "data", "benchmarks") for p in (ROOT / folder).rglob("*.py"))]):
        text = path.read_text()
        if '\nif __name__ == "__main__":' in text:
            found.append(path.name)
            assert "sys.exit(run_command(" in text.split('\nif __name__ == "__main__":')[1], path
    assert len(found) >= 14 and {"launch.py", "prepare.py", "verify.py", "cut.py", "show.py", "__main__.py", "convert.py"} <= set(found)


@pytest.mark.parametrize("module", ["omnisat_jax.report", "data.show"])
def test_signals_are_heard_while_a_command_is_imported(module, tmp_path):
    """The first import of the command's own file sends the signal."""
    (tmp_path / "sitecustomize.py").write_text("""
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Finder())
""")
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (75, "stopped: told to end (SIGTERM); the same command goes on from what is saved\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(", "line 1: '(' was never closed"),
        ("x = 1", "expected a function get_config(), found none"),
        ("import nothing_of_this_name", "line 1: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("def get_config():\n    return {}['a']", "line 2: KeyError: 'a'"),
        ("def get_config():\n    raise SystemExit(3)", "line 2: SystemExit: 3"),
        ("def get_config():\n    return get_config()", "RecursionError"),
        ("def get_config():\n    return None", "expected get_config() to return a ConfigDict, found NoneType"),
        ("def get_config(a, b):\n    return None", "TypeError: get_config() missing 2 required"),
        ("raise ValueError('line one\\nline two')", "line 1: ValueError: line one"),
        ("\x00", "null bytes"),
        ("get_config = 3", "expected a function get_config(), found none"),
        ("def get_config():\n    return open('/nowhere/at/all')", "FileNotFoundError: [Errno 2]"),
    ],
)
def test_a_configuration_file_may_do_anything(text, message, tmp_path):
    from omnisat_jax.config import files as config_files

    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match="^--config: ") as raised:
        config_files.load(str(path), "--config")
    assert message in str(raised.value) and "mine.py" in str(raised.value) and "\n" not in str(raised.value)
    json.dumps(str(raised.value))


def test_a_configuration_file_that_is_none(tmp_path):
    from omnisat_jax.config import files as config_files

    os.mkfifo(tmp_path / "pipe.py")
    for name, message in (("", "found no name"), (".", "found a folder"), ("pipe.py", "not a regular file"), ("no.py", "No such file"), ("a\0b", "no name")):
        path = str(tmp_path / name) if name not in ("", "a\0b") else name
        with pytest.raises(UserError, match=message):
            config_files.load(path, "--config")
    (tmp_path / "latin.py").write_bytes("x = 'é'".encode("latin-1"))
    with pytest.raises(UserError, match="latin.py.*utf-8"):
        config_files.load(str(tmp_path / "latin.py"), "--config")
