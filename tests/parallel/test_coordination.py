"""The private client of JAX on which processes depend still has what is used of it; several real processes: tests/distributed."""

import ast

import pytest
from jax._src import distributed

from omnisat_jax.parallel import coordination
from tests.conftest import ROOT


class Client:
    """Stands for the client of JAX, with the methods and the error that it has."""

    def __init__(self):
        self.kept, self.waited = {}, []

    def key_value_set(self, key, value):
        self.kept[key] = value

    def blocking_key_value_get(self, key, timeout_in_ms):
        self.waited.append(timeout_in_ms)
        if key not in self.kept:
            import jax

            raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: nobody set it")
        return self.kept[key]


@pytest.fixture
def client(monkeypatch):
    client = Client()
    monkeypatch.setattr(distributed.global_state, "client", client)
    return client


def test_the_private_client_has_what_is_used():
    from jaxlib import _jax

    for name in ("key_value_set", "blocking_key_value_get"):
        assert callable(getattr(_jax.DistributedRuntimeClient, name))
    assert distributed.global_state.client is None and not coordination.is_joined()


def test_a_key_that_was_set_is_returned(client):
    coordination.put("a/0", "text")
    assert coordination.is_joined() and coordination.get("a/0", 2.5) == "text" and client.waited == [2500]


def test_a_key_that_nobody_sets_is_waited_for_no_longer_than_said(client):
    with pytest.raises(coordination.CoordinationTimeout, match="a/1 was not set within 3 s"):
        coordination.get("a/1", 3)
    with pytest.raises(coordination.CoordinationTimeout):
        coordination.get("a/1", -1)
    assert client.waited == [3000, 1]


def test_alone_there_is_no_store():
    with pytest.raises(RuntimeError, match="this process runs alone"):
        coordination.put("a", "b")


def test_private_modules_of_jax_are_imported_in_one_place():
    using = []
    for path in sorted((ROOT / "omnisat_jax").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            using += [path.name for name in names if name.startswith("jax._src")]
    assert using == ["coordination.py"]
