"""Several processes as one run: how they start, agree on what they do, wait for each other and stop together.

Facts travel through the key-value store of JAX's coordination service, which needs no device and knows time-outs; barriers among devices know none.
"""

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

import jax
from jax._src import distributed  # the client of the coordination service has no public name
from jax.experimental import multihost_utils

from omnisat_jax.cli import signals
from omnisat_jax.errors import UserError

LAST_WORDS = 10.0  # s that process 0 waits for the others before it leaves
_uses = collections.defaultdict(itertools.count)
_tell_jax = None  # hands SIGTERM on to JAX's preemption service, of several processes


class HostError(UserError):
    """A host that differs from the first one, fails or does not answer; the message names it."""


def start(*, coordinator: str, num_processes: int, process_id: int, timeout: int) -> None:
    """Joins the processes of a run; must come before anything asks for devices.

    By flags where a coordinator is given; by itself on SLURM, Open MPI and TPU hosts, where JAX finds the others; else there is one process.

    Args:
      coordinator: host:port of process 0, or "".
      num_processes, process_id: -1 where the environment knows.
      timeout: seconds without a sign of life after which a host counts as dead.

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
    global _tell_jax
    try:
        # JAX's preemption service listens to SIGTERM on its own, which outside of the training loop nobody would heed.
        with signals.keep_handler(signal.SIGTERM) as _tell_jax:
            jax.distributed.initialize(**known, initialization_timeout=timeout, heartbeat_timeout_seconds=timeout)
    except (RuntimeError, ValueError, OSError) as error:
        raise HostError(f"{socket.gethostname()}: the other processes could not be reached within {timeout} s ({error})") from error
    if jax.process_count() > 1:
        signals.exit_at_once(leave)


def bind_address(coordinator: str) -> str | None:
    """Where process 0 listens: at the one address that `coordinator` names, if it is one of this machine. None, JAX's choice, is every address.

    A stranger who reaches the coordinator can end the run, so it listens no wider than it must.
    """
    host, _, port = coordinator.rpartition(":")
    host = host.strip("[]")
    try:
        found = {about[4][0] for about in socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)}
    except (OSError, ValueError):
        return None
    if len(found) != 1:
        return "127.0.0.1:" + port if host == "localhost" else None
    address = found.pop()
    loopback = ipaddress.ip_address(address).is_loopback
    if loopback and host not in ("localhost", address):
        return None  # a name of this machine that only itself takes for the loopback address
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:  # of another machine, or of a service in front of it
            return None
    return f"[{address}]:{port}" if family == socket.AF_INET6 else f"{address}:{port}"


def _cluster():
    """Whether the environment says that this process may be one of several."""
    tasks = max(int(os.environ.get(name) or 1) for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"))
    tpu = importlib.util.find_spec("libtpu") and (glob.glob("/dev/accel*") or glob.glob("/dev/vfio/[0-9]*"))
    return tasks > 1 or (bool(tpu) and os.environ.get("JAX_PLATFORMS", "tpu") != "cpu")


def is_leader() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def exchange(name: str, facts: dict, timeout: float = 300) -> list[dict]:
    """What every process says, in the order of processes.

    Raises:
      HostError: naming the first process that says nothing within `timeout` seconds.
    """
    if jax.process_count() == 1:
        return [facts]
    key = f"omnisat/{name}/{next(_uses[name])}"
    distributed.global_state.client.key_value_set(f"{key}/{jax.process_index()}", json.dumps(facts))
    return [json.loads(_ask(f"{key}/{process}", process, name, timeout)) for process in range(jax.process_count())]


def wait(name: str, timeout: float = 300) -> None:
    """Until every process has come here.

    Raises:
      HostError: see `exchange`.
    """
    exchange(name, {}, timeout)


@contextlib.contextmanager
def leader_first(name: str, timeout: float = 300):
    """The body runs on process 0, then on the others.

    Raises:
      HostError: on the others, with the message of process 0 if it failed.
    """
    if jax.process_count() == 1:
        yield
        return
    key = f"omnisat/{name}/{next(_uses[name])}/leader"
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
        distributed.global_state.client.key_value_set(key, json.dumps(failure))


def _ask(key, process, name, timeout):
    try:
        return distributed.global_state.client.blocking_key_value_get(key, int(1000 * timeout))
    except jax.errors.JaxRuntimeError as error:
        raise HostError(f"process {process} did not reach {name!r} within {timeout:g} s: it is dead, or far behind") from error


def agree(folder, flat: dict, timeout: float = 300) -> None:
    """Checks that every process has the same configuration, code and folder as process 0.

    Args:
      folder: the run's folder, created if it is not there.
      flat: {dotted key: value} of the configuration.

    Raises:
      HostError: every process that differs, by number and host name, and in what.
    """
    if jax.process_count() == 1:
        return
    folder = pathlib.Path(folder)
    nonce = exchange("nonce", {"nonce": uuid.uuid4().hex}, timeout)[0]["nonce"]
    mark = folder.with_name(f"{folder.name}.hosts-{nonce}")
    if is_leader():
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    wait("mark", timeout)
    here = {"host": socket.gethostname(), "sees": mark.exists(), "code": code_revision(), "config": json.loads(json.dumps(flat))}
    first, *others = everyone = exchange("input_spec", here, timeout)
    if is_leader():
        mark.unlink()
    problems = []
    for process, facts in enumerate(everyone):
        who = f"process {process} on {facts['host']}"
        if not facts["sees"]:
            problems.append(f"{who} does not see {folder}: all hosts need the same file system under it")
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


def leave() -> None:
    """Lets the others read what they were told before process 0, which keeps the store, goes; waits no longer than `LAST_WORDS`."""
    client = distributed.global_state.client
    if client is None:
        return
    client.key_value_set(f"omnisat/leave/{jax.process_index()}", "")
    deadline = time.monotonic() + LAST_WORDS
    for process in range(1, jax.process_count() if is_leader() else 1):
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            client.blocking_key_value_get(f"omnisat/leave/{process}", max(1, int(1000 * (deadline - time.monotonic()))))
    if is_leader():
        time.sleep(0.5)  # their last words


def code_revision() -> str:
    """Hash of the package's sources, whether or not they are under version control."""
    root = pathlib.Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def preemption():
    """Yields stop(step): whether some process was told to end (SIGTERM), agreed upon by all at the same step."""
    if jax.process_count() > 1:
        with signals.on_termination(_tell_jax or (lambda: None)):
            yield multihost_utils.reached_preemption_sync_point
        return
    told = []
    with signals.on_termination(lambda: told.append(True)):
        yield lambda step: bool(told)
