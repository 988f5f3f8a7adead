"""Plain operations: the forms that every runtime can compute, for programs that leave this package.

Some operations have a form that is fast in JAX and that other formats, such as ONNX, cannot express. Inside `plain()` they are traced in a plain
form, equal up to rounding. Training and inference never use it, so their numbers do not depend on it.
"""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

_plain = contextvars.ContextVar("plain", default=False)


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Traces operations in their plain form while the body runs. A function that was compiled before keeps the form it has."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def is_plain() -> bool:
    """Whether operations are to be traced in their plain form."""
    return _plain.get()


def broadcast_to(x: jax.Array, shape: Sequence[Any]) -> jax.Array:
    """`jnp.broadcast_to` for a first axis that may be open."""
    if is_plain():
        # jax2onnx loses an open first axis in a broadcast, but not in a sum.
        return x + jnp.zeros(tuple(shape), x.dtype)
    return jnp.broadcast_to(x, tuple(shape))
