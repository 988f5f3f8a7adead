"""Buckets of distances against a table written by hand, and attention against loops."""

import math

import numpy as np
import pytest

from omnisat_jax.models.layers.relative_attention import (
    BUCKETS,
    FAR,
    OUTSIDE,
    RelativeAttention,
    distance_buckets,
    query_buckets,
    token_buckets,
)
from tests import layers_in_numpy as reference
from tests.layers_in_numpy import gradient, random_params, run


def bucket(distance):
    """Of one rounded distance: 0 and 1 alone, 2 to 3 in one, everything beyond in the last."""
    if distance <= 1:
        return FAR + distance
    return FAR + min(3, round(1.9 + math.log(distance / 1.9) / math.log(15.2 / 1.9) * 1.9))


def test_distances():
    found = distance_buckets(5)
    for a in range(25):
        for b in range(25):
            distance = round(math.hypot(a // 5 - b // 5, a % 5 - b % 5))
            assert found[a, b] == bucket(distance), (a, b)
    assert found.dtype == np.int32 and (found == found.T).all() and (np.diag(found) == FAR).all() and found.max() < OUTSIDE < BUCKETS


def test_tokens_of_all_modalities_lie_on_one_grid():
    found = token_buckets(4, 3, published=False)
    assert (found[0] == OUTSIDE).all() and (found[:, 0] == OUTSIDE).all()
    for a in range(3):
        for b in range(3):
            np.testing.assert_array_equal(found[1 + 4 * a : 5 + 4 * a, 1 + 4 * b : 5 + 4 * b], distance_buckets(2))


def test_the_published_defect_takes_the_last_tokens_for_one_image():
    found = token_buckets(4, 3, published=True)  # 13 tokens: the last nine are a square of three
    assert (found[:4] == OUTSIDE).all() and (found[:, :4] == OUTSIDE).all()
    np.testing.assert_array_equal(found[4:, 4:], distance_buckets(3))


def test_queries_of_patches():
    found = query_buckets(4, 2)
    assert found.shape == (5, 9) and (found[0] == OUTSIDE).all() and (found[:, 0] == OUTSIDE).all()
    np.testing.assert_array_equal(found[1:, 1:5], distance_buckets(2))
    np.testing.assert_array_equal(found[1:, 5:], distance_buckets(2))


@pytest.mark.parametrize(("shared", "scale_table"), [(True, True), (False, False), (False, True)])
def test_attention_equals_loops(shared, scale_table):
    rng = np.random.default_rng(0)
    b, q_count, k_count, d, heads = 2, 3, 4, 6, 2
    q, k, v = (rng.normal(size=(b, n, d)).astype(np.float32) for n in (q_count, k_count, k_count))
    buckets = rng.integers(0, BUCKETS, (q_count, k_count)).astype(np.int32)
    mask = np.array([[1, 1, 0, 1], [0, 1, 1, 1]], bool)
    module = RelativeAttention(heads, shared, scale_table)
    params = random_params(module, q, k, v, buckets, mask)
    assert params["table"].shape == (1 if shared else heads, d // heads, BUCKETS)
    expected = np.zeros((b, q_count, d))
    size = d // heads
    for sample in range(b):
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            table = params["table"][0 if shared else head]
            for query in range(q_count):
                one = q[sample, query, part]
                logits = []
                for key in range(k_count):
                    term = one @ table[:, buckets[query, key]]
                    logits.append(one @ k[sample, key, part] / math.sqrt(size) + term / (math.sqrt(size) if scale_table else 1))
                weights = reference.softmax(np.where(mask[sample], logits, -np.inf))
                expected[sample, query, part] = weights @ v[sample, :, part]
    expected = reference.dense(expected, params["out"])
    np.testing.assert_allclose(run(module, params, q, k, v, buckets, mask), expected, rtol=1e-4, atol=1e-4)
    slope = gradient(module, params, 2, q, k, v, buckets, mask)
    assert not slope[~mask].any() and slope[mask].any()
