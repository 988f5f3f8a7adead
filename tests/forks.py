"""Processes that need no time to import anything: they are forked from one that has imported what a command needs, and has done nothing else.

Each is a process of its own, with its own signals, pipes and exit code. What a test says about imports themselves needs a new interpreter instead.
"""

import array
import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading

from tests.conftest import COLLECT, ROOT

# What launch.py, data/prepare.py and omnisat_jax/predict import before or while they run. Nothing here may start a thread or ask for devices.
MODULES = (
    "launch", "absl.app", "ml_collections.config_flags", "data.prepare", "data.pastis", "omnisat_jax.experiment.cross_validation",
    "omnisat_jax.study.runner", "omnisat_jax.predict.command", "tensorboardX", "tree", "rich._emoji_codes",
)  # fmt: skip
LARGEST = 2**20  # bytes of a request


class Fork:
    """A running process, with the methods of `subprocess.Popen` that tests use.

    Attributes:
      pid: of the process.
      stdout, stderr: text files of what it writes; stderr is None where both are one.
      returncode: None until `communicate` has returned.
    """

    def __init__(self, source: str, *, cwd=ROOT, env=None, stderr: int = subprocess.PIPE, process_group: bool = False):
        """Starts a process.

        Args:
          source: Python that it runs as `python -c` would.
          cwd: its working directory.
          env: its environment, by default that of this process.
          stderr: subprocess.PIPE, or subprocess.STDOUT for the pipe of stdout.
          process_group: whether it gets a process group of its own.
        """
        request = {"source": source, "cwd": str(cwd), "environment": dict(os.environ if env is None else env), "group": process_group}
        out, err, status = os.pipe(), os.pipe() if stderr == subprocess.PIPE else None, os.pipe()
        written = [out[1], (err or out)[1], status[1]]
        try:
            _ask(json.dumps(request).encode(), written)
        finally:
            for descriptor in {*written}:
                os.close(descriptor)
        self.stdout = os.fdopen(out[0])
        self.stderr = os.fdopen(err[0]) if err else None
        self._status = status[0]
        self.returncode = None
        self.pid = self._number()

    def communicate(self, timeout: float = 600) -> tuple[str, str | None]:
        """Reads both pipes to their end and waits for the process; returns what it wrote.

        Raises:
          subprocess.TimeoutExpired: it is killed.
        """
        late = threading.Event()

        def kill():
            late.set()
            self._signal_all()

        watch = threading.Timer(timeout, kill)
        watch.start()
        try:
            found = {}
            reader = threading.Thread(target=lambda: found.update(err=self.stderr.read() if self.stderr else None))
            reader.start()
            out = self.stdout.read()
            reader.join()
            if self.poll() is None:
                self.returncode = self._number()
        finally:
            watch.cancel()
        if late.is_set():
            raise subprocess.TimeoutExpired("a forked process", timeout, out, found["err"])
        return out, found["err"]

    def poll(self, seconds: float = 0.0) -> int | None:
        """The exit code; None if the process still runs after so many seconds."""
        if self.returncode is None and select.select([self._status], [], [], seconds)[0]:
            self.returncode = self._number()
        return self.returncode

    def _number(self) -> int:
        """The next line that the keeper of the process writes."""
        text = b""
        while not text.endswith(b"\n"):
            found = os.read(self._status, 1)
            assert found, "the process that is forked from has ended"
            text += found
        return int(text)

    def send_signal(self, number: int) -> None:
        """As of `subprocess.Popen`."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """As of `subprocess.Popen`."""
        self.send_signal(signal.SIGKILL)

    def _signal_all(self):
        with contextlib.suppress(OSError):  # not every process leads a group
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, signal.SIGKILL)
        self.kill()


def run(source: str, timeout: float = 600, **options) -> subprocess.CompletedProcess:
    """Runs a process to its end; see `Fork`."""
    fork = Fork(source, **options)
    out, err = fork.communicate(timeout)
    return subprocess.CompletedProcess(source, fork.returncode, out, err)


def module(name: str, *arguments: object) -> str:
    """Source that does what `python -m NAME ARGUMENTS` does."""
    return f"import runpy, sys\nsys.argv[1:] = {[str(each) for each in arguments]!r}\nrunpy.run_module({name!r}, run_name='__main__', alter_sys=True)"


def _ask(request, descriptors):
    connection = _server()
    connection.sendmsg([len(request).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))])
    connection.sendall(request)


@functools.cache
def _server():
    """The socket of the process that is forked from."""
    here, there = socket.socketpair()
    code = f"from tests import forks\nexec(forks.serve({there.fileno()}))"
    server = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, pass_fds=[there.fileno()], start_new_session=True)
    there.close()

    def end():
        here.close()
        server.wait()

    atexit.register(end)
    return here


def serve(descriptor: int) -> str:
    """Runs in the process that is forked from, and ends it. In a process forked from it, returns the source to run there."""
    for name in MODULES:
        importlib.import_module(name)
    assert threading.active_count() == 1, f"a process with threads must not be forked: {threading.enumerate()}"
    gc.freeze()  # what was imported is shared as long as the collector does not touch it
    gc.set_threshold(*COLLECT)
    connection = socket.socket(fileno=descriptor)
    while True:
        head, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
        if not head:
            os._exit(0)
        request = json.loads(_exactly(connection, int.from_bytes(head, "big")))
        keeper = os.fork()
        if not keeper:
            connection.close()
            break
        for each in descriptors:
            os.close(each)
        _reap()
    out, err, status = descriptors
    if child := os.fork():
        _keep(child, out, err, status)
    os.close(status)
    if request["group"]:
        os.setpgid(0, 0)
    for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
        os.dup2(source, target)
        os.close(source)
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    return request["source"]


def _exactly(connection, size):
    found = b""
    while len(found) < size:
        found += connection.recv(min(size - len(found), LARGEST))
    return found


def _reap():
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _keep(child, out, err, status):
    """Reports the number of a process and its exit code, and ends."""
    os.close(out)
    os.close(err)
    os.write(status, f"{child}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        os.write(status, f"{code}\n".encode())
    os._exit(0)
