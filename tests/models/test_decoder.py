"""The decoders of masked reconstruction, and the dates they decode."""

import jax
import jax.numpy as jnp
import numpy as np

from omnisat_jax.models.decoder import Decoder, most_attended


def test_the_most_attended_valid_dates_are_chosen():
    weights = jnp.asarray([[0.1, 0.5, 0.3, 0.9, 0.0, 0.0, 0.0, 0.0]])
    valid = jnp.asarray([[True, True, True, False, True, True, True, True]])
    chosen, known = most_attended(weights[:, :, None, None], valid, 0.25)
    assert chosen.tolist() == [[1, 2]] and known.all()
    _, known = most_attended(weights[:, :, None, None], jnp.zeros((1, 8), bool), 0.25)
    assert not known.any()


def test_decoded_shapes_and_dates():
    tokens, dates = jnp.ones((2, 4, 8), jnp.bfloat16), jnp.asarray([[3, 40, 3], [0, 7, 9]])
    decoder = Decoder(hidden=16, values=12, period=1000.0, dtype=jnp.bfloat16)
    params = decoder.init(jax.random.key(0), tokens, dates)
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    image, series = decoder.apply(params, tokens), decoder.apply(params, tokens, dates)
    assert image.shape == (2, 4, 12) and series.shape == (2, 3, 4, 12) and image.dtype == series.dtype == jnp.float32
    np.testing.assert_array_equal(series[0, 0], series[0, 2])  # the same date
    assert np.abs(series[0, 0] - series[0, 1]).max() > 0
