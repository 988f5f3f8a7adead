"""Pictures of what pre-training learned."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from omnisat_jax.report import representation

CLASSES = ("background", "meadow", "corn")


def labels():
    """A large and a small piece of class 1, one of class 2, void in a corner."""
    image = np.zeros((8, 8), np.uint8)
    image[:4, :3] = 1
    image[7, 7] = 1
    image[4:, :2] = 2
    image[0, 7] = 19
    return image


def test_parcels_are_the_largest_connected_pieces():
    found = representation.parcels(labels(), 3)
    assert [value for value, _ in found] == [1, 2]
    assert [mask.sum() for _, mask in found] == [12, 8] and not found[0][1][7, 7]
    assert representation.parcels(np.array([0.0, 1.0, 0.0]), 3) == []


def test_attention_to_a_parcel_is_averaged_over_its_cells():
    weights = np.arange(2 * 2 * 2, dtype=float).reshape(2, 2, 2)
    right = np.zeros((8, 8), bool)
    right[:, 4:] = True
    np.testing.assert_allclose(representation.parcel_attention(weights, right), weights[:, :, 1].mean(1))
    np.testing.assert_allclose(representation.parcel_attention(weights, None), weights.mean((1, 2)))


def test_similar_tokens_have_similar_colours():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 16))
    kinds = rng.integers(0, 4, (5, 9))
    colours = representation.embedding_colours(centres[kinds] + 0.001 * rng.normal(size=(5, 9, 16)))
    assert colours.min() >= 0 and colours.max() <= 1
    means = np.stack([colours[kinds == kind].mean(0) for kind in range(4)])
    assert max(colours[kinds == kind].std(0).max() for kind in range(4)) < 0.02
    apart = np.linalg.norm(means[:, None] - means[None], axis=-1)
    assert apart[~np.eye(4, dtype=bool)].min() > 0.2


@pytest.mark.parametrize("dense", [True, False])
def test_a_collector_keeps_real_tiles_and_draws_them(tmp_path, dense):
    rng = np.random.default_rng(0)
    shown = representation.Collector(("a", "b", "c", "d"), limit=3)
    for start in (0, 2):
        shown(
            {
                "weight": np.array([1.0, 0.0 if start else 1.0]),
                "tile_index": np.array([start, start + 1]),
                "tokens": rng.normal(size=(1, 2, 4, 6)),
                "labels": np.stack([labels()] * 2) if dense else np.eye(3)[:2],
                "attention": {
                    "s2": {
                        "weights": np.full((2, 5, 2, 2), 0.2),
                        "dates": np.tile(np.arange(5) * 9, (2, 1)),
                        "valid": np.ones((2, 5), bool),
                    }
                },
            }
        )
    assert [tile.tile for tile in shown.tiles] == ["a", "b", "c"]
    shown.save(tmp_path, CLASSES, (), "a run")
    for name in (representation.EMBEDDING, representation.ATTENTION):
        assert plt.imread(tmp_path / name).std() > 0


def test_the_same_day_has_the_same_place_in_every_panel_of_the_attention():
    def series(first, last, count):
        days = np.linspace(first, last, count).round().astype(int)
        return {"weights": np.full((count, 2, 2), 1 / count), "dates": days, "valid": np.arange(count) < count - 1}

    attention = {"s2": series(10, 400, 9), "s1a": series(60, 200, 5), "planet": series(390, 700, 4)}
    tile = representation.TokenTile("a", np.zeros((4, 6)), labels(), attention)
    figure = representation.attention_figure(tile, CLASSES, (), "a run")
    figure.canvas.draw()
    places = {tuple(axes.transData.transform([(day, 0) for day in (10, 60, 597)])[:, 0].round(3)) for axes in figure.axes}
    (place,) = places
    shown = figure.axes[0].get_xlim()
    assert place[0] < place[1] < place[2] and shown[0] <= 10 and shown[1] >= 597
    plt.close(figure)
