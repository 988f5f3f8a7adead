"""The shapes of a model's parameters, found without computing or allocating anything, and their comparison with those of a file."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from omnisat_jax.errors import UserError, reason
from omnisat_jax.files.problems import Problems
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.types import PyTree

Shapes = dict[str, tuple[int, ...]]
# The published combiner learns one position per patch and one for the tile, so their number is fixed by the tile size of its training.
POSITIONS = ("fusion/position", "fusion/query_position")


def array(*shape: int, dtype: DTypeLike = jnp.float32) -> jax.ShapeDtypeStruct:
    """The shape and dtype of an input."""
    return jax.ShapeDtypeStruct(shape, dtype)


def shapes_of(init: Callable[..., PyTree], *inputs: PyTree) -> Shapes:
    """{name joined by "/": shape} of the parameters that init(key, *inputs) would create.

    Raises:
      UserError: the model cannot be built.
    """
    try:
        made = jax.eval_shape(lambda *given: init(jax.random.key(0), *given), *inputs)["params"]
    except Exception as error:  # of any layer whose widths do not fit: all mean that the configuration describes no model
        raise UserError(f"expected settings of a model that can be built, found others ({reason(error)})") from error
    leaves: Mapping[str, Any] = flax.traverse_util.flatten_dict(made, sep="/")
    return {name: leaf.shape for name, leaf in leaves.items()}


def model_shapes(model: MultimodalModel) -> Shapes:
    """Shapes of the parameters that a model needs to predict; `POSITIONS` are those of tiles of 2 x 2 patches.

    Raises:
      UserError: see `shapes_of`.
    """
    inputs = {}
    for spec in model.specs:
        side = 2 * spec.patch
        shape = {"series": (1, side, side, spec.channels), "image": (side, side, spec.channels), "location": (2,)}[spec.kind]
        inputs[spec.name] = {"values": array(1, *shape), "present": array(1, dtype=bool)}
        if spec.kind == "series":
            inputs[spec.name] |= {"dates": array(1, 1, dtype=jnp.int32), "valid": array(1, 1, dtype=bool)}
    # Reflection needs larger tiles than 2 x 2 patches, and has no parameters.
    utae = dataclasses.replace(model.config.utae, border="zeros")
    model = model.copy(config=dataclasses.replace(model.config, utae=utae))
    return shapes_of(lambda *given: model.init(*given, train=False), inputs, array(1, len(model.specs), dtype=bool))


def compare(expected: Shapes, found: Mapping[str, tuple[int, ...]], problems: Problems, where: str) -> None:
    """Adds every parameter that is missing, unknown or of another shape to `problems`; where: the file, for messages."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            problems.add(where, f"{name}: expected {expected[name]}, found none")
        elif name not in expected:
            problems.add(where, f"{name}: expected no such parameter, found {tuple(found[name])}")
        elif tuple(found[name]) != expected[name]:
            problems.add(where, f"{name}: expected {expected[name]}, found {tuple(found[name])}")


def with_grid_of(expected: Shapes, found: Mapping[str, tuple[int, ...]]) -> Shapes:
    """`model_shapes` with the number of `POSITIONS` in `found`, if those are of a square grid of patches."""
    rows = {found[name][0] for name in POSITIONS if name in expected and found.get(name)}
    if len(rows) != 1:
        return expected
    count = rows.pop()
    if count < 2 or math.isqrt(count - 1) ** 2 != count - 1:
        return expected
    return expected | {name: (count, *expected[name][1:]) for name in POSITIONS if name in expected}
