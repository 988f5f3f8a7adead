"""Floating-point operations of a program, counted in its jaxpr: loops as often as they run, unlike XLA's own analysis.

Letters of a product: G independent products, M rows, K summed, N columns.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core
from jax.interpreters import partial_eval

_CUDNN_ATTENTION = "dot_product_attention_"  # start of the names of cuDNN's primitives, which hide their products
_ROWS = 8  # that a TPU sends through a matrix unit together
# A product that would use less of the matrix unit than this runs on the vector unit, which is about that much slower (an assumption).
_VECTOR_UNIT = 32


def count_flops(function: Callable[..., Any], *arguments: Any) -> float:
    """Multiplications and additions of all matrix products and convolutions, including recomputation, over all devices.

    What no result depends on does not count, as it never runs. Of a convolution, the form for accelerators counts on every platform.

    Args:
      function: jittable.
      *arguments: arrays or ShapeDtypeStructs.
    """
    return program_flops(jax.make_jaxpr(function)(*arguments))


def program_flops(program: core.ClosedJaxpr, matrix_unit: int = 1) -> float:
    """`count_flops` of a program that is already traced (`jitted.trace(...).jaxpr`).

    Args:
      program: the program.
      matrix_unit: side of the matrix units of a TPU. Every product and convolution is then counted with the padding of its summed dimension and one of the
        others to multiples of the side, and of the third dimension to 8; but at most at 32 times its operations, which the vector unit needs. 1 = no padding.
    """
    # What no result depends on is traced but never runs.
    used, _ = partial_eval.dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars))
    return _count(used, matrix_unit)


def _count(jaxpr, unit):
    total, platform = 0, {}
    for equation in jaxpr.eqns:
        if equation.primitive.name == "platform_index":
            platform[equation.outvars[0]] = equation.params["platforms"]
        total += _equation(equation, unit, platform)
    return total


def _equation(equation, unit, platform):
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        return _product_flops(*_dot_sides(equation), unit)
    if name == "conv_general_dilated":
        return _product_flops(*_convolution_sides(equation), unit)
    if name.startswith(_CUDNN_ATTENTION):
        query, key = (variable.aval.shape for variable in equation.invars[:2])
        return _cudnn_attention(name, query, key, parameters["layout"])
    inside = [_count(inner, unit) for inner in _programs(parameters)]
    if name == "scan":
        return parameters["length"] * sum(inside)
    if name == "cond":
        # Of the forms of a program for several platforms, the one that is not made for any in particular.
        forms = platform.get(equation.invars[0], ())
        return inside[forms.index(None)] if None in forms else max(inside, default=0)
    if name == "shard_map":
        return parameters["mesh"].size * sum(inside)
    return sum(inside)


def _dot_sides(equation):
    """(G, M, K, N) of a dot_general."""
    (contracted, contracted_right), (batch, batch_right) = equation.params["dimension_numbers"]
    left, right = (variable.aval.shape for variable in equation.invars[:2])
    rows = math.prod(size for axis, size in enumerate(left) if axis not in (*contracted, *batch))
    columns = math.prod(size for axis, size in enumerate(right) if axis not in (*contracted_right, *batch_right))
    return math.prod(left[axis] for axis in batch), rows, math.prod(left[axis] for axis in contracted), columns


def _convolution_sides(equation):
    """(G, M, K, N) of a convolution as a product of pixels and filters."""
    parameters = equation.params
    numbers = parameters["dimension_numbers"]
    kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
    depth = math.prod(size for axis, size in enumerate(kernel) if axis != numbers.rhs_spec[0])
    groups = parameters["feature_group_count"] * parameters["batch_group_count"]
    pixels = math.prod(size for axis, size in enumerate(out) if axis != numbers.out_spec[1])
    # The gradient of a strided convolution puts zeros between pixels; a good program does not multiply by them.
    return groups, pixels / math.prod(parameters["lhs_dilation"]), depth, out[numbers.out_spec[1]] / groups


def _product_flops(groups, rows, depth, columns, unit):
    flops = 2 * groups * rows * depth * columns
    if unit == 1:
        return flops
    # Either operand can be the one that stays in the unit.
    sides = min(_up(columns, unit) * _up(rows, _ROWS), _up(rows, unit) * _up(columns, _ROWS))
    return min(2 * groups * _up(depth, unit) * sides, _VECTOR_UNIT * flops)


def _up(size, multiple):
    return math.ceil(size / multiple) * multiple


def _cudnn_attention(name, query, key, layout):
    """Two products in the forward pass and four in the backward pass, as in attention without cuDNN; what it recomputes inside is not counted."""
    length_axis = 2 if layout else 1  # (B,N,L,D) or (B,L,N,D)
    products = 4 if name.startswith(f"{_CUDNN_ATTENTION}bwd") else 2
    return products * 2 * math.prod(query) * key[length_axis]


def _programs(parameters):
    """The programs inside the parameters of an equation."""
    for value in parameters.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item
