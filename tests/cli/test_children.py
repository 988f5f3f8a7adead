"""Child processes end with the process that started them."""

import os
import signal
import subprocess
import sys

import pytest

from omnisat_jax.cli import children
from tests.conftest import ROOT

SLEEP = "import time\nprint('ready', flush=True)\ntime.sleep(600)"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP


def started(code):
    child = children.start([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    return child


def test_a_command_is_run_to_its_end():
    assert children.run([sys.executable, "-c", "import sys; sys.stderr.write('why'); sys.exit(3)"]) == (3, "why")


def test_the_environment_may_be_replaced():
    code = "import os, sys; sys.exit(0 if os.environ.get('A') == 'b' and 'HOME' not in os.environ else 1)"
    environment = {key: value for key, value in os.environ.items() if key != "HOME"} | {"A": "b"}
    assert children.run([sys.executable, "-c", code], environment=environment)[0] == 0


def test_children_are_terminated_and_then_killed(monkeypatch):
    monkeypatch.setattr(children, "PATIENCE", 0.5)
    obedient, stubborn = started(SLEEP), started(STUBBORN)
    children.end([obedient, stubborn])
    assert obedient.wait() == -signal.SIGTERM and stubborn.wait() == -signal.SIGKILL
    children.end([obedient])  # one that has already ended


def test_an_interrupted_command_ends_its_child(monkeypatch):
    begun, start = [], children.start

    def start_and_interrupt(*arguments, **options):
        begun.append(start(*arguments, **options))
        wait = begun[0].wait

        def interrupted(timeout=None):
            begun[0].wait = wait
            raise KeyboardInterrupt

        begun[0].wait = interrupted
        return begun[0]

    monkeypatch.setattr(children, "start", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        children.run([sys.executable, "-c", "import time; time.sleep(600)"])
    assert begun[0].wait() == -signal.SIGTERM


PARENT = """
import os, signal, sys
from omnisat_jax.cli import children
children.start([sys.executable, "-c", sys.argv[1]], stdout=sys.stdout, stderr=sys.stderr)
os.read(0, 1)
os.kill(os.getpid(), signal.SIGKILL)
"""
CHILD = """
import sys, threading
from omnisat_jax.cli import signals
from omnisat_jax.cli.command import run_command
signals.listen()
def main():
    print("ready", flush=True)
    threading.Event().wait()
sys.exit(run_command(main))
"""


def test_a_child_ends_when_its_parent_is_killed():
    read, write = os.pipe()
    with open(read) as output:
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, CHILD], stdin=subprocess.PIPE, stdout=write, stderr=write, text=True, cwd=ROOT
        )
        os.close(write)
        assert output.readline() == "ready\n"
        parent.communicate("x")
        # The pipe ends once the child has ended as well.
        assert output.read() == "stopped: terminated (SIGTERM); run the same command again to resume\n"
    assert parent.returncode == -signal.SIGKILL
