"""How XLA compiles the programs of this project."""

import importlib.metadata
from collections.abc import Mapping
from typing import Any


def options_for(platform: str) -> dict[str, Any]:
    """Options of XLA for every program on a platform, as `compiler_options` of `jax.jit` or of `Lowered.compile`.

    On GPUs matrix products are left to cuBLAS: with the Triton kernels that XLA makes for them by default, its compiler in jaxlib 0.11.2 aborts the
    process on some of our programs (`triton_tiling_propagation.cc`, check of `subdim_size_accumulator`), and it compiles for minutes.

    Args:
      platform: of the devices, such as `jax.default_backend()`.
    """
    return {"xla_gpu_enable_triton_gemm": False} if platform in ("gpu", "cuda") else {}


def unoptimised() -> dict[str, Any]:
    """Options of XLA for programs that run only a few times on CPUs, where optimising them takes several times as long as running them."""
    options: dict[str, Any] = {"xla_backend_optimization_level": 0}
    # The earlier emitters of fusions take half the time; jax later than 0.10 no longer has them.
    if tuple(int(part) for part in importlib.metadata.version("jax").split(".")[:2]) < (0, 11):
        options["xla_cpu_use_fusion_emitters"] = False
    return options


def as_flags(options: Mapping[str, Any]) -> str:
    """Options as text for XLA_FLAGS."""
    return " ".join(f"--{name}={str(value).lower()}" for name, value in options.items())
