"""2-D convolution with one meaning on every platform, and a fast form on CPU.

XLA's CPU backend computes the weight gradient of a convolution, strided convolutions and unpadded ones several times slower than the
equivalent matrix product. On CPU the weight gradient and strided convolutions are therefore a scan over small groups of images of
(neighborhoods as rows) @ (kernel as matrix), and the other convolutions take the one form that is fast. On other platforms the platform's
own convolution is used. `benchmarks/utae_step.py` measures the difference.

Letters: B images, H W pixels, I input channels, O output channels, K kernel side.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from omnisat_jax.errors import UserError
from omnisat_jax.ops.plain import is_plain

_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# Rows of one matrix product on CPU: enough to keep the cores busy, few enough to stay in the cache.
_CPU_ROWS = 1024


def pad_borders(x: jax.Array, amount: int, mode: str) -> jax.Array:
    """Pads H and W by `amount` pixels on each side.

    Args:
      x: (B,H,W,I), any dtype.
      amount: pixels per side; 0 returns x.
      mode: "reflect" (the border pixel is not repeated) or "zeros".

    Raises:
      UserError: an unknown mode, or an image too small to reflect.
    """
    if amount == 0:
        return x
    if mode == "zeros":
        return jnp.pad(x, ((0, 0), (amount, amount), (amount, amount), (0, 0)))
    if mode != "reflect":
        raise UserError(f"padding mode must be 'reflect' or 'zeros', found {mode!r}")
    for axis in (1, 2):
        if x.shape[axis] <= amount:
            raise UserError(
                f"reflect padding by {amount} px needs an image of at least {amount + 1} px per side, found "
                f"{x.shape[1]}x{x.shape[2]}: use a larger crop or fewer encoder levels"
            )
        # Slices and a concatenation, as `jnp.pad(mode="reflect")` costs as much as the convolution itself on CPU.
        size = x.shape[axis]
        before = jnp.flip(lax.slice_in_dim(x, 1, 1 + amount, axis=axis), axis)
        after = jnp.flip(lax.slice_in_dim(x, size - 1 - amount, size - 1, axis=axis), axis)
        x = jnp.concatenate([before, x, after], axis)
    return x


def direct(x: jax.Array, kernel: jax.Array, stride: int = 1, amount: int = 0, mode: str = "reflect") -> jax.Array:
    """`conv2d` with the platform's own convolution, on every platform."""
    return lax.conv_general_dilated(pad_borders(x, amount, mode), kernel, (stride, stride), "VALID", dimension_numbers=_DIMENSIONS)


def _plain(x, kernel, stride, amount, mode):
    """`direct` without a padding of its own where the convolution can do it: jax2onnx cannot pad a number of images that is open."""
    border = amount if mode == "zeros" else 0
    x = pad_borders(x, amount - border, mode)
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), ((border, border), (border, border)), dimension_numbers=_DIMENSIONS
    )


def _rows(x, side, stride, amount, mode):
    """Every K x K neighborhood of x (B,H,W,I) as a row: (B,H',W',K*K*I)."""
    x = pad_borders(x, amount, mode)
    height = (x.shape[1] - side) // stride + 1
    width = (x.shape[2] - side) // stride + 1
    return jnp.concatenate(
        [
            x[:, i : i + stride * (height - 1) + 1 : stride, j : j + stride * (width - 1) + 1 : stride]
            for i in range(side)
            for j in range(side)
        ],
        axis=-1,
    )


