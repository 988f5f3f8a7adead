"""What programs cost before they run: seconds of tracing, lowering, reading and compiling, as JAX reports them, and how many were compiled."""

import collections
import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

import jax.monitoring

SECONDS = ("tracing", "lowering", "reading", "compiling")
_CAUSES = {
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/compilation_cache/cache_retrieval_time_sec": "reading",
    "/jax/core/compile/backend_compile_duration": "compiling",  # with the time of looking into the cache and reading
}
_totals: dict[str, float] = collections.defaultdict(float)
_lock = threading.Lock()


@contextlib.contextmanager
def compile_times() -> Iterator[dict[str, float]]:
    """Yields a dict that holds, after the body, what its programs cost on all threads of this process.

    "tracing" (Python to jaxprs), "lowering" (jaxprs to StableHLO), "reading" (of compiled programs) and "compiling" (by XLA) are seconds on the clock;
    threads that work side by side both count. "programs" is the number of programs that were made ready to run, of which "compiled" were not read.
    """
    _listen()
    with _lock:
        before = dict(_totals)
    found: dict[str, float] = {}
    try:
        yield found
    finally:
        with _lock:
            found |= {key: _totals[key] - before.get(key, 0.0) for key in (*SECONDS, "programs", "read")}
        found["compiling"] = max(0.0, found["compiling"] - found["reading"])
        found["compiled"] = found["programs"] - found.pop("read")
        found |= {key: round(value, 3) for key, value in found.items()}


@functools.cache
def _listen() -> None:
    """Counts from now on. Once per process, as JAX keeps listeners until it ends."""
    jax.monitoring.register_event_duration_secs_listener(_add)


def _add(event: str, duration_secs: float, **kwargs: Any) -> None:
    del kwargs
    cause = _CAUSES.get(event)
    if cause:
        with _lock:
            _totals[cause] += duration_secs
            _totals["programs"] += cause == "compiling"
            _totals["read"] += cause == "reading"
