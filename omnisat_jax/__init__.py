"""OmniSat in JAX: one model for any subset of the satellite and aerial images of a place."""

import sys

__version__ = "0.1.0"

if sys.argv[:1] == ["-m"]:  # `python -m omnisat_jax.report`: Ctrl-C is one sentence even while everything is still being imported
    from omnisat_jax.cli import signals

    signals.listen()
