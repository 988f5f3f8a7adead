"""A dense layer with the channels before the pixels, against `nn.Dense`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.models.layers.channels_first import ChannelsFirstDense


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_equals_a_dense_layer_with_the_same_parameters(leading, channels_last):
    x = jax.random.normal(jax.random.key(0), (*leading, 5, 7))
    module, dense = ChannelsFirstDense(4, channels_last=channels_last), nn.Dense(4)
    params, expected = module.init(jax.random.key(1), x), dense.init(jax.random.key(1), x.swapaxes(-1, -2))
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    out, wanted = module.apply(params, x), dense.apply(params, x.swapaxes(-1, -2))
    np.testing.assert_allclose(out, wanted if channels_last else jnp.swapaxes(wanted, -1, -2), rtol=1e-5, atol=1e-6)


def test_computes_in_its_dtype_with_float32_parameters():
    x = jnp.ones((2, 5, 7))
    module = ChannelsFirstDense(4, jnp.bfloat16)
    params = module.init(jax.random.key(1), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert module.apply(params, x).dtype == jnp.bfloat16
