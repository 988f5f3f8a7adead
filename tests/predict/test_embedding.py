"""Embeddings in the blocks of a map: what they are, and that they do not depend on how the map is cut."""

import dataclasses
import functools

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from omnisat_jax import Model
from omnisat_jax.errors import UserError
from omnisat_jax.models.shapes import abstract_inputs
from omnisat_jax.predict.blending import hann
from omnisat_jax.predict.embedding import dequantise, quantise
from omnisat_jax.predict.grid import MapGrid
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.run import make_map
from omnisat_jax.shards import Shard
from tests.predict.models import save_random_model
from tests.predict.region import WIDTH, Identity, put
from tests.predict.test_run import joined, region

NAMES = ("embeddings", "scales", "token_used")


def tokens_of(folder, name):
    """An array of the tokens of all blocks, which must cover every token once."""
    grid = folder.info.grid.tokens
    first = next(iter(folder.blocks()))[1][name]
    out, times = np.zeros((grid.height, grid.width, *first.shape[2:]), first.dtype), np.zeros((grid.height, grid.width), int)
    for block, arrays in folder.blocks():
        place = folder.info.grid.tokens_of(block)
        where = slice(place.top, place.top + place.height), slice(place.left, place.left + place.width)
        out[where] = arrays[name]
        times[where] += 1
    assert (times == 1).all()
    return out


@hypothesis.given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 9), st.integers(1, 70))
@hypothesis.settings(max_examples=50, deadline=None)
def test_every_token_belongs_to_one_block(rows, columns, pixels, block):
    grid = MapGrid("", 0.0, 0.0, 10.0 * pixels, pixels, rows, columns, 4, 3, block)
    times = np.zeros((rows, columns), int)
    for entry in grid.blocks():
        place = grid.tokens_of(entry)
        times[place.top : place.top + place.height, place.left : place.left + place.width] += 1
        under = grid.under(place)
        assert not place.height or entry.top <= under.top < entry.top + entry.height
    assert (times == 1).all()


def test_rounding_is_at_most_half_a_scale():
    rng = np.random.default_rng(0)
    tokens = (rng.normal(size=(30, 40, 16)) * 10.0 ** rng.integers(-8, 8, (30, 40, 1))).astype(np.float32)
    tokens[3, 4], known = 0, rng.random((30, 40)) < 0.9
    known[3, 4] = True
    stored, scales = quantise(tokens, known)
    assert stored.dtype == np.int8 and scales.dtype == np.float32 and np.abs(stored.astype(int)).max() == 127
    assert (np.isnan(scales) == ~known).all() and not stored[~known].any() and scales[3, 4] == 0
    found = dequantise(stored, scales)
    assert np.isnan(found[~known]).all()
    assert (np.abs(found - tokens)[known] <= 0.5001 * scales[known][:, None]).all()


def scene_with_gaps(folder, height=26, width=38):
    rng = np.random.default_rng(0)
    for month in (1, 5):
        values = rng.integers(0, 5, (height, width)).astype(np.float32)
        values[rng.random(values.shape) < 0.1] = np.nan
        values[4:9, 10:30] = np.nan
        put(folder / "s" / f"x_2021{month:02d}05.tif", values)
    return folder / "s"