def _group(batch, pixels):
    """The largest divisor of `batch` whose images together have at most _CPU_ROWS pixels (at least 1); 1 if `batch` is symbolic."""
    if not isinstance(batch, int):
        return 1  # divides any number of images
    size = max(1, min(batch, _CPU_ROWS // max(pixels, 1)))
    while batch % size:
        size -= 1
    return size


def _grouped(x, group):
    """(B,...) -> (B/group,group,...)."""
    return x.reshape(x.shape[0] // group, group, *x.shape[1:])


def _output_pixels(x, side, stride, amount):
    """Pixels of one image of the result."""
    return ((x.shape[1] + 2 * amount - side) // stride + 1) * ((x.shape[2] + 2 * amount - side) // stride + 1)


def _same(x, kernel, amount):
    """Convolution with stride 1 and zero padding, the one form for which XLA's CPU backend has a fast kernel."""
    return lax.conv_general_dilated(x, kernel, (1, 1), ((amount, amount), (amount, amount)), dimension_numbers=_DIMENSIONS)


def _forward_cpu(x, kernel, stride, amount, mode):
    side = kernel.shape[0]
    if stride == 1 and side == 2 * amount + 1:
        if mode == "zeros":
            return _same(x, kernel, amount)
        out = _same(pad_borders(x, amount, mode), kernel, amount)
        return out[:, amount:-amount, amount:-amount]
    matrix = kernel.reshape(-1, kernel.shape[-1])
    group = _group(x.shape[0], _output_pixels(x, side, stride, amount))
    out = lax.map(lambda images: _rows(images, side, stride, amount, mode) @ matrix, _grouped(x, group))
    return out.reshape(x.shape[0], *out.shape[2:])


def _backward_cpu(x, kernel, cotangent, stride, amount, mode):
    side = kernel.shape[0]
    matrix = kernel.reshape(-1, kernel.shape[-1])
    group = _group(x.shape[0], cotangent.shape[1] * cotangent.shape[2])
    fast = stride == 1 and side == 2 * amount + 1
    to_rows = functools.partial(_rows, side=side, stride=stride, amount=amount, mode=mode)

    def one(total: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array | None]:
        images, upstream = pair
        flat = upstream.reshape(-1, upstream.shape[-1])
        rows, pull = jax.vjp(to_rows, images)
        total = total + rows.reshape(flat.shape[0], -1).T @ flat
        return total, None if fast else pull(upstream @ matrix.T)[0]

    total, images = lax.scan(one, jnp.zeros_like(matrix), (_grouped(x, group), _grouped(cotangent, group)))
    if images is not None:
        return images.reshape(x.shape), total.reshape(kernel.shape)
    # The gradient with respect to the input is a convolution of the cotangent with the kernel rotated by 180 degrees.
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    if mode == "zeros":
        return _same(cotangent, turned, amount), total.reshape(kernel.shape)
    padded = _same(pad_borders(cotangent, amount, "zeros"), turned, amount)
    pull = jax.vjp(lambda images: pad_borders(images, amount, mode), x)[1]
    return pull(padded)[0], total.reshape(kernel.shape)


def _one_device():
    """Whether the scan over images may be used: it would move every image of a batch that is sharded over devices."""
    return jax.device_count() == 1


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv2d(x: jax.Array, kernel: jax.Array, stride: int = 1, amount: int = 0, mode: str = "reflect") -> jax.Array:
    """Cross-correlation of x with kernel, which deep-learning libraries call convolution.

    Args:
      x: (B,H,W,I) float.
      kernel: (K,K,I,O), same dtype.
      stride: pixels between outputs.
      amount: border pixels added on each side before the convolution.
      mode: of the padding, "reflect" or "zeros".

    Returns:
      (B,H',W',O) with H' = (H + 2*amount - K) // stride + 1.
    """
    if is_plain():
        return _plain(x, kernel, stride, amount, mode)
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_forward_cpu if _one_device() else direct, stride=stride, amount=amount, mode=mode),
        default=functools.partial(direct, stride=stride, amount=amount, mode=mode),
    )


def _conv2d_forward(x, kernel, stride, amount, mode):
    return conv2d(x, kernel, stride, amount, mode), (x, kernel)


def _conv2d_backward(stride, amount, mode, saved, cotangent):
    def elsewhere(x: jax.Array, kernel: jax.Array, upstream: jax.Array) -> tuple[jax.Array, jax.Array]:
        # Linear in each argument, so that its transposes need no forward pass.
        to_input = jax.linear_transpose(lambda x: direct(x, kernel, stride, amount, mode), x)
        to_kernel = jax.linear_transpose(lambda kernel: direct(x, kernel, stride, amount, mode), kernel)
        return *to_input(upstream), *to_kernel(upstream)

    def cpu(x: jax.Array, kernel: jax.Array, upstream: jax.Array) -> tuple[jax.Array, jax.Array]:
        backward = _backward_cpu if _one_device() else None
        return backward(x, kernel, upstream, stride, amount, mode) if backward else elsewhere(x, kernel, upstream)

    return lax.platform_dependent(*saved, cotangent, cpu=cpu, default=elsewhere)


conv2d.defvjp(_conv2d_forward, _conv2d_backward)
