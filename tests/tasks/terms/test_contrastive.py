"""The contrastive term: its draws, the views that count, and its scores."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax.config import schema
from omnisat_jax.losses.infonce import Comparison, infonce_loss
from omnisat_jax.metrics.representation import representation_scores
from omnisat_jax.models.pretrainable import Views
from omnisat_jax.ops.batch_norm import batch_norm
from omnisat_jax.tasks.terms.base import Draws, Step
from omnisat_jax.tasks.terms.contrastive import Contrastive, Embedded
from tests.conftest import tiny

B, GRID = 4, 2


def term(preset="demo", **changes):
    config = schema.parse(tiny(preset))
    specs = config.modalities
    return Contrastive(dataclasses.replace(config.contrastive, **changes), specs)


def batch(specs):
    """Only the shapes are read."""
    tiles = {}
    for spec in specs:
        side = (GRID * spec.patch,) * 2
        shape = {"series": (B, 3, *side, spec.channels), "image": (B, *side, spec.channels), "location": (B, 2)}[spec.kind]
        tiles[spec.name] = {"values": np.zeros(shape, np.float32)}
    return tiles


def embedded(names, granularities=("patch",), seed=0):
    z = np.random.default_rng(seed).normal(size=(len(granularities), len(names), B, GRID**2, 6)).astype(np.float32)
    z /= np.linalg.norm(z, axis=-1, keepdims=True)
    return Embedded({name: Views(jnp.asarray(z[i]), names) for i, name in enumerate(granularities)}, jnp.float32(0.1))


def step(present, visible, train=True):
    return Step(batch={}, statistics={}, present=jnp.asarray(present), visible=jnp.asarray(visible), draws=Draws(), train=train)


def test_draws_of_training_and_evaluation():
    contrastive = term(granularities=("pixel", "patch"), pixels=5, roll=True, jitter=0.1)
    tiles, key = batch(contrastive.specs), jax.random.key(0)
    drawn = contrastive.draw(key, tiles, train=True)
    assert drawn.shared["pixels"].shape == (5,) and drawn.shared["shifts"].shape == (len(contrastive.specs), 2)
    assert drawn.shared["shifts"].max() < GRID
    assert set(drawn.per_tile["jitter"]) == {spec.name for spec in contrastive.specs}
    assert all(x.shape[0] == B for x in jax.tree.leaves(drawn.per_tile))
    fixed = contrastive.draw(key, tiles, train=False)
    assert set(fixed.shared) == {"pixels"} and not fixed.per_tile
    assert term(roll=False).draw(key, tiles, train=True) == Draws(per_tile={}, shared={})


def test_views_count_where_their_modality_is_present_and_the_fused_one_where_a_sensor_is_visible():
    contrastive = term("satclip")
    names = tuple(spec.name for spec in contrastive.specs)
    present = np.ones((B, len(names)), bool)
    present[0, 1] = False
    visible = np.zeros_like(present)
    visible[:, names.index("location")] = True  # does not make a fused view
    visible[2, 1] = True
    read = embedded((names[1], "fused"), ("tile",))
    loss, metrics = contrastive.loss(read, step(present, visible))
    seen = np.stack([present[:, 1], np.arange(B) == 2])
    copies = np.zeros((2, 2, B), bool)
    copies[0, 1, 2] = copies[1, 0, 2] = True  # the fused view of tile 2 was made from this modality
    expected = infonce_loss(read.views["tile"].z, jnp.asarray(seen), 0.1, copies=jnp.asarray(copies))
    assert loss == expected[0] and metrics["contrastive_accuracy"] == expected[1] and metrics["temperature"] == read.temperature


def test_the_fused_view_is_not_compared_with_what_it_was_made_from():
    """If fusion saw everything, copying its inputs teaches nothing: its embeddings have no gradient as positives, nor as negatives of the tile."""
    contrastive = term()
    names = tuple(spec.name for spec in contrastive.specs)[:2]
    present = np.ones((B, len(contrastive.specs)), bool)
    first = present & (np.arange(len(contrastive.specs)) == 0)
    read = embedded((*names, "fused"))

    def loss(z, visible):
        views = {"patch": Views(z, (*names, "fused"))}
        return contrastive.loss(Embedded(views, jnp.float32(0.1)), step(present, visible))[0]

    z = read.views["patch"].z
    for visible, copied in ((present, (0, 1)), (first, (0,))):
        copies = np.zeros((3, 3, B), bool)
        for index in copied:
            copies[index, 2] = copies[2, index] = True
        np.testing.assert_allclose(
            loss(z, visible), infonce_loss(z, jnp.ones((3, B), bool), 0.1, copies=jnp.asarray(copies))[0], rtol=1e-6
        )
    alone = jnp.concatenate([z[:2], z[:1]])  # a fused view that copies the first modality
    assert loss(alone, first) > loss(alone, ~first)  # pays only where fusion did not see it


def test_the_loss_is_the_mean_over_granularities_in_groups_of_training():
    contrastive = term(group_size=2)
    names = tuple(spec.name for spec in contrastive.specs)[:2]
    present = np.ones((B, len(contrastive.specs)), bool)
    read = embedded(names, ("patch", "tile"))
    for train, group in ((True, 2), (False, 0)):
        loss, metrics = contrastive.loss(read, step(present, present, train))
        every = [infonce_loss(views.z, jnp.ones((2, B), bool), 0.1, Comparison(group))[0] for views in read.views.values()]
        np.testing.assert_allclose(loss, np.mean(every), rtol=1e-6)
        assert ("temperature" in metrics) == train


def test_embeddings_are_normalized_over_the_tiles_of_the_batch_that_have_the_view():
    contrastive = term(batch_norm=True)
    names = tuple(spec.name for spec in contrastive.specs)[:2]
    present = np.ones((B, len(contrastive.specs)), bool)
    present[0, 1] = False
    read, now = embedded(names), step(present, present)
    seen = jnp.asarray(present[:, :2].T)
    z = batch_norm(read.views["patch"].z, seen)
    assert contrastive.loss(read, now)[0] == infonce_loss(z, seen, 0.1)[0] != term().loss(read, now)[0]
    assert contrastive.metrics(read, now)["alignment"] == representation_scores(z, seen)["alignment"]


def test_scores_are_of_the_first_granularity():
    contrastive = term()
    names = tuple(spec.name for spec in contrastive.specs)[:2]
    present = np.ones((B, len(contrastive.specs)), bool)
    found = contrastive.metrics(embedded((*names, "fused")), step(present, present, train=False))
    assert set(found) == {"alignment", "uniformity", "effective_rank", "retrieval", "position_r2"}
    assert "position_r2" not in contrastive.metrics(embedded(names, ("pixel", "patch")), step(present, present, train=False))


@pytest.mark.parametrize(("implementation", "ring"), [("ring", True), ("dense", False)])
def test_the_mesh_is_for_the_ring(implementation, ring):
    config = schema.parse(tiny(**{"contrastive.implementation": implementation}))
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",))
    assert (Contrastive.from_config(config, config.modalities, mesh).mesh is mesh) == ring
    assert Contrastive.from_config(config, config.modalities).mesh is None
