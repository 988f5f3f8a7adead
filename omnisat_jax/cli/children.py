"""Programs that a command starts, and that end with it, however it ends."""

import contextlib
import os
import subprocess
import tempfile
import threading
import time

from omnisat_jax.cli.signals import GRACE, LIFELINE

PATIENCE = 0.75 * GRACE  # s in which a child may save what it has; less than its parent has itself

_lifeline = None
_starting = threading.Lock()


def start(command, *, environment=None, pass_fds=(), **how) -> subprocess.Popen:
    """Starts a command of this project.

    It has no share in Ctrl-C of the terminal: its parent tells it to end. Where the parent is killed, the lifeline says so: a pipe that the parent
    never writes to.

    Args:
      environment: default that of this process.
      pass_fds, how: as of `subprocess.Popen`.
    """
    global _lifeline
    with _starting:
        if _lifeline is None:
            _lifeline = os.pipe()
    environment = (os.environ if environment is None else environment) | {LIFELINE: str(_lifeline[0])}
    return subprocess.Popen(
        command, env=environment, pass_fds=(*pass_fds, _lifeline[0]), stdin=subprocess.DEVNULL, process_group=0, **how
    )


def run(command, **how) -> tuple[int, str]:
    """Starts a command, waits for it and ends it if this process is to end; its exit code and what it said on stderr."""
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        child = start(command, stdout=subprocess.DEVNULL, stderr=said, **how)
        try:
            code = child.wait()
        finally:
            end([child])
        said.seek(0)
        return code, said.read()


def end(children) -> None:
    """Tells children to end (SIGTERM), waits until they have saved what they can, and kills those that do not go."""
    children = list(children)
    for child in children:
        child.terminate()
    deadline = time.monotonic() + PATIENCE
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, deadline - time.monotonic()))
        child.kill()
