"""A trained model in use: it predicts what the evaluation of a run predicts, from any subset, order of dates and number of tiles."""

import dataclasses
import pathlib

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from configs import treesat
from omnisat_jax import Model
from omnisat_jax.config import schema
from omnisat_jax.inference.inputs import InputError
from omnisat_jax.inference.model_info import ModelInfo
from omnisat_jax.inference.model_saving import save_model
from omnisat_jax.input.spec import resolve_input_spec
from omnisat_jax.input.transforms import MakeBatch
from omnisat_jax.modalities import subsets
from omnisat_jax.models.registry import make_model
from omnisat_jax.models.shapes import model_shapes
from omnisat_jax.records.description import DESCRIPTION
from omnisat_jax.records.reader import Records
from omnisat_jax.tasks.base import LabelInfo
from omnisat_jax.tasks.build import make_task
from tests.conftest import QUICK_MODEL, go, tiny
from tests.experiment.test_datasets import shrunk

HERE = pathlib.Path(__file__).parent
NAMES = ("s1a", "s1d", "s2", "spot")
SUBSETS = subsets(NAMES)


@pytest.fixture(scope="module")
def golden():
    """Inputs of one tile, and what the previous version predicted from them with the model beside them."""
    with np.load(HERE / "model_format_2_golden.npz", allow_pickle=False) as found:
        return dict(found)


@pytest.fixture(scope="module")
def model():
    return Model.from_pretrained(HERE / "model_format_2")


@pytest.fixture(scope="module")
def tile(golden):
    """The measurements of the golden tile, as a user gives them."""
    return {name: (golden[name], golden[f"{name}_dates"]) for name in NAMES[:3]} | {"spot": golden["spot"]}


def only(tile, names):
    return {name: tile[name] for name in names}


def stored_tile(example, names):
    """The measurements of a stored tile, as a user gives them; what the tile lacks is left out."""
    out = {}
    for name in names:
        entry = example[name]
        values = np.asarray(entry["values"][:])
        if len(values):
            out[name] = (values, entry["dates"]) if "dates" in entry else values[0]
    return out


