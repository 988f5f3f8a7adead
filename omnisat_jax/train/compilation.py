"""How to compile programs that run seldom, on CPUs: there, optimising them takes several times as long as running them as they are."""

import importlib.metadata


def unoptimised() -> dict:
    """XLA's options, as `compiler_options` of `Lowered.compile`; or, with "--" before and "=" between, as XLA_FLAGS."""
    options = {"xla_backend_optimization_level": 0}
    # The emitters of fusions that came before take half the time; jax later than 0.10 no longer knows the choice.
    if tuple(int(part) for part in importlib.metadata.version("jax").split(".")[:2]) < (0, 11):
        options["xla_cpu_use_fusion_emitters"] = False
    return options


def as_flags(options: dict) -> str:
    """Options as text for XLA_FLAGS."""
    return " ".join(f"--{name}={str(value).lower()}" for name, value in options.items())
