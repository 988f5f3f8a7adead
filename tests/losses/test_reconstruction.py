"""Masked reconstruction: targets, and the tokens that count."""

import jax.numpy as jnp
import numpy as np

from omnisat_jax.losses.reconstruction import hidden_mean, image_error, series_error


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
