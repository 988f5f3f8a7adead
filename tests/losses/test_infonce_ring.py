"""The ring on one device against the dense loss; several devices and chunks are tested in tests/distributed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.losses import infonce_ring
from omnisat_jax.losses.infonce import Comparison, infonce_loss
from omnisat_jax.losses.infonce_ring import ring_infonce_loss
from omnisat_jax.parallel.mesh import make_mesh


def unit(shape, seed=0):
    z = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


@functools.cache
def gradients(group, positives):
    """Jitted value and gradient of the dense loss and of the ring on one device."""
    mesh = make_mesh(schema.MeshConfig(1, 1, 1, 0), jax.devices()[:1])
    losses = (
        lambda z, present, copies: infonce_loss(z, present, 0.1, Comparison(group, positives), copies=copies)[0],
        lambda z, present, copies: ring_infonce_loss(z, present, 0.1, Comparison(group, positives), mesh=mesh, copies=copies)[
            0
        ],
    )
    return [jax.jit(jax.value_and_grad(loss)) for loss in losses]


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(bool, (3, 4)), hnp.arrays(bool, (3, 3, 4)), st.sampled_from([0, 2]), st.sampled_from(["mean", "sum"]))
def test_ring_equals_dense_for_any_presence_and_any_copies(present, drawn, group, positives):
    z, copies = jnp.asarray(unit((3, 4, 2, 5))), jnp.asarray(drawn | drawn.swapaxes(0, 1))
    expected, found = (gradient(z, jnp.asarray(present), copies) for gradient in gradients(group, positives))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-6)


def test_ring_refuses_groups_that_do_not_fit():
    mesh = make_mesh(schema.MeshConfig(1, 1, 1, 0), jax.devices()[:1])
    with pytest.raises(UserError, match="groups of 3"):
        ring_infonce_loss(jnp.asarray(unit((3, 4, 2, 5))), jnp.ones((3, 4), bool), 0.1, Comparison(3), mesh=mesh)


def test_chunks_hold_every_row_once(monkeypatch):
    """The last chunk is padded with rows that are absent."""
    monkeypatch.setattr(infonce_ring, "_CHUNK_ELEMENTS", 1)
    rows = infonce_ring._CHUNK_ROWS + 6
    keys, present = infonce_ring._chunks((jnp.arange(rows * 2.0).reshape(rows, 2) + 1, jnp.ones(rows, bool)))
    assert keys.shape == (2, infonce_ring._CHUNK_ROWS, 2) and present.sum() == rows
    np.testing.assert_array_equal(keys.reshape(-1, 2)[:rows, 0], np.arange(rows) * 2.0 + 1)
    assert not present.reshape(-1)[rows:].any()


@pytest.mark.parametrize("group", [0, 2])
def test_no_array_has_an_element_for_each_pair_of_rows(group, monkeypatch):
    """Memory is linear in the number of rows, also where groups lie within one device and their comparisons do not depend on the embeddings."""
    monkeypatch.setattr(infonce_ring, "_CHUNK_ELEMENTS", 2**16)
    mesh = make_mesh(schema.MeshConfig(1, 1, 1, 0), jax.devices()[:1])
    z, present = jax.ShapeDtypeStruct((3, 4, 512, 4), jnp.float32), jax.ShapeDtypeStruct((3, 4), bool)
    loss = jax.value_and_grad(lambda z, present: ring_infonce_loss(z, present, 0.1, Comparison(group), mesh=mesh)[0])
    program = jax.jit(loss).lower(z, present).compile()
    rows = 3 * (group or 4) * 512  # that are compared with each other
    assert program.memory_analysis().temp_size_in_bytes < rows**2 / 2
