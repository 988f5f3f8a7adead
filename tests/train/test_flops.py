"""Operations are counted as often as they run."""

import jax
import jax.numpy as jnp
import pytest

from omnisat_jax.train.flops import count_flops


def test_flops_of_products_loops_and_convolutions():
    a, b = jnp.ones((4, 8)), jnp.ones((8, 16))
    assert count_flops(lambda a, b: a @ b, a, b) == 2 * 4 * 8 * 16
    loop = lambda a: jax.lax.scan(lambda c, _: (c @ jnp.ones((8, 8)), None), a, length=5)[0]  # noqa: E731
    assert count_flops(loop, a) == 5 * 2 * 4 * 8 * 8
    image, kernel = jnp.ones((2, 10, 10, 3)), jnp.ones((3, 3, 3, 7))
    convolve = lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))  # noqa: E731
    assert count_flops(convolve, image, kernel) == 2 * 9 * 3 * 2 * 100 * 7
    # A step forward and back is three products; recomputation adds one.
    gradient = jax.grad(lambda a, b: (jnp.sin(a @ b) ** 2).sum(), (0, 1))
    assert count_flops(gradient, a, b) == 3 * 2 * 4 * 8 * 16
    again = jax.grad(jax.checkpoint(lambda a, b: (jnp.sin(a @ b) ** 2).sum()), (0, 1))
    assert count_flops(again, a, b) == 4 * 2 * 4 * 8 * 16


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

        return [count_flops(function, query, key, key) for function in (total, jax.grad(total, (0, 1, 2)))]

    assert attend("cudnn") == attend("xla")
    assert attend("xla")[0] == 2 * 2 * 2 * 16 * 64 * 4 * 32
