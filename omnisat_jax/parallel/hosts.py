"""Several processes as one run: how they start, compare what they do, wait for each other and stop together."""

import collections
import contextlib
import glob
import hashlib
import importlib.util
import ipaddress
import itertools
import json
import os
import pathlib
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
from jax.experimental import multihost_utils

from omnisat_jax.cli import signals
from omnisat_jax.errors import UserError
from omnisat_jax.files.addresses import scheme_of
from omnisat_jax.files.buckets import Bucket
from omnisat_jax.parallel import coordination
from omnisat_jax.parallel.coordination import CoordinationTimeout
from omnisat_jax.types import StrPath

LAST_WORDS = 10.0  # s that process 0 waits for the others before it leaves
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"  # status of the runtime


class _Process:
    """The state of this process in a run of several processes.

    Attributes:
      uses: how often each name was exchanged. A key of the store can be set only once, so the count makes the key of every exchange new. All
        processes make the same exchanges in the same order, so their counts agree without being sent.
      forward_termination: hands SIGTERM on to JAX's preemption service, which then stops all processes at the same step.
    """

    def __init__(self) -> None:
        self.uses: dict[str, Iterator[int]] = collections.defaultdict(itertools.count)
        self.forward_termination: Callable[[], object] = lambda: None

    def key(self, name: str) -> str:
        """A key of the store that was never used before, the same on every process."""
        return f"omnisat/{name}/{next(self.uses[name])}"


_process = _Process()


class HostError(UserError):
    """A host that differs from the first one, fails or does not answer; the message names it."""


def start(*, coordinator: str, num_processes: int, process_id: int, timeout: int) -> None:
    """Joins the processes of a run. Must be called before anything asks for devices.

    The flags decide where a coordinator is given. On SLURM, Open MPI and TPU hosts JAX finds the other processes. Otherwise there is one process.

    Args:
      coordinator: host:port of process 0, or "".
      num_processes: number of processes, -1 where the environment knows it.
      process_id: which of them this is, -1 where the environment knows it.
      timeout: seconds without a heartbeat after which a host counts as dead.

    Raises:
      UserError: flags that do not belong together.
      HostError: the others cannot be reached.
    """
    if (num_processes > 1 or process_id >= 0) and not coordinator:
        raise UserError("--num_processes and --process_id need --coordinator=HOST:PORT of process 0")
    if coordinator and not 0 <= process_id < num_processes:
        raise UserError(f"--process_id must be 0 to {num_processes - 1} (--num_processes {num_processes}), found {process_id}")
    if not coordinator and not _cluster():
        return
    host, _, port = coordinator.rpartition(":")
    if coordinator and not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 2**16):
        raise UserError(f"--coordinator: expected HOST:PORT with a port from 1 to 65535, found {coordinator!r}")
    if timeout < 1:
        raise UserError(f"--host_timeout: expected seconds, 1 or more, found {timeout}")
    known = {"coordinator_address": coordinator, "num_processes": num_processes, "process_id": process_id} if coordinator else {}
    if process_id == 0 and "JAX_COORDINATOR_BIND_ADDRESS" not in os.environ:
        known["coordinator_bind_address"] = bind_address(coordinator)
    try:
        # JAX's preemption service takes over SIGTERM, but it is only polled in the training loop; elsewhere our own handler must act.
        with signals.keep_handler(signal.SIGTERM) as _process.forward_termination:
            jax.distributed.initialize(**known, initialization_timeout=timeout, heartbeat_timeout_seconds=timeout)
    except (RuntimeError, ValueError, OSError) as error:
        raise HostError(f"{socket.gethostname()}: the other processes could not be reached within {timeout} s ({error})") from error
    if jax.process_count() > 1:
        signals.exit_at_once(leave)


def bind_address(coordinator: str) -> str | None:
    """The address at which process 0 listens: the one that `coordinator` names, if it belongs to this machine. None means every address, JAX's default.

    Whoever reaches the coordinator can end the run, so it listens on no more addresses than necessary.
    """
    host, _, port = coordinator.rpartition(":")
    host = host.strip("[]")
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)}
    except (OSError, ValueError):
        return None
    if len(found) != 1:
        return "127.0.0.1:" + port if host == "localhost" else None
    address = str(found.pop())
    loopback = ipaddress.ip_address(address).is_loopback
    if loopback and host not in ("localhost", address):
        return None  # a name that only this machine resolves to the loopback address
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:  # the address belongs to another machine, or to a service in front of this one
            return None
    return f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"