@pytest.mark.parametrize("key", ["all", "s2", "s1a_spot"])
def test_the_previous_version_predicted_the_same(model, golden, tile, key):
    names = NAMES if key == "all" else key.split("_")
    probabilities, embedding = model.probabilities(only(tile, names)), model.embed(only(tile, names))
    assert probabilities.dtype == np.float32 and type(probabilities) is np.ndarray
    np.testing.assert_allclose(probabilities, golden[f"probabilities_{key}"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(embedding.tokens, golden[f"tokens_{key}"], rtol=0, atol=1e-5)
    assert embedding.tokens.shape == (16, 16) and embedding.dense.shape == (16, 16, 16)


@pytest.mark.parametrize("key", ["all", "s2", "spot"])
def test_a_folder_of_this_format_predicts_the_same(tile, key):
    """With its temperature. The model was trained for four steps on simulated tiles, and its weights were then changed at random."""
    names = ("s2", "spot") if key == "all" else (key,)
    with np.load(HERE / "model_format_3_golden.npz", allow_pickle=False) as found:
        expected = found[f"probabilities_{key}"]
    model = Model.from_pretrained(HERE / "model_format_3")
    np.testing.assert_allclose(model.probabilities(only(tile, names)), expected, rtol=0, atol=1e-5)
    assert len(np.unique(expected.argmax(-1))) > 1


def test_what_a_folder_of_this_format_says():
    model = Model.from_pretrained(HERE / "model_format_3")
    assert model.temperature == 1.7 and model.window == 4 and model.simulated is True and "simulated" in model.citation
    assert list(model.sensors) == ["s2", "spot"] and model.sensors["spot"].bands == ("R", "G", "B") and model.sensors["spot"].first_day is None
    s2 = model.sensors["s2"]
    assert len(s2.bands) == 10 and s2.bands[0] == "B02" and s2.scale is None and s2.dates == 6
    assert s2.first_day is not None and s2.last_day is not None and 17700 < s2.first_day < s2.last_day < 18300
    provenance = model.trained.info.provenance
    assert provenance.test == ("fold_5",) and [subset.modalities for subset in provenance.scores] == subsets(("s2", "spot"))
    assert all(set(subset.scores) == {"miou", "oa"} == set(provenance.metrics) for subset in provenance.scores)
    assert "Simulated data: do not use on real imagery." in (HERE / "model_format_3" / "README.md").read_text()
    assert model.checksum != Model.from_pretrained(HERE / "model_format_2").checksum


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_logits_are_divided_by_the_temperature(model, tile, task, monkeypatch):
    """Softmax of classes, sigmoid of labels."""
    monkeypatch.setattr(Model, "task", task)
    cold = Model(model.trained)
    warm = Model(dataclasses.replace(model.trained, info=dataclasses.replace(model.trained.info, temperature=2.5)))
    before, after = (np.asarray(one.probabilities(only(tile, ["s2"])), np.float64) for one in (cold, warm))
    if task == "segment":
        expected = before ** (1 / 2.5)
        expected /= expected.sum(-1, keepdims=True)
    else:
        expected = 1 / (1 + (1 / before - 1) ** (1 / 2.5))
    np.testing.assert_allclose(after, expected, rtol=0, atol=1e-5)
    assert np.abs(after - before).max() > 1e-3


def test_what_an_earlier_folder_does_not_say(model):
    assert model.temperature == 1.0 and model.window is None and model.colours == () and model.simulated is None and model.citation == ""
    assert {name: sensor.dates for name, sensor in model.sensors.items()} == {"s1a": 6, "s1d": 6, "s2": 6, "spot": 0}
    assert all(sensor.bands == () and sensor.scale is None and sensor.first_day is None for sensor in model.sensors.values())


def test_what_a_model_says_of_itself(model):
    assert tuple(spec.name for spec in model.modalities) == NAMES and model.modalities[2].channels == 10
    assert model.task == "segment" and len(model.classes) == 19 and model.classes[1] == "Meadow"
    assert repr(model) == "Model(segment, modalities: s1a, s1d, s2, spot, classes: 19, parameters: 28,195)"


def test_dense_predictions_are_those_of_an_evaluation(records, tmp_path):
    """Of every subset, with a location, series longer than the limit, and days counted from a season."""
    changed = tiny("satclip", **QUICK_MODEL, **{"data.origin": "season"})
    del changed.modalities["s1d"]  # another series of the same sensor
    config = schema.parse(changed)
    input_spec = resolve_input_spec(config, records.info)
    names = tuple(spec.name for spec in input_spec.specs)
    module = make_model(input_spec.specs, config, len(input_spec.classes), input_spec.label_patch, jnp.float32)
    every = records.statistics(records.parts)
    statistics = {name: every[name] for name in names}
    task = make_task("finetune", config, module, statistics, LabelInfo(input_spec.classes, records.ignore))
    evaluation = MakeBatch(input_spec.evaluation, input_spec.grid, input_spec.grid, "season", False, False)
    examples = [records.source(("fold_1",))[index] for index in range(2)]
    rng = np.random.default_rng(0)
    host = evaluation.batch([evaluation.random_map(example, rng) for example in examples])
    assert any(len(example["s2"]["dates"]) > input_spec.specs[names.index("s2")].dates_eval for example in examples)
    params = jax.jit(task.init)(jax.random.key(0), jax.tree.map(jnp.asarray, host))
    params = jax.tree.map(lambda x: np.asarray(x + rng.normal(0, 0.15, x.shape), np.float32), params)
    chosen = subsets(names)
    masks = np.array([[name in subset for name in names] for subset in chosen])
    expected = jax.nn.softmax(jax.jit(task.logits)(params, host, masks), -1)

    save_model(tmp_path, params, ModelInfo(config, names, input_spec.classes, input_spec.label_patch, statistics))
    model = Model.from_pretrained(tmp_path)
    tiles = [stored_tile(example, names) for example in examples]
    compared = 0
    for index, tile in enumerate(tiles):
        for subset, wanted in zip(chosen, expected[:, index], strict=True):
            if set(subset) - {"location"} and set(subset) <= set(tile):
                np.testing.assert_allclose(model.probabilities(only(tile, subset)), wanted, rtol=0, atol=3e-5, err_msg=f"{subset}")
                compared += 1
    assert compared > len(chosen) // 2 and np.abs(expected[0] - expected[-1]).max() > 1e-2
    assert model._probabilities._cache_size() == 1


@pytest.mark.slow
@pytest.mark.exhaustive
def test_tile_labels_are_those_of_a_run(tmp_path, console):
    """Days are counted from the year of a tile's dates, so all series are given."""
    config = shrunk(treesat.get_config(), tmp_path)
    config.data.simulated.tiles = 10
    del config.modalities["s1d"]
    go(config, tmp_path / "run", console)
    model = Model.from_pretrained(tmp_path / "run" / "model")
    names = tuple(spec.name for spec in model.modalities)
    with np.load(tmp_path / "run" / "tiles.npz", allow_pickle=False) as found:
        tiles, predicted = found["tile"].tolist(), found["predicted"]
    records = Records(next((tmp_path / "cache").rglob(DESCRIPTION)).parent)
    source = records.source(records.parts)
    shown = 0
    for example in (source[index] for index in range(len(source))):
        tile_id = records.tile_ids[example["tile_index"]]
        if tile_id not in tiles:
            continue
        tile, expected = stored_tile(example, names), predicted[tiles.index(tile_id)]
        probabilities = model.probabilities(tile)
        assert probabilities.shape == (15,) and probabilities.dtype == np.float32
        wanted = expected[subsets(names).index(tuple(n for n in names if n in tile))]
        wanted = 1 / (1 + (1 / wanted - 1) ** (1 / model.temperature))  # runs keep probabilities before calibration
        np.testing.assert_allclose(probabilities, wanted, rtol=0, atol=1e-5)
        embedding = model.embed(tile)
        patches, width = embedding.tokens.shape
        assert embedding.dense.shape == (round(patches**0.5), round(patches**0.5), width)
        np.testing.assert_array_equal(embedding.dense.reshape(patches, width), embedding.tokens)
        shown += 1
    assert shown == len(tiles) == 2


def test_one_program_serves_every_subset_type_and_number_of_dates(model, tile):
    before = Model(model.trained)
    values, dates = tile["s2"]
    before.probabilities(tile)
    before.probabilities(only(tile, ["s2"]))
    before.probabilities({"s2": (values[:2].astype(np.float64), dates[:2]), "spot": tile["spot"].astype(np.int64)})
    before.probabilities({"s2": (values[:1], dates[:1].astype("datetime64[D]"), [True])})
    assert before._probabilities._cache_size() == 1
    before.probabilities({"s2": (values[None], dates)})  # a batch of one has the same shape
    assert before._probabilities._cache_size() == 1
    before.probabilities({"spot": np.stack([tile["spot"]] * 2)})
    assert before._probabilities._cache_size() == 2 and before._embedding._cache_size() == 0


EXAMPLES = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@EXAMPLES
@given(st.sampled_from(SUBSETS), st.randoms(use_true_random=False))
def test_the_order_of_dates_does_not_matter(model, tile, subset, random):
    given_order, mixed = only(tile, subset), {}
    for name, entry in given_order.items():
        order = list(range(len(entry[0])))
        random.shuffle(order)
        mixed[name] = (entry[0][order], entry[1][order]) if name != "spot" else entry
    np.testing.assert_allclose(model.probabilities(mixed), model.probabilities(given_order), rtol=0, atol=1e-5)


@EXAMPLES
@given(st.sampled_from(SUBSETS), st.integers(0, 2**32 - 1), st.booleans())
def test_several_tiles_are_predicted_as_one_by_one(model, tile, subset, seed, shared):
    """Each with its own valid dates and its own unknown values, whatever the others hold."""
    rng, tiles, together = np.random.default_rng(seed), [{}, {}], {}
    for name in subset:
        if name == "spot":
            images = [np.ma.array(tile[name], mask=rng.random(tile[name].shape) < 0.2) for _ in tiles]
            together[name] = np.ma.stack(images)
            for one, image in zip(tiles, images, strict=True):
                one[name] = image
            continue
        values, dates = tile[name]
        days = dates if shared else np.stack([dates, dates[::-1] + 3])
        valid = rng.random((2, len(dates))) < 0.7
        valid[:, 0] = True
        frames = np.stack([values, np.roll(values, 1, 2)])
        together[name] = (frames, days, valid)
        for index, one in enumerate(tiles):
            own = days if shared else days[index]
            one[name] = (frames[index], own, valid[index])
    both, embedded = model.probabilities(together), model.embed(together)
    assert both.shape == (2, 16, 16, 19) and embedded.tokens.shape == (2, 16, 16)
    for index, one in enumerate(tiles):
        np.testing.assert_allclose(both[index], model.probabilities(one), rtol=0, atol=1e-5)
        np.testing.assert_allclose(embedded.dense[index], model.embed(one).dense, rtol=0, atol=1e-5)


@EXAMPLES
@given(st.sampled_from(SUBSETS))
def test_what_is_wholly_unknown_is_absent(model, tile, subset):
    hidden = dict(tile)
    for name in set(NAMES) - set(subset):
        given_values = tile[name] if name == "spot" else tile[name][0]
        unknown = np.ma.masked_all(given_values.shape, given_values.dtype)
        hidden[name] = unknown if name == "spot" else (unknown, tile[name][1])
    np.testing.assert_allclose(model.probabilities(hidden), model.probabilities(only(tile, subset)), rtol=0, atol=1e-5)


def test_unknown_values_may_be_written_in_any_way(model, tile):
    values, dates = tile["s2"]
    mask = np.zeros(values.shape, bool)
    mask[2, :3], mask[4] = True, True
    stored = np.where(mask, np.int16(-32768), values)
    expected = model.probabilities({"s2": (stored, dates)})
    gone = values == -32768  # the tile has unknown values of its own
    numbers = np.where(mask | gone, np.nan, values.astype(np.float64))
    ways = {
        "a mask": (np.ma.array(values, mask=mask), dates),
        "NaN": (numbers, dates),
        "infinite": (np.where(np.isnan(numbers), -np.inf, numbers).astype(np.float32), dates),
        "a fill value": (np.where(np.isnan(numbers), -3.4e38, numbers), dates),
        "wider integers": (stored.astype(np.int64), dates),
        "no valid date": (np.where(mask, np.int16(-32768), values), dates, np.arange(len(dates)) != 4),
        "a date left out": tuple(np.delete(entry, 4, axis=0) for entry in (stored, dates)),
    }
    for way, entry in ways.items():
        np.testing.assert_allclose(model.probabilities({"s2": entry}), expected, rtol=0, atol=1e-5, err_msg=way)
    assert np.abs(model.probabilities(only(tile, ["s2"])) - expected).max() > 1e-4


def test_tiles_of_another_size(model, tile):
    assert model.probabilities({"spot": tile["spot"][:80, :80]}).shape == (8, 8, 19)


def test_a_model_with_learned_positions_takes_tiles_of_one_size(tmp_path):
    config = schema.parse(tiny("published"))
    specs = tuple(spec for spec in config.modalities if spec.name in ("s2", "spot"))
    module = make_model(specs, config, 3, 0, jnp.float32)
    params = flax.traverse_util.unflatten_dict({n: np.zeros(s, np.float32) for n, s in model_shapes(module).items()}, sep="/")
    statistics = {spec.name: {"mean": [0.0] * spec.channels, "std": [1.0] * spec.channels} for spec in specs}
    save_model(tmp_path, params, ModelInfo(config, tuple(spec.name for spec in specs), ("a", "b", "c"), 0, statistics))
    limited = Model.from_pretrained(tmp_path)
    np.testing.assert_allclose(limited.probabilities({"spot": np.ones((80, 80, 3))}), [0.5] * 3, atol=1e-6)
    with pytest.raises(InputError, match="expected tiles of 2 x 2 patches, the only size that this model takes, found 4 x 4"):
        limited.probabilities({"spot": np.ones((160, 160, 3))})
