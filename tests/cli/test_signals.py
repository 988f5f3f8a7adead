"""Ctrl-C and SIGTERM end a process with one sentence, whatever it is doing."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from omnisat_jax.cli import signals
from tests.cli.programs import python
from tests.conftest import ROOT


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
    assert (done.returncode, done.stderr) == (130, "stopped: interrupted; run the same command again to resume\n")


def test_the_second_signal_ends_at_once():
    """The handling of the first one never ends."""
    code = """
import os, signal
signals.REPEAT = 0.0
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
    assert (done.returncode, done.stderr) == (130, "stopped: interrupted; run the same command again to resume\n")


def test_handlers_of_libraries_can_be_called():
    """JAX's preemption service replaces the handler in C, where Python does not see it."""
    code = """
import ctypes, os, signal
got = []
theirs = ctypes.CFUNCTYPE(None, ctypes.c_int)(got.append)
library = ctypes.CDLL(None)
library.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
def main():
    with signals.keep_handler(signal.SIGTERM) as call_theirs:
        library.signal(signal.SIGTERM, ctypes.cast(theirs, ctypes.c_void_p))
    with signals.on_termination(call_theirs):
        os.kill(os.getpid(), signal.SIGTERM)
        while not got: pass
    print(got, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in iter(int, 1): pass
sys.exit(run_command(main))
"""
    done = python(code)
    assert (done.returncode, done.stdout) == (75, "[15]\n")
    assert done.stderr == "stopped: terminated (SIGTERM); run the same command again to resume\n"


@pytest.mark.parametrize("module", ["omnisat_jax.report", "data.show"])
def test_signals_are_handled_while_a_command_is_imported(module, tmp_path):
    """The import of NumPy by the command sends the signal."""
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
    assert (done.returncode, done.stderr) == (75, "stopped: terminated (SIGTERM); run the same command again to resume\n")


def test_sigterm_may_be_postponed():
    code = """
import os, signal
def main():
    seen = []
    with signals.on_termination(lambda: seen.append(1)):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    print(len(seen))
sys.exit(run_command(main))
"""
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_libraries_may_handle_sigterm_without_a_command():
    before, seen = signal.getsignal(signal.SIGTERM), []
    with signals.on_termination(lambda: seen.append(1)):
        signal.raise_signal(signal.SIGTERM)
    assert seen == [1] and signal.getsignal(signal.SIGTERM) is before


def test_other_threads_receive_no_signals():
    found = []

    def work():
        with signals.listening() as listener, signals.on_termination(lambda: None):
            listener.end()
            listener.exit(1)
            found.append((listener.received, listener.permanent))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(None, False)]


def test_a_distributed_process_ends_at_once_after_a_failure():
    code = """
import threading
def main():
    signals.exit_at_once(lambda: print("left", flush=True))
    threading.Thread(target=threading.Event().wait).start()  # would keep the process alive
    raise KeyError("x")
sys.exit(run_command(main))
"""
    done = python(code)
    assert (done.returncode, done.stdout) == (1, "left\n")
    assert done.stderr.startswith("error: KeyError")
