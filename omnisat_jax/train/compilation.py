"""How to compile programs that run only a few times on CPUs, where optimising them takes several times as long as running them."""

import importlib.metadata
from collections.abc import Mapping
from typing import Any


def unoptimised() -> dict[str, Any]:
    """Options of XLA, as `compiler_options` of `Lowered.compile` or, through `as_flags`, as XLA_FLAGS."""
    options: dict[str, Any] = {"xla_backend_optimization_level": 0}
    # The earlier emitters of fusions take half the time; jax later than 0.10 no longer has them.
    if tuple(int(part) for part in importlib.metadata.version("jax").split(".")[:2]) < (0, 11):
        options["xla_cpu_use_fusion_emitters"] = False
    return options


def as_flags(options: Mapping[str, Any]) -> str:
    """Options as text for XLA_FLAGS."""
    return " ".join(f"--{name}={str(value).lower()}" for name, value in options.items())
