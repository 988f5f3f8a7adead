"""Child processes that end together with the command that started them, however it ends."""

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omnisat_jax.cli.signals import GRACE, LIFELINE

PATIENCE = 0.75 * GRACE  # s that a child has to save its state; less than the time that its parent has

_lifeline: tuple[int, int] | None = None
_starting = threading.Lock()


def start(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, pass_fds: Sequence[int] = (), **options: Any
) -> subprocess.Popen:
    """Starts a command of this project in a process group of its own.

    Ctrl-C does not reach the child; its parent ends it. If the parent is killed, the child notices because a pipe that only the parent holds
    open, the lifeline, is closed.

    Args:
      command: the program and its arguments.
      environment: environment variables; None takes those of this process.
      pass_fds: file descriptors that the child inherits.
      options: further options of `subprocess.Popen`.
    """
    global _lifeline
    with _starting:
        if _lifeline is None:
            _lifeline = os.pipe()
    environment = {**(os.environ if environment is None else environment), LIFELINE: str(_lifeline[0])}
    return subprocess.Popen(
        command, env=environment, pass_fds=(*pass_fds, _lifeline[0]), stdin=subprocess.DEVNULL, process_group=0, **options
    )


def run(command: Sequence[str], **options: Any) -> tuple[int, str]:
    """Runs a command, and ends it if this process is interrupted.

    Args:
      command: the program and its arguments.
      options: see `start`.

    Returns:
      The exit code, and what the command wrote to stderr.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as stderr:
        child = start(command, stdout=subprocess.DEVNULL, stderr=stderr, **options)
        try:
            code = child.wait()
        finally:
            end([child])
        stderr.seek(0)
        return code, stderr.read()


def end(children: Iterable[subprocess.Popen]) -> None:
    """Terminates children (SIGTERM), waits while they save their state, and kills those that do not end in time."""
    children = list(children)
    for child in children:
        child.terminate()
    deadline = time.monotonic() + PATIENCE
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, deadline - time.monotonic()))
        child.kill()
