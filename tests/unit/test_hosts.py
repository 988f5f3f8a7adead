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
    hosts.agree(tmp_path / "run", {"seed": 0})
    assert hosts.exchange("anything", {"a": 1}) == [{"a": 1}] and hosts.is_leader()
    with hosts.leader_first("work"):
        pass
    assert not list(tmp_path.iterdir())
