"""How processes find each other; several real ones: tests/distributed/test_crashes.py."""

import jax
import pytest

from omnisat_jax.parallel import hosts


@pytest.mark.parametrize(
    ("coordinator", "num_processes", "process_id", "message"),
    [
        ("", 2, 0, "need --coordinator"),
        ("", -1, 1, "need --coordinator"),
        ("host:1234", 2, 2, r"must be 0 to 1 \(--num_processes 2\), found 2"),
        ("host:1234", 2, -1, "must be 0 to 1"),
        ("host", 2, 0, "expected HOST:PORT with a port from 1 to 65535, found 'host'"),
        (":1234", 2, 0, "expected HOST:PORT"),
        ("host:0", 2, 0, "expected HOST:PORT"),
        ("host:x", 2, 0, "expected HOST:PORT"),
    ],
)
def test_flags_that_do_not_belong_together(coordinator, num_processes, process_id, message):
    with pytest.raises(ValueError, match=message):
        hosts.start(coordinator=coordinator, num_processes=num_processes, process_id=process_id, timeout=1)


@pytest.mark.parametrize(
    ("environment", "several"),
    [({}, False), ({"SLURM_NTASKS": "1"}, False), ({"SLURM_NTASKS": "4"}, True), ({"OMPI_COMM_WORLD_SIZE": "2"}, True)],
)
def test_the_environment_tells_of_others(monkeypatch, environment, several):
    for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert hosts._cluster() == several


def test_one_process_agrees_with_itself(tmp_path):
    hosts.check_same(tmp_path / "run", {"seed": 0})
    assert hosts.exchange("anything", {"a": 1}) == [{"a": 1}] and hosts.is_leader()
    with hosts.leader_first("work"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("coordinator", "resolved", "bound"),
    [
        ("127.0.0.1:12", ["127.0.0.1"], "127.0.0.1:12"),
        ("localhost:12", ["127.0.0.1", "::1"], "127.0.0.1:12"),
        ("[::1]:12", ["::1"], "[::1]:12"),
        ("me:12", ["127.0.1.1"], None),  # others know it by another address
        ("other:12", ["192.0.2.1"], None),  # not of this machine
        ("two:12", ["192.0.2.1", "192.0.2.2"], None),
        ("nobody:12", [], None),
        ("", [], None),
    ],
)
def test_the_coordinator_listens_no_wider_than_it_must(coordinator, resolved, bound, monkeypatch):
    def lookup(host, port, **_):
        if not resolved:
            raise OSError("unknown")
        return [(None, None, None, "", (address, port)) for address in resolved]

    monkeypatch.setattr(hosts.socket, "getaddrinfo", lookup)
    if "::1" in coordinator and not hosts.socket.has_ipv6:
        bound = None
    assert hosts.bind_address(coordinator) == bound


@pytest.fixture
def second_of_two(monkeypatch):
    monkeypatch.setattr(hosts.jax, "process_count", lambda: 2)
    monkeypatch.setattr(hosts.jax, "process_index", lambda: 1)
    monkeypatch.setattr(hosts.socket, "gethostname", lambda: "node7")


class Runtime(jax.errors.JaxRuntimeError):
    """A failure of the runtime with a status, as the compiled library raises it."""

    def __init__(self, status, message):
        super().__init__(f"{status}: {message}")
        self._status = status

    @property
    def error_code_string(self):
        return self._status


def test_a_failed_collective_is_reported_with_the_process_that_it_stopped(second_of_two):
    with pytest.raises(hosts.HostError, match="process 1 on node7 cannot go on .UNAVAILABLE., as happens when another host died.*closed"), hosts.failures_named():
        raise Runtime("UNAVAILABLE", "connection closed")


def test_a_shortage_of_memory_is_a_failure_of_its_own(second_of_two):
    with pytest.raises(Runtime, match="7 bytes"), hosts.failures_named():
        raise Runtime("RESOURCE_EXHAUSTED", "7 bytes")


def test_alone_no_failure_is_that_of_another_host():
    with pytest.raises(Runtime), hosts.failures_named():
        raise Runtime("UNAVAILABLE", "connection closed")


def test_the_status_of_a_real_shortage_of_memory():
    with pytest.raises(jax.errors.JaxRuntimeError) as failed:
        jax.numpy.zeros((10**7, 10**7)).block_until_ready()
    assert hosts.runtime_status(failed.value) == hosts.OUT_OF_MEMORY


def test_every_exchange_has_a_key_of_its_own_and_all_processes_the_same():
    first, second = hosts._Process(), hosts._Process()
    keys = [first.key("a"), first.key("a"), first.key("b")]
    assert len(set(keys)) == 3 and keys == [second.key("a"), second.key("a"), second.key("b")]
