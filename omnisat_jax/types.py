"""Names for types that many signatures share. Shapes and dtypes are in the docstrings."""

import os
from collections.abc import Mapping
from typing import Any

PyTree = Any  # nested containers of arrays
Params = Mapping[str, Any]  # nested names -> float32 arrays
Batch = Mapping[str, Any]  # see `omnisat_jax.batch`
Statistics = Mapping[str, Mapping[str, Any]]  # {modality: {"mean": (C,), "std": (C,)}}
StrPath = str | os.PathLike[str]
