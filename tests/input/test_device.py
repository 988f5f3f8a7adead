"""Batches are transferred one ahead of their use."""

import jax
import numpy as np

from omnisat_jax.input import device

SHARDING = jax.sharding.NamedSharding(jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",)), jax.sharding.PartitionSpec("data"))


def test_values_and_dtypes_are_kept():
    batch = {"x": np.arange(6, dtype=np.int16).reshape(2, 3), "nested": {"y": np.ones(2, bool)}}
    found = device.put(batch, SHARDING)
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        expected = dict(jax.tree_util.tree_leaves_with_path(batch))[path]
        assert isinstance(leaf, jax.Array) and leaf.dtype == expected.dtype and leaf.sharding == SHARDING
        np.testing.assert_array_equal(leaf, expected)


def test_the_next_batch_is_requested_before_the_current_one_is_used():
    requested = []

    def batches():
        for i in range(3):
            requested.append(i)
            yield {"x": np.full(2, i)}

    seen = []
    for host, on_device in device.prefetch(batches(), SHARDING):
        np.testing.assert_array_equal(host["x"], on_device["x"])
        seen.append((int(host["x"][0]), len(requested)))
    assert seen == [(0, 2), (1, 3), (2, 3)]
    assert list(device.prefetch([], SHARDING)) == []
