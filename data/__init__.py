import omnisat_jax  # noqa: F401  first: `python -m` of a file of this folder is then ended by one sentence even while it imports