def test_embeddings_are_the_weighted_mean_of_the_windows(tmp_path):
    model, source = Identity(), scene_with_gaps(tmp_path)
    folder = make_map(model, region(f"s={source}"), tmp_path / "out", PredictOptions(embeddings=True, overlap=0.5, batch=1))
    grid = folder.info.grid
    assert folder.info.embedding_width == WIDTH and (grid.window, grid.stride, grid.pixels) == (4, 2, 2)
    total, weights = np.zeros((grid.rows + 8, grid.columns + 8, WIDTH)), np.zeros((grid.rows + 8, grid.columns + 8, 1))
    rows, columns = grid.windows
    for number, batch in enumerate(model.batches):
        row, column = (2 * index for index in divmod(number, columns))
        tokens = model.predict_and_embed(batch)[1][0].reshape(4, 4, WIDTH)
        total[row : row + 4, column : column + 4] += hann(4)[..., None] * tokens
        weights[row : row + 4, column : column + 4] += hann(4)[..., None]
        if number + 1 == rows * columns:
            break  # later batches come from the line above
    expected = (total / np.maximum(weights, 1e-9))[: grid.rows, : grid.columns]
    stored, scales, used = (tokens_of(folder, name) for name in NAMES)
    pixels = joined(folder, "used").reshape(grid.rows, 2, grid.columns, 2)
    assert (used == np.bitwise_or.reduce(np.bitwise_or.reduce(pixels, 3), 1)).all() and 0 < (used == 0).sum() < used.size / 2
    assert (np.isnan(scales) == (used == 0)).all()
    known = used > 0
    assert (np.abs(dequantise(stored, scales) - expected)[known] <= 0.51 * scales[known][:, None]).all()


def test_embeddings_are_equal_for_every_block_size_and_number_of_shards(tmp_path):
    (tmp_path / "area.geojson").write_text(
        '{"type": "Polygon", "crs": {"type": "name", "properties": {"name": "EPSG:32631"}}, "coordinates": [[[600015, 5699990],'
        "[600365, 5699950], [600310, 5699750], [600015, 5699750], [600015, 5699990]]]}"
    )
    there, expected = region(f"s={scene_with_gaps(tmp_path)}", aoi=tmp_path / "area.geojson"), None
    plain = make_map(Identity(), there, tmp_path / "plain", PredictOptions(overlap=0.5))
    for block, shards in ((512, 1), (8, 2), (5, 3), (3, 1)):
        options = PredictOptions(block=block, overlap=0.5, embeddings=True, batch=2)
        for index in reversed(range(shards)):
            folder = make_map(Identity(), there, tmp_path / f"out{block}", options, Shard(index, shards))
        found = {name: tokens_of(folder, name).tobytes() for name in NAMES}
        expected = expected or found
        assert found == expected and 10 < np.isnan(tokens_of(folder, "scales")).sum() < 100
        assert joined(folder).tobytes() == joined(plain).tobytes()


def test_a_map_with_embeddings_is_not_continued_without(tmp_path):
    there = region(f"s={scene_with_gaps(tmp_path)}")
    make_map(Identity(), there, tmp_path / "out", PredictOptions(embeddings=True))
    with pytest.raises(UserError, match="another"):
        make_map(Identity(), there, tmp_path / "out")


def test_tokens_that_are_not_finite_are_refused(tmp_path):
    class Broken(Identity):
        def predict_and_embed(self, batch):
            probabilities, tokens = super().predict_and_embed(batch)
            return probabilities, np.where(tokens > 0.9, np.inf, tokens)

    with pytest.raises(UserError, match="expected finite predictions"):
        make_map(Broken(), region(f"s={scene_with_gaps(tmp_path)}"), tmp_path / "out", PredictOptions(embeddings=True))


@pytest.fixture(scope="module")
def random_model(tmp_path_factory):
    return Model.from_pretrained(save_random_model(tmp_path_factory.mktemp("model") / "model"))


def test_one_program_predicts_and_embeds(random_model):
    rng = np.random.default_rng(0)
    values = {"s1a": rng.normal(size=(2, 3, 16, 16, 3)), "spot": rng.normal(size=(2, 160, 160, 3))}
    batch = {
        "s1a": {
            "values": values["s1a"].astype(np.float32), "present": np.array([True, True]), "valid": np.ones((2, 3), bool),
            "dates": np.array([[10, 90, 200]] * 2, np.int32),
        },
        "spot": {"values": values["spot"].astype(np.float32), "present": np.array([True, False])},
    }  # fmt: skip
    probabilities, tokens = random_model.predict_and_embed(batch)
    assert tokens.dtype == np.float32 and tokens.shape == (2, 16, random_model.embedding_width(4))
    np.testing.assert_allclose(probabilities, random_model.predict_batch(batch), atol=1e-5)
    np.testing.assert_allclose(tokens, jax.device_get(random_model._embedding(random_model._params, batch))[0], atol=1e-5)
    assert np.abs(tokens[0] - tokens[1]).max() > 0.01


