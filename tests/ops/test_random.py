import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from omnisat_jax.ops.random import Streams, drop_modalities, mask_tokens, of_microbatch, stratified


def data(key):
    return np.asarray(jax.random.key_data(key)).tobytes()


def test_streams_depend_on_seed_name_and_step_alone():
    keys = {
        (seed, name, step): data(Streams(jax.random.key(seed), jnp.int32(step))(name))
        for seed in (0, 1) for name in ("dropout", "mask") for step in (0, 1)
    }  # fmt: skip
    assert len(set(keys.values())) == 8
    traced = jax.jit(lambda step: jax.random.key_data(Streams(jax.random.key(1), step)("mask")))(jnp.int32(1))
    assert np.asarray(traced).tobytes() == keys[1, "mask", 1]


def test_the_first_microbatch_draws_as_the_whole_batch_and_the_others_differently():
    keys = {"a": jax.random.key(0), "b": jax.random.key(1)}
    drawn = [of_microbatch(keys, jnp.int32(index)) for index in range(3)]
    assert {name: data(key) for name, key in drawn[0].items()} == {name: data(key) for name, key in keys.items()}
    assert len({data(key) for each in drawn for key in each.values()}) == 6


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.0, 0.3, 0.99]))
def test_dropped_modalities_are_a_subset_and_never_all(seed, rate):
    present = np.random.default_rng(seed).uniform(size=(16, 4)) < 0.6
    present[0] = False
    kept = np.asarray(drop_modalities(jax.random.key(seed), jnp.asarray(present), rate))
    assert kept.dtype == bool and not (kept & ~present).any()
    np.testing.assert_array_equal(kept.any(1), present.any(1))
    if rate == 0:
        np.testing.assert_array_equal(kept, present)


def test_modalities_are_dropped_as_often_as_asked_and_evenly():
    kept = np.asarray(drop_modalities(jax.random.key(0), jnp.ones((20_000, 3), bool), 0.5))
    # All three are drawn out of one time in eight; then one of them comes back.
    np.testing.assert_allclose(kept.mean(0), 0.5 + 0.125 / 3, atol=0.01)
    lonely = np.asarray(drop_modalities(jax.random.key(1), jnp.ones((20_000, 3), bool), 1.0))
    assert (lonely.sum(1) == 1).all()
    np.testing.assert_allclose(lonely.mean(0), 1 / 3, atol=0.02)


@pytest.mark.parametrize(("ratio", "count"), [(0.0, 0), (0.75, 36), (0.99, 48)])
def test_every_sample_has_the_same_number_of_masked_tokens(ratio, count):
    masked = np.asarray(mask_tokens(jax.random.key(0), (5, 3, 16), ratio))
    assert masked.shape == (5, 3, 16) and (masked.sum((1, 2)) == count).all()
    if ratio == 0.75:
        assert len({row.tobytes() for row in masked}) == 5


def test_every_token_is_masked_equally_often():
    masked = np.asarray(mask_tokens(jax.random.key(0), (20_000, 2, 4), 0.25))
    np.testing.assert_allclose(masked.mean(0), 0.25, atol=0.015)


def test_stratified_draws_are_ascending_and_one_per_interval():
    draws = np.asarray(stratified(jax.random.key(0), 50))
    assert draws.dtype == np.float32 and ((draws >= 0) & (draws < 1)).all() and (np.diff(draws) > 0).all()
    np.testing.assert_array_equal((draws * 50).astype(int), np.arange(50))
    assert np.asarray(stratified(jax.random.key(1), 65_536)).max() < 1
