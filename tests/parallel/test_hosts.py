"""How processes find each other; several real ones: tests/distributed/test_crashes.py."""

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
