"""Benchmarks, each a command: python -m benchmarks.<name>. Every one measures both sides of its ratio in the same run, on the same machine."""

import omnisat_jax  # noqa: F401  first, so that Ctrl-C during the imports of a benchmark ends in one sentence
