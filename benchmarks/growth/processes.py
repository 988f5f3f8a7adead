"""CPU time and peak memory of a function in a process of its own."""

import concurrent.futures
import contextlib
import io
import multiprocessing
import os
import pathlib
import resource
from collections.abc import Callable
from typing import Any

from benchmarks.growth.powers import Cost

STATUS, RESET = pathlib.Path("/proc/self/status"), pathlib.Path("/proc/self/clear_refs")
PRELOADED = "benchmarks.growth.tiles"  # what takes seconds to import
PEAK_ONLY = "5"  # what RESET takes for: forget the peak of the resident memory


def in_process(function: Callable[..., Any], *arguments: Any) -> tuple[Cost, Any]:
    """Calls a function in a fresh process that has imported this program.

    Args:
      function: at the top level of a module; what it prints is dropped.
      arguments: of the function.

    Returns:
      CPU seconds of the call, with the processes that it starts, and the growth of the process's resident memory to its peak; and the result.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])  # once, by the server; its forks share it
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_measured, function, arguments, dict(os.environ)).result()


def _measured(function: Callable[..., Any], arguments: tuple, environment: dict[str, str]) -> tuple[Cost, Any]:
    os.environ.update(environment)  # the server keeps the one of its start
    RESET.write_text(PEAK_ONLY)
    before, start = _cpu(), _status("VmRSS")
    with contextlib.redirect_stdout(io.StringIO()):
        result = function(*arguments)
    return Cost(_cpu() - before, (_status("VmHWM") - start) / 1024), result


def _cpu() -> float:
    """CPU seconds of this process and those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _status(key: str) -> int:
    """A size of this process in KiB. ru_maxrss would not do: a process inherits it from the one that starts it."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1])
