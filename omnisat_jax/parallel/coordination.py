"""The key-value store of JAX's coordination service, which all processes of a run share.

It needs no device and knows time-outs; barriers among devices know none. JAX has no public name for its client, so this is the one file that
imports `jax._src`; tests/parallel/test_coordination.py pins what is used of it.
"""

import jax
from jax._src import distributed


class CoordinationTimeout(RuntimeError):
    """A key was not set in time."""


def is_joined() -> bool:
    """Whether this process is one of several that share a store."""
    return distributed.global_state.client is not None


def put(key: str, text: str) -> None:
    """Sets a key. Each key can be set once."""
    _client().key_value_set(key, text)


def get(key: str, timeout: float) -> str:
    """Waits for a key and returns its text.

    Args:
      timeout: seconds.

    Raises:
      CoordinationTimeout: nobody set the key in time, or the service is gone.
    """
    try:
        return _client().blocking_key_value_get(key, max(1, int(1000 * timeout)))
    except jax.errors.JaxRuntimeError as error:
        raise CoordinationTimeout(f"{key} was not set within {timeout:g} s") from error


def _client():
    client = distributed.global_state.client
    if client is None:
        raise RuntimeError("there is no coordination service: this process runs alone")
    return client
