"""OmniSat in JAX: one model for any subset of the satellite and aerial images of a place."""

__version__ = "0.1.0"
