"""Operations are counted as often as they run."""

import jax
import jax.numpy as jnp
import pytest

from omnisat_jax.ops.convolution import conv2d
from omnisat_jax.train.flops import count_flops, program_flops


def test_flops_of_products_loops_and_convolutions():
    a, b = jnp.ones((4, 8)), jnp.ones((8, 16))
    assert count_flops(lambda a, b: a @ b, a, b) == 2 * 4 * 8 * 16
    loop = lambda a: jax.lax.scan(lambda c, _: (c @ jnp.ones((8, 8)), None), a, length=5)[0]  # noqa: E731
    assert count_flops(loop, a) == 5 * 2 * 4 * 8 * 8
    image, kernel = jnp.ones((2, 10, 10, 3)), jnp.ones((3, 3, 3, 7))
    convolve = lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))  # noqa: E731
    assert count_flops(convolve, image, kernel) == 2 * 9 * 3 * 2 * 100 * 7
    # A step forward and back is three products; recomputation adds one.
    gradient = jax.value_and_grad(lambda a, b: (jnp.sin(a @ b) ** 2).sum(), (0, 1))
    assert count_flops(gradient, a, b) == 3 * 2 * 4 * 8 * 16
    again = jax.value_and_grad(jax.checkpoint(lambda a, b: (jnp.sin(a @ b) ** 2).sum()), (0, 1))
    assert count_flops(again, a, b) == 4 * 2 * 4 * 8 * 16


def test_what_no_result_depends_on_does_not_count():
    """A pull-back alone leaves its forward pass behind in the traced program."""
    a, b = jnp.ones((4, 8)), jnp.ones((8, 16))
    assert count_flops(lambda a, b: jax.vjp(jnp.matmul, a, b)[1](jnp.ones((4, 16))), a, b) == 2 * 2 * 4 * 8 * 16
    inside = lambda a, b: jax.lax.cond(a[0, 0] > 0, lambda: jax.vjp(jnp.matmul, a, b)[1](jnp.ones((4, 16)))[0], lambda: a)  # noqa: E731
    assert count_flops(inside, a, b) == 2 * 4 * 8 * 16


def test_the_forward_pass_of_a_convolution_counts_once():
    image, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))

    def loss(kernel):
        return (conv2d(image, kernel, 1, 1, "reflect") ** 2).sum()

    forward = 2 * 2 * 64 * 27 * 5
    assert count_flops(loss, kernel) == forward and count_flops(jax.value_and_grad(loss), kernel) == 2 * forward


@pytest.mark.parametrize(
    ("left", "right", "subscripts", "padded"),
    [
        ((1024, 256), (256, 128), "mk,kn->mn", 2 * 1024 * 256 * 128),  # fills the unit
        ((1024, 32), (32, 1024), "mk,kn->mn", 2 * 1024 * 128 * 1024),  # heads of width 32
        ((1000, 128), (128, 3), "mk,kn->mn", 2 * 1024 * 128 * 8),  # 3 columns are cheaper as rows
        ((4, 100, 128), (4, 128, 128), "gmk,gkn->gmn", 4 * 2 * 104 * 128 * 128),
        ((64, 1, 50), (64, 50, 4), "gmk,gkn->gmn", 32 * 64 * 2 * 50 * 4),  # the vector unit
    ],
)
def test_products_are_padded_to_the_matrix_unit(left, right, subscripts, padded):
    program = jax.make_jaxpr(lambda a, b: jnp.einsum(subscripts, a, b))(jnp.ones(left), jnp.ones(right))
    assert program_flops(program, matrix_unit=128) == padded >= program_flops(program)


def test_convolutions_are_padded_to_the_matrix_unit():
    numbers = ("NHWC", "HWIO", "NHWC")
    image, kernel = jnp.ones((2, 16, 16, 3)), jnp.ones((3, 3, 3, 64))
    program = jax.make_jaxpr(lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=numbers))(image, kernel)
    assert program_flops(program, matrix_unit=128) == 2 * 512 * 128 * 64  # the 64 filters are the rows
    grouped = jax.make_jaxpr(
        lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=2)
    )(jnp.ones((1, 16, 16, 128)), jnp.ones((3, 3, 64, 256)))
    assert program_flops(grouped) == 2 * 256 * 9 * 64 * 256
    assert program_flops(grouped, matrix_unit=128) == 2 * 2 * 256 * 640 * 128


def test_the_products_of_cudnn_attention_are_those_of_attention(monkeypatch):
    """Traced as if cuDNN were there; nothing runs."""
    cudnn = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    for check in ("check_cudnn_version", "check_compute_capability"):
        monkeypatch.setattr(cudnn, check, lambda *_: 91_900)
    query, key = (jax.ShapeDtypeStruct((2, length, 4, 32), jnp.bfloat16) for length in (16, 64))
    mask = jnp.ones((2, 1, 16, 64), bool)

    def attend(implementation):
        def total(q, k, v):
            return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation=implementation).astype(jnp.float32).sum()

        return [count_flops(function, query, key, key) for function in (total, jax.value_and_grad(total, (0, 1, 2)))]

    assert attend("cudnn") == attend("xla")
    assert attend("xla")[0] == 2 * 2 * 2 * 16 * 64 * 4 * 32
