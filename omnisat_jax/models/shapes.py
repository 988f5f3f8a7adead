"""The parameters that a model needs, found without computing or allocating any, and their comparison with those of a file."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp

from omnisat_jax.errors import UserError, reason
from omnisat_jax.files.problems import Problems
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models.base import MultimodalModel
from omnisat_jax.types import Params

Shapes = dict[str, tuple[int, ...]]
# The published combiner learns one position per patch and one for the tile, so the tile size of its training fixes their number.
POSITIONS = ("fusion/position", "fusion/query_position")


def array(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    """Returns an abstract input."""
    return jax.ShapeDtypeStruct(shape, dtype)


def flat_shapes(params: Any) -> Shapes:
    """Returns {name joined by "/": shape} of nested parameters."""
    flat: Any = flax.traverse_util.flatten_dict(params, sep="/")
    return {name: tuple(leaf.shape) for name, leaf in flat.items()}


def shapes_of(init: Callable, *inputs: Any) -> Shapes:
    """Returns the shapes of the parameters that init(key, *inputs) would make, see `flat_shapes`.

    Raises:
      UserError: there is no such model.
    """
    try:
        made = jax.eval_shape(lambda *given: init(jax.random.key(0), *given), *inputs)["params"]
    except Exception as error:  # of any layer: widths that do not go together
        raise UserError(f"expected settings of a model that can be built, found others ({reason(error)})") from error
    return flat_shapes(made)


def abstract_inputs(specs: Sequence[ModalitySpec], side: int) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
    """Returns one abstract tile with one date.

    Args:
      specs: the modalities.
      side: of the tile, in patches.
    """
    inputs = {}
    for spec in specs:
        pixels = side * spec.patch
        shape = {"series": (1, pixels, pixels, spec.channels), "image": (pixels, pixels, spec.channels), "location": (2,)}[spec.kind]
        inputs[spec.name] = {"values": array(1, *shape), "present": array(1, dtype=bool)}
        if spec.kind == "series":
            inputs[spec.name] |= {"dates": array(1, 1, dtype=jnp.int32), "valid": array(1, 1, dtype=bool)}
    return inputs


def model_shapes(model: MultimodalModel) -> Shapes:
    """Returns the shapes of what a whole model needs to predict. `POSITIONS` are those of tiles of 2 x 2 patches.

    Raises:
      UserError: see `shapes_of`.
    """
    # Reflection needs larger tiles than 2 x 2 patches, and has no parameters.
    utae = dataclasses.replace(model.config.utae, border="zeros")
    model = model.copy(config=dataclasses.replace(model.config, utae=utae))
    return shapes_of(lambda *given: model.init(*given, train=False), abstract_inputs(model.specs, 2), array(1, len(model.specs), dtype=bool))


def compare(expected: Shapes, found: Mapping[str, tuple[int, ...]], problems: Problems, where: str) -> None:
    """Adds every parameter that is missing, unknown or of another shape to `problems`."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            problems.add(where, f"{name}: expected {expected[name]}, found none")
        elif name not in expected:
            problems.add(where, f"{name}: expected no such parameter, found {tuple(found[name])}")
        elif tuple(found[name]) != expected[name]:
            problems.add(where, f"{name}: expected {expected[name]}, found {tuple(found[name])}")


def with_grid_of(expected: Shapes, found: Mapping[str, tuple[int, ...]]) -> Shapes:
    """Returns `model_shapes` with the `POSITIONS` of `found`, if these are of a square grid of patches."""
    rows = {found[name][0] for name in POSITIONS if name in expected and found.get(name)}
    if len(rows) != 1:
        return expected
    count = rows.pop()
    if count < 2 or math.isqrt(count - 1) ** 2 != count - 1:
        return expected
    return expected | {name: (count, *expected[name][1:]) for name in POSITIONS if name in expected}


def trained_grid(params: Params) -> int | None:
    """Returns the tokens per tile side that a model with learned `POSITIONS` is limited to; None = it takes tiles of any size."""
    position = flat_shapes(params).get(POSITIONS[0])
    return math.isqrt(position[0] - 1) if position else None