def _cluster():
    """Whether the environment says that this process can be one of several."""
    tasks = max(int(os.environ.get(name) or 1) for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"))
    tpu = importlib.util.find_spec("libtpu") and (glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*"))
    return tasks > 1 or (bool(tpu) and os.environ.get("JAX_PLATFORMS", "tpu") != "cpu")


def is_leader() -> bool:
    """Whether this process writes the files that are written once per run."""
    return jax.process_index() == 0


def exchange(name: str, facts: dict, timeout: float = 300) -> list[dict]:
    """Gathers the facts of every process, in the order of processes. All processes must call it.

    Args:
      name: of the exchange, shown in errors.
      facts: plain values.
      timeout: seconds.

    Raises:
      HostError: naming the first process that does not answer in time.
    """
    if jax.process_count() == 1:
        return [facts]
    key = _process.key(name)
    coordination.put(f"{key}/{jax.process_index()}", json.dumps(facts))
    return [json.loads(_ask(f"{key}/{process}", process, name, timeout)) for process in range(jax.process_count())]


def wait(name: str, timeout: float = 300) -> None:
    """Waits until every process has come here.

    Raises:
      HostError: see `exchange`.
    """
    exchange(name, {}, timeout)


@contextlib.contextmanager
def leader_first(name: str, timeout: float = 300) -> Iterator[None]:
    """Runs the body on process 0, then on the others.

    Raises:
      HostError: on the others, with the message of process 0 if it failed.
    """
    if jax.process_count() == 1:
        yield
        return
    key = f"{_process.key(name)}/leader"
    if not is_leader():
        failure = json.loads(_ask(key, 0, name, timeout))
        if failure:
            raise HostError(f"process 0 stopped: {failure}")
        yield
        return
    failure = "interrupted"
    try:
        yield
        failure = ""
    except Exception as error:
        failure = str(error)
        raise
    finally:
        coordination.put(key, json.dumps(failure))


def _ask(key, process, name, timeout):
    try:
        return coordination.get(key, timeout)
    except CoordinationTimeout as error:
        raise HostError(f"process {process} did not reach {name!r} within {timeout:g} s: it is dead, or far behind") from error


def check_same(folder: StrPath, flat: dict, timeout: float = 300) -> None:
    """Checks that every process has the same configuration, code and folder as process 0.

    Args:
      folder: the folder of the run; its parent is created if necessary.
      flat: {dotted key: value} of the configuration.
      timeout: seconds.

    Raises:
      HostError: names every process that differs, by number and host name, and how it differs.
    """
    if jax.process_count() == 1:
        return
    nonce = exchange("nonce", {"nonce": uuid.uuid4().hex}, timeout)[0]["nonce"]
    mark = _bucket_mark(os.fspath(folder), nonce) if scheme_of(folder) else _file_mark(pathlib.Path(folder), nonce)
    if is_leader():
        mark.make()
    wait("mark", timeout)
    here = {"host": socket.gethostname(), "sees": mark.is_there(), "code": code_revision(), "config": json.loads(json.dumps(flat))}
    first, *others = everyone = exchange("configuration", here, timeout)
    if is_leader():
        mark.remove()
    problems = []
    for process, facts in enumerate(everyone):
        who = f"process {process} on {facts['host']}"
        if not facts["sees"]:
            problems.append(f"{who} does not see {folder}: all hosts must share its file system, or may read and write its bucket")
    for process, facts in enumerate(others, 1):
        who = f"process {process} on {facts['host']}"
        if facts["code"] != first["code"]:
            problems.append(f"{who} runs other code ({facts['code'][:10]}, process 0 on {first['host']} runs {first['code'][:10]})")
        keys = sorted(key for key in first["config"] | facts["config"] if first["config"].get(key) != facts["config"].get(key))
        changes = ", ".join(f"{key}: {facts['config'].get(key)!r}, process 0 has {first['config'].get(key)!r}" for key in keys)
        if changes:
            problems.append(f"{who} has another configuration ({changes})")
    if problems:
        raise HostError("; ".join(problems))


class _Mark(NamedTuple):
    """How a mark by which hosts find out whether they share a folder is made, found and removed."""

    make: Callable[[], object]
    is_there: Callable[[], bool]
    remove: Callable[[], object]


def _file_mark(folder: pathlib.Path, nonce: str) -> _Mark:
    path = folder.with_name(f"{folder.name}.hosts-{nonce}")

    def make() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    return _Mark(make, path.exists, path.unlink)


def _bucket_mark(address: str, nonce: str) -> _Mark:
    bucket, name = Bucket(address, "--workdir"), f".hosts-{nonce}"
    return _Mark(lambda: bucket.write(name, b""), lambda: bucket.read(name) is not None, lambda: bucket.delete([name]))


def leave() -> None:
    """Waits until the others have read what this process sent, at most `LAST_WORDS` seconds: the store ends with process 0."""
    if not coordination.is_joined():
        return
    coordination.put(f"omnisat/leave/{jax.process_index()}", "")
    deadline = time.monotonic() + LAST_WORDS
    for process in range(1, jax.process_count() if is_leader() else 1):
        with contextlib.suppress(CoordinationTimeout):
            coordination.get(f"omnisat/leave/{process}", deadline - time.monotonic())
    if is_leader():
        time.sleep(0.5)  # the others print their last messages


def code_revision() -> str:
    """Hash of the sources of the package, whether or not they are under version control."""
    root = pathlib.Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def preemption() -> Iterator[Callable[[int], bool]]:
    """Yields stop(step): whether a process received SIGTERM; all processes agree on it at the same step."""
    if jax.process_count() > 1:

        def forward() -> None:
            _process.forward_termination()

        with signals.on_termination(forward):
            yield multihost_utils.reached_preemption_sync_point
        return
    received: list[bool] = []
    with signals.on_termination(lambda: received.append(True)):
        yield lambda step: bool(received)


def runtime_status(error: Exception) -> str:
    """The status of a jax.errors.JaxRuntimeError, such as "RESOURCE_EXHAUSTED"."""
    return getattr(error, "error_code_string", "") or str(error).partition(":")[0]


@contextlib.contextmanager
def failures_named() -> Iterator[None]:
    """In a run of several processes, reports a failure of the runtime with the process that it stopped.

    A process sees the death of another one only as a failed collective operation. A shortage of memory is its own, and is passed on unchanged.

    Raises:
      HostError: instead of the failure of the runtime.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or runtime_status(error) == OUT_OF_MEMORY:
            raise
        raise HostError(
            f"process {jax.process_index()} on {socket.gethostname()} cannot go on ({runtime_status(error)}), as happens when another host died; "
            f"the first process that stopped reports why: {error}"
        ) from error
