"""Time and memory of a compiled function."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Measurement(NamedTuple):
    """What one compiled function costs.

    Attributes:
      seconds: of the fastest run, after one that is not counted.
      temporary_mib: temporary memory that XLA plans, MiB, without arguments and results.
      compile_seconds: to trace and compile.
    """

    seconds: float
    temporary_mib: float
    compile_seconds: float


def measure(function: Callable[..., Any], *arguments: Any, repeats: int = 3) -> Measurement:
    """Compiles `function` for `arguments`, runs it once, then `repeats` times for the time."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    compiling = time.perf_counter() - start
    jax.block_until_ready(compiled(*arguments))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        seconds.append(time.perf_counter() - start)
    return Measurement(min(seconds), temporary_mib(compiled), compiling)


def temporary_mib(compiled: jax.stages.Compiled) -> float:
    """MiB of temporary memory that XLA plans for a compiled function."""
    memory = compiled.memory_analysis()
    assert memory is not None, "this platform does not report the memory of compiled functions"
    return memory.temp_size_in_bytes / 2**20


def device() -> str:
    """The device and the version of JAX that the numbers belong to."""
    return f"device {jax.devices()[0].device_kind}, jax {jax.__version__}"
