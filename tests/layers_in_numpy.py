"""Layers written in NumPy, to compare modules with, and modules run with random parameters."""

import functools

import jax
import numpy as np
from scipy.special import erf


def random_params(module, *arguments, seed=0, **keywords):
    """Parameters of a module far from their initial values, so that what starts at zero has an effect; nothing is compiled."""
    made = jax.eval_shape(functools.partial(module.init, **keywords), jax.random.key(0), *arguments)["params"]
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        centre = 1.0 if path[-1].key == "scale" else 0.0
        return np.asarray(centre + rng.normal(0, 0.3, leaf.shape), leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, made)


def run(module, params, *arguments, **keywords):
    """What the module returns, at full precision."""
    with jax.default_matmul_precision("highest"):
        try:
            function = _compiled(module, tuple(sorted(keywords.items())))
        except TypeError:  # an array among the keywords
            function = jax.jit(functools.partial(module.apply, **keywords))
        return function({"params": params}, *arguments)


@functools.cache
def _compiled(module, keywords):
    """The module as a function that is compiled once for each form of its arguments."""
    return jax.jit(functools.partial(module.apply, **dict(keywords)))


def gradient(module, params, wanted, *arguments, **keywords):
    """Gradient of the sum of squares of the module's (first) output by argument number `wanted`."""

    def total(changing):
        given = [*arguments[:wanted], changing, *arguments[wanted + 1 :]]
        out = module.apply({"params": params}, *given, **keywords)
        return (jax.tree.leaves(out)[0] ** 2).sum()

    return np.asarray(jax.jit(jax.grad(total))(arguments[wanted]))


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def softmax(x, axis=-1):
    x = np.exp(x - x.max(axis, keepdims=True))
    return x / x.sum(axis, keepdims=True)


def dense(x, params):
    return x @ params["kernel"] + params.get("bias", 0)


def layer_norm(x, params, epsilon=1e-6):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * params["scale"] + params["bias"]


def group_norm(x, groups, params, epsilon=1e-5):
    """Of x (B,...,C): mean and variance over everything but B, in each group of channels."""
    grouped = x.reshape(x.shape[0], -1, groups, x.shape[-1] // groups)
    centred = grouped - grouped.mean((1, 3), keepdims=True)
    out = centred / np.sqrt((centred**2).mean((1, 3), keepdims=True) + epsilon)
    return out.reshape(x.shape) * params["scale"] + params["bias"]


def convolve(x, kernel, stride, amount, mode):
    """Cross-correlation of x (B,H,W,I) with kernel (K,K,I,O), one output pixel after another."""
    padding = ((0, 0), (amount, amount), (amount, amount), (0, 0))
    x = np.pad(np.asarray(x, np.float64), padding, mode={"zeros": "constant", "reflect": "reflect"}[mode])
    side = kernel.shape[0]
    height, width = ((size - side) // stride + 1 for size in x.shape[1:3])
    out = np.zeros((x.shape[0], height, width, kernel.shape[-1]))
    for row in range(height):
        for column in range(width):
            window = x[:, row * stride : row * stride + side, column * stride : column * stride + side]
            out[:, row, column] = np.einsum("bijc,ijco->bo", window, kernel)
    return out


def date_sinusoid(dates, width, period):
    """sin(date / period^(2 floor(i/2) / width)) on even channels i, cos on odd ones."""
    out = np.zeros((*dates.shape, width))
    for i in range(width):
        angle = dates / period ** (2 * (i // 2) / width)
        out[..., i] = np.cos(angle) if i % 2 else np.sin(angle)
    return out
