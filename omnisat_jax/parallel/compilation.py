"""How XLA compiles the programs of this project, and where compiled programs are kept."""

import contextlib
import gc
import importlib.metadata
import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from omnisat_jax.files.addresses import need_local
from omnisat_jax.files.paths import unwritable
from omnisat_jax.types import StrPath

# Of JAX's cache, unless environment variables of these names say otherwise.
_SETTINGS = {
    "jax_compilation_cache_max_size": 4 * 2**30,  # bytes; programs that were not used for longest are deleted first
    "jax_persistent_cache_min_compile_time_secs": 0.0,  # a start also compiles some twenty small programs, each in hundredths of a second
    # XLA's own cache for GPUs would lie in the same folder, and its path would be part of what identifies a program, on every platform: programs in a
    # folder that was moved, or that other hosts see under another path, would be compiled again.
    "jax_persistent_cache_enable_xla_caches": "none",
}
_COLLECT = (20_000, 20, 20)  # thresholds of Python's garbage collection while programs are traced


def options_for(platform: str) -> dict[str, Any]:
    """Options of XLA for every program on a platform, as `compiler_options` of `jax.jit` or of `Lowered.compile`.

    On GPUs matrix products are left to cuBLAS: with the Triton kernels that XLA makes for them by default, its compiler in jaxlib 0.11.2 aborts the
    process on some of our programs (`triton_tiling_propagation.cc`, check of `subdim_size_accumulator`), and it compiles for minutes.

    Args:
      platform: of the devices, such as `jax.default_backend()`.
    """
    return {"xla_gpu_enable_triton_gemm": False} if platform in ("gpu", "cuda") else {}


def keep_programs(folder: StrPath | None, default: StrPath) -> str:
    """Keeps compiled programs between processes, in JAX's persistent compilation cache. To be called before the first program is compiled.

    JAX identifies a program by its text, the options and versions of the compiler, and the kind of the devices.

    Args:
      folder: of the programs, which is made; one that cannot be written to is not used. "" keeps none. None takes JAX_COMPILATION_CACHE_DIR or, without
        it, `default`.
      default: see there.

    Returns:
      What the user should know: why nothing is kept although no one asked for that; "" otherwise.

    Raises:
      UserError: an address.
    """
    if folder == "":
        jax.config.update("jax_enable_compilation_cache", False)
        return ""
    argument = "--compilation_cache"
    if folder is None and (folder := os.environ.get("JAX_COMPILATION_CACHE_DIR")):
        argument = "JAX_COMPILATION_CACHE_DIR"
    folder = folder or default
    need_local(folder, argument, "choose a folder of each host: it is locked while programs are added")
    if why := unwritable(folder):  # JAX would warn of it at every program
        jax.config.update("jax_enable_compilation_cache", False)
        return f"compiled programs are not kept for the next run ({why}); --compilation_cache=FOLDER names another folder"
    jax.config.update("jax_compilation_cache_dir", os.path.abspath(folder))
    for name, value in _SETTINGS.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    return ""


@contextlib.contextmanager
def collecting_rarely() -> Iterator[None]:
    """Lets Python look for garbage less often in the body, which traces and lowers programs.

    Tracing makes millions of objects that stay, and looking through them takes up to a quarter of its time. Elsewhere the thresholds remain as they are, so
    that cycles that hold arrays are found early.
    """
    before = gc.get_threshold()
    gc.set_threshold(*_COLLECT)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def unoptimised() -> dict[str, Any]:
    """Options of XLA for programs that run only a few times on CPUs, where optimizing them takes several times as long as running them."""
    options: dict[str, Any] = {"xla_backend_optimization_level": 0}
    # The earlier emitters of fusions take half the time; jax later than 0.10 no longer has them.
    if tuple(int(part) for part in importlib.metadata.version("jax").split(".")[:2]) < (0, 11):
        options["xla_cpu_use_fusion_emitters"] = False
    return options


def as_flags(options: Mapping[str, Any]) -> str:
    """Options as text for XLA_FLAGS."""
    return " ".join(f"--{name}={str(value).lower()}" for name, value in options.items())