def test_the_embeddings_of_a_model_do_not_depend_on_the_blocks(random_model, tmp_path):
    rng = np.random.default_rng(0)
    for month in (3, 6, 9):
        put(tmp_path / "s1a" / f"x_2021-{month:02d}-11.tif", rng.normal(size=(3, 24, 24)).astype(np.float32), descriptions=("VV", "VH", "ratio"))
    there, found = region(f"s1a={tmp_path / 's1a'}"), []
    for block in (512, 10):
        folder = make_map(random_model, there, tmp_path / str(block), PredictOptions(block=block, overlap=0.5, batch=4, embeddings=True))
        found.append([tokens_of(folder, name).tobytes() for name in NAMES] + [joined(folder, "confidence").tobytes()])
    assert found[0] == found[1]


def mean_iou(predicted, labels):
    """In per cent."""
    ious = [((predicted == k) & (labels == k)).sum() / ((predicted == k) | (labels == k)).sum() for k in np.unique(labels)]
    return 100 * float(np.mean(ious))


def initialised(model):
    """The same model with the weights that training starts from: its tokens vary in all directions, unlike those of arbitrary weights."""
    inputs = jax.tree.map(lambda entry: np.zeros(entry.shape, entry.dtype), abstract_inputs(model.modalities, 4))
    init = jax.jit(functools.partial(model.trained.module.init, train=False))
    params = init(jax.random.key(0), inputs, np.ones((1, len(model.modalities)), bool))["params"]
    return Model(dataclasses.replace(model.trained, params=params))


def simulated_tokens(model, seed, windows=240):
    """Tokens (N,16,D) and labels (N,16) of windows of small fields of five classes, which differ in their mean backscatter on three dates."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, (windows, 4, 4))
    means = rng.normal(0, 1, (5, 3, 3))[labels].repeat(4, 1).repeat(4, 2).transpose(0, 3, 1, 2, 4)
    values = (means + rng.normal(0, 0.7, means.shape)).astype(np.float32)
    tokens = []
    for first in range(0, windows, 40):
        series = {
            "values": values[first : first + 40], "present": np.ones(40, bool), "valid": np.ones((40, 3), bool),
            "dates": np.array([[10, 90, 200]] * 40, np.int32),
        }  # fmt: skip
        image = {"values": np.zeros((40, 160, 160, 3), np.float32), "present": np.zeros(40, bool)}
        tokens.append(model.predict_and_embed({"s1a": series, "spot": image})[1])
    return np.concatenate(tokens), labels.reshape(windows, 16)


def probe_score(tokens, labels):
    """Mean IoU of logistic regression, tested on each of four folds of windows in turn."""
    fold, predicted = np.arange(len(tokens)) % 4, np.zeros_like(labels)
    for number in range(4):
        train = fold != number
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        probe.fit(tokens[train].reshape(-1, tokens.shape[-1]), labels[train].ravel())
        predicted[~train] = probe.predict(tokens[~train].reshape(-1, tokens.shape[-1])).reshape(-1, 16)
    return mean_iou(predicted, labels)


def test_a_linear_probe_loses_less_than_a_tenth_of_a_point(random_model):
    model, scores = initialised(random_model), []
    for seed in range(8):  # the difference of one draw is 0.2 either way, as some thirty of its 3,840 tokens change their class
        tokens, labels = simulated_tokens(model, seed)
        scores.append([probe_score(tokens, labels), probe_score(dequantise(*quantise(tokens, np.ones(labels.shape, bool))), labels)])
    before, after = np.mean(scores, 0)
    assert before > 35 and before - after < 0.1, f"mIoU {before:.3f} % before, {after:.3f} % after"
