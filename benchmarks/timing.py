"""How the benchmarks measure: compile ahead, run once, then the best of a few runs; temporary memory as XLA plans it."""

import time

import jax


def measure(function, *arguments, repeats=3):
    """(seconds of the fastest of `repeats` runs, MiB of temporary memory, seconds to compile)."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    compiling = time.perf_counter() - start
    jax.block_until_ready(compiled(*arguments))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        seconds.append(time.perf_counter() - start)
    return min(seconds), compiled.memory_analysis().temp_size_in_bytes / 2**20, compiling
