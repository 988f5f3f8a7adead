"""Where parameters live: one ordered table. The first rule whose pattern matches a parameter's path decides.

"replicate"  a copy on every device
"fsdp"       cut over the fsdp axis along its largest divisible dimension, unless it is small
"""

import re

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

RULES = (
    (r"(^|/)(bias|scale|query|modality_\w+|log)$", "replicate"),
    (r".*", "fsdp"),
)


def partition_spec(path: str, shape, fsdp: int, min_size: int) -> PartitionSpec:
    """The spec of one parameter by its "/"-joined path."""
    action = next(action for pattern, action in RULES if re.search(pattern, path))
    if action == "replicate" or fsdp == 1 or np.prod(shape, dtype=int) < min_size:
        return PartitionSpec()
    divisible = [axis for axis, size in enumerate(shape) if size % fsdp == 0]
    if not divisible:
        return PartitionSpec()
    cut = max(divisible, key=lambda axis: shape[axis])
    return PartitionSpec(*("fsdp" if axis == cut else None for axis in range(cut + 1)))


def shardings(tree, mesh, min_size: int):
    """NamedShardings of any tree of (abstract) arrays; optimizer moments follow their parameters, as their paths end alike."""

    def one(path, leaf):
        return NamedSharding(mesh, partition_spec(_name(path), np.shape(leaf), mesh.shape["fsdp"], min_size))

    return jax.tree_util.tree_map_with_path(one, tree)


def describe(tree, places) -> str:
    """One line an array: its path, shape and how it is cut; "copied" where it is on every device."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    lines = []
    for (path, leaf), place in zip(leaves, jax.tree.leaves(places), strict=True):
        lines.append(f"{_name(path)} {tuple(np.shape(leaf))}: {place.spec if any(place.spec) else 'copied'}")
    return "\n".join(lines)


def _name(path):
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)
