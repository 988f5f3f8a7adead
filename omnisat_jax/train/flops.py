"""Floating-point operations of a program, counted in its jaxpr: loops as often as they run, unlike XLA's own analysis."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core

_CUDNN_ATTENTION = "dot_product_attention_"  # start of the names of cuDNN's primitives, which hide their products


def count_flops(function: Callable[..., Any], *arguments: Any) -> float:
    """Multiplications and additions of all matrix products and convolutions, including recomputation, over all devices.

    Args:
      function: jittable.
      *arguments: arrays or ShapeDtypeStructs.
    """
    return program_flops(jax.make_jaxpr(function)(*arguments))


def program_flops(program: core.ClosedJaxpr) -> float:
    """`count_flops` of a program that is already traced (`jitted.trace(...).jaxpr`)."""
    return _count(program.jaxpr)


def _count(jaxpr):
    return sum(_equation(equation) for equation in jaxpr.eqns)


def _equation(equation):
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        return 2 * depth * math.prod(equation.outvars[0].aval.shape)
    if name == "conv_general_dilated":
        numbers = parameters["dimension_numbers"]
        kernel = equation.invars[1].aval.shape
        inner = math.prod(size for axis, size in enumerate(kernel) if axis != numbers.rhs_spec[0])
        out = math.prod(equation.outvars[0].aval.shape)
        # The gradient of a strided convolution puts zeros between pixels; a good program does not multiply by them.
        return 2 * inner * out / math.prod(parameters["lhs_dilation"])
    if name.startswith(_CUDNN_ATTENTION):
        query, key = (variable.aval.shape for variable in equation.invars[:2])
        return _cudnn_attention(name, query, key, parameters["layout"])
    inside = [_count(inner) for inner in _programs(parameters)]
    if name == "scan":
        return parameters["length"] * sum(inside)
    if name == "cond":
        return max(inside, default=0)
    if name == "shard_map":
        return parameters["mesh"].size * sum(inside)
    return sum(inside)


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
