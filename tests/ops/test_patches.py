import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from omnisat_jax.ops.patches import masked_mean, pool_to_grid, resize, roll_map, roll_tokens, to_patches


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_patches_are_row_by_row():
    x = draw(2, 6, 6, 3)
    patches = np.asarray(to_patches(x, 2))
    assert patches.shape == (2, 9, 12)
    for row in range(3):
        for column in range(3):
            expected = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(2, -1)
            np.testing.assert_array_equal(patches[:, 3 * row + column], expected)


def test_patches_of_maps_that_are_not_square():
    assert to_patches(draw(1, 4, 6, 2), 2).shape == (1, 6, 8)


def test_pooling_is_the_mean_of_each_cell():
    x = draw(2, 6, 6, 3)
    expected = [x[:, 3 * r : 3 * r + 3, 3 * c : 3 * c + 3].mean((1, 2)) for r in range(2) for c in range(2)]
    np.testing.assert_allclose(pool_to_grid(x, 2), np.stack(expected, 1), rtol=1e-5, atol=1e-6)


def test_pooling_to_cells_of_no_whole_pixels_resizes():
    x = draw(1, 5, 5, 2)
    np.testing.assert_array_equal(pool_to_grid(x, 2), resize(x, 2).reshape(1, 4, 2))
    assert pool_to_grid(x, 2).shape == (1, 4, 2)


def test_resizing_is_bilinear_at_half_pixel_centres():
    x = np.arange(2, dtype=np.float32)[None, :, None, None] * np.ones((1, 2, 2, 1), np.float32)  # rows 0 and 1
    np.testing.assert_allclose(np.asarray(resize(x, 4))[0, :, 0, 0], [0, 0.25, 0.75, 1], atol=1e-6)
    assert resize(x, 2) is x


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(-4, 4), st.integers(-4, 4))
def test_rolling_a_map_rolls_its_tokens_and_can_be_undone(grid, patch, down, right):
    shift = jnp.asarray([down, right])
    x = draw(2, grid * patch, grid * patch, 3)
    moved = roll_map(x, shift, grid)
    np.testing.assert_array_equal(moved, np.roll(x, (down * patch, right * patch), (1, 2)))
    np.testing.assert_array_equal(to_patches(moved, patch), roll_tokens(to_patches(x, patch), shift))
    np.testing.assert_array_equal(roll_map(moved, -shift, grid), x)
    uneven = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    np.testing.assert_array_equal(roll_map(roll_map(uneven, shift, grid), -shift, grid), uneven)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_masked_mean_equals_numpy(axis):
    x, mask = draw(3, 4, 5), np.random.default_rng(1).uniform(size=(3, 4, 5)) < 0.5
    mask[:, 0] = mask[0] = mask[:, :, 0] = False
    with np.errstate(all="ignore"):
        expected = np.nan_to_num(np.ma.array(x, mask=~mask).mean(axis).filled(0))
    np.testing.assert_allclose(masked_mean(jnp.asarray(x), jnp.asarray(mask), axis), expected, rtol=1e-5, atol=1e-6)


def test_gradient_of_a_masked_mean_is_zero_where_masked():
    mask = jnp.asarray([True, False, True, False])
    slope = jax.grad(lambda x: masked_mean(x, mask, 0))(jnp.arange(4.0))
    np.testing.assert_allclose(slope, [0.5, 0, 0.5, 0])
    assert np.isfinite(jax.grad(lambda x: masked_mean(x, jnp.zeros(4, bool), 0))(jnp.arange(4.0))).all()
