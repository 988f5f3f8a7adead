"""Masked reconstruction: targets, and the tokens that count."""

import jax
import jax.numpy as jnp
import numpy as np

from omnisat_jax.losses.reconstruction import hidden_mean, image_error, level_error, series_error


def standard(x, axes):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-6)


def test_image_targets_are_standardised_by_patch():
    rng = np.random.default_rng(0)
    values, predicted = rng.normal(3, 2, (2, 4, 4, 3)), rng.normal(size=(2, 4, 12))
    found = image_error(jnp.asarray(predicted), jnp.asarray(values), 2)
    for sample in range(2):
        for patch, (row, column) in enumerate([(0, 0), (0, 2), (2, 0), (2, 2)]):
            target = standard(values[sample, row : row + 2, column : column + 2].reshape(-1), 0)
            np.testing.assert_allclose(found[sample, patch], ((predicted[sample, patch] - target) ** 2).mean(), rtol=1e-4)


def test_series_targets_are_standardised_by_date_and_band():
    rng = np.random.default_rng(0)
    values, predicted = rng.normal(3, 2, (1, 2, 4, 4, 2)), rng.normal(size=(1, 2, 4, 8))
    found = series_error(jnp.asarray(predicted), jnp.asarray(values), jnp.asarray([[True, False]]), 2)
    frame = standard(values[0, 0], (0, 1))
    target = np.stack([frame[r : r + 2, c : c + 2].reshape(-1) for r, c in [(0, 0), (0, 2), (2, 0), (2, 2)]])
    np.testing.assert_allclose(found[0], ((predicted[0, 0] - target) ** 2).mean(-1), rtol=1e-4)
    assert not series_error(jnp.asarray(predicted), jnp.asarray(values), jnp.zeros((1, 2), bool), 2).any()


def test_a_perfect_prediction_has_no_error():
    values = np.random.default_rng(0).normal(size=(1, 2, 2, 1))
    target = standard(values.reshape(1, 1, 4), -1)
    assert image_error(jnp.asarray(target), jnp.asarray(values), 2)[0, 0] < 1e-9


def test_only_hidden_tokens_count():
    errors = [jnp.asarray([[1.0, 5.0]]), jnp.asarray([[2.0, 7.0]]), jnp.asarray([[9.0, 9.0]])]
    hidden = jnp.asarray([[[True, False], [True, True], [False, False]]])
    assert hidden_mean(errors, hidden) == (1.0 + 4.5) / 2
    assert hidden_mean(errors, jnp.zeros((1, 3, 2), bool)) == 0


def huber(x):
    return np.where(np.abs(x) <= 1, x**2 / 2, np.abs(x) - 0.5)


def test_only_targets_that_keep_their_level_tell_tiles_of_other_levels_apart():
    rng = np.random.default_rng(0)
    values, predicted, known = rng.normal(size=(1, 2, 4, 4, 3)), jnp.asarray(rng.normal(size=(1, 2, 4, 12))), jnp.ones((1, 2, 4, 4, 3), bool)
    low, high = jnp.asarray(values), jnp.asarray(values + 0.7)
    valid = jnp.ones((1, 2), bool)
    np.testing.assert_allclose(series_error(predicted, low, valid, 2), series_error(predicted, high, valid, 2), rtol=1e-4)
    np.testing.assert_allclose(image_error(predicted[:, 0], low[:, 0], 2), image_error(predicted[:, 0], high[:, 0], 2), rtol=1e-4)
    assert np.abs(level_error(predicted, low, known, 2)[0] - level_error(predicted, high, known, 2)[0]).min() > 0.01


def test_the_error_of_levels_is_the_huber_error_of_known_values():
    rng = np.random.default_rng(1)
    values, predicted, known = rng.normal(0, 3, (2, 3, 4, 4, 2)), rng.normal(size=(2, 3, 4, 8)), rng.random((2, 3, 4, 4, 2)) < 0.6
    known[0, :, :2, :2] = False  # the first patch of the first tile
    error, counted = level_error(jnp.asarray(predicted), jnp.asarray(values), jnp.asarray(known), 2)
    for sample in range(2):
        for patch, (row, column) in enumerate([(0, 0), (0, 2), (2, 0), (2, 2)]):
            place = sample, slice(None), slice(row, row + 2), slice(column, column + 2)
            counts = known[place].reshape(3, -1)
            assert counted[sample, patch] == counts.any()
            expected = huber(predicted[sample, :, patch] - values[place].reshape(3, -1))[counts]
            np.testing.assert_allclose(error[sample, patch], expected.mean() if counts.any() else 0, rtol=1e-5)
    assert not counted[0, 0] and counted.sum() == 7


def test_unknown_and_cloudy_values_have_no_or_a_bounded_gradient():
    values, known = jnp.full((1, 1, 2, 2, 1), 50.0).at[0, 0, 0, 1].set(0.0), jnp.ones((1, 1, 2, 2, 1), bool).at[0, 0, 1].set(False)
    gradient = jax.grad(lambda p: level_error(p, values, known, 2)[0].sum())(jnp.full((1, 1, 1, 4), 0.5))
    np.testing.assert_allclose(gradient[0, 0, 0], [-0.5, 0.25, 0, 0])  # of the mean of two values: a cloud, and one at a distance of 0.5
    nothing = jax.grad(lambda p: level_error(p, values, ~known & False, 2)[0].sum())(jnp.full((1, 1, 1, 4), 0.5))
    assert not nothing.any()
