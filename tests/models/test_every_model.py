"""What holds for every whole model: absence is invisible, padding too, and nothing at all is defined."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from omnisat_jax import batch as batches
from omnisat_jax.config import schema
from omnisat_jax.models.pretrainable import PretrainDraws
from omnisat_jax.models.registry import make_model
from tests.conftest import QUICK_MODEL, tiny

B, T = 2, 4
ROWS = ("early", "late", "dual", "published", "satclip", "skysense")
# Early fusion stacks what the others keep apart; the published model and that of the location have layers of their own.
SOME_ROWS = [row if row in ("early", "published", "satclip") else pytest.param(row, marks=pytest.mark.exhaustive) for row in ROWS]


def parsed(row, changes):
    """Settings without what is there twice: the second orbit, except where bands are stacked, and U-TAE below the location."""
    config = tiny(row, **(QUICK_MODEL if row == "satclip" else {}) | changes)
    if row not in ("early", "late", "dual"):
        del config.modalities["s1d"]
    return schema.parse(config)


@functools.cache
def parts(row, **changes):
    """(model, params, statistics, batch) with every parameter off its initial value."""
    settings = parsed(row, changes)
    classes, label_patch = (5, 4) if settings.task == "segment" else (5, 0)
    model = make_model(settings.modalities, settings, classes, label_patch, jnp.float32)
    keys = iter(jax.random.split(jax.random.key(0), 20))
    batch, statistics = {}, {}
    for spec in settings.modalities:
        side = 2 * spec.patch
        shape = {"series": (B, T, side, side, spec.channels), "image": (B, side, side, spec.channels), "location": (B, 2)}[
            spec.kind
        ]
        batch[spec.name] = {"values": jax.random.normal(next(keys), shape), "present": jnp.ones(B, bool)}
        if spec.kind == "series":
            dates = jnp.sort(jax.random.randint(next(keys), (B, T), 0, 400))
            batch[spec.name] |= {"dates": dates, "valid": jnp.ones((B, T), bool).at[1, 2].set(False)}
        statistics[spec.name] = {"mean": np.zeros(spec.channels), "std": np.ones(spec.channels)}
    inputs = batches.normalise(batch, statistics, model.names)
    present = batches.presence(batch, model.names)
    params = jax.jit(functools.partial(model.init, train=False))(next(keys), inputs, present)["params"]
    return model, moved(params), statistics, batch


@functools.cache
def world(row, **changes):
    """(model, batch, logits as a function of the batch)."""
    model, params, statistics, batch = parts(row, **changes)

    @jax.jit
    def run(batch):
        inputs = batches.normalise(batch, statistics, model.names)
        return model.apply({"params": params}, inputs, batches.presence(batch, model.names), train=False)

    return model, batch, run


@functools.cache
def direct(row, **changes):
    """(inputs, (logits, gradient of the parameters) as a function of inputs and present): the model itself, nothing normalized before."""
    model, params, _, batch = parts(row, **changes)
    params = jax.tree.map(jnp.asarray, params)

    @jax.jit
    def run(inputs, present):
        def total(params):
            logits = model.apply({"params": params}, inputs, present, train=False)
            return (logits**2).sum(), logits

        (_, logits), gradient = jax.value_and_grad(total, has_aux=True)(params)
        return logits, gradient

    return {name: batch[name] for name in model.names}, run


def moved(params):
    """Every parameter off its initial value, so that what starts at zero has an effect."""
    noise = np.random.default_rng(0)
    return jax.tree.map(lambda x: np.asarray(x) + 0.1 * noise.standard_normal(x.shape, np.float32), params)


def edit(batch, name, **changes):
    return batch | {name: batch[name] | changes}


@pytest.mark.parametrize("row", SOME_ROWS)
def test_an_absent_modality_may_hold_anything(row):
    model, batch, run = world(row)
    for name in model.names:
        absent = edit(batch, name, present=jnp.asarray([True, False]))
        rotten = edit(absent, name, values=absent[name]["values"].at[1].set(jnp.nan))
        np.testing.assert_allclose(run(absent), run(rotten), atol=1e-5)
        assert np.abs(run(absent)[1] - run(batch)[1]).max() > 1e-4, name  # it is used when it is there
        np.testing.assert_allclose(run(absent)[0], run(batch)[0], atol=1e-5)


@pytest.mark.parametrize("row", SOME_ROWS)
def test_masked_dates_and_their_order_are_invisible(row):
    _, batch, run = world(row)
    order = np.array([2, 0, 3, 1])
    for name in ("s1a", "s2"):
        entry = batch[name]
        rotten = edit(batch, name, values=entry["values"].at[1, 2].set(jnp.nan), dates=entry["dates"].at[1, 2].set(9999))
        shuffled = edit(batch, name, **{key: entry[key][:, order] for key in ("values", "dates", "valid")})
        np.testing.assert_allclose(run(batch), run(rotten), atol=1e-5)
        np.testing.assert_allclose(run(batch), run(shuffled), atol=1e-5)


FORMS = [("demo", {}), ("published", {})]
FORMS += [pytest.param(row, {}, marks=pytest.mark.exhaustive) for row in ROWS if row != "published"]
FORMS += [pytest.param("published", {"model.published.mask_padding": False}, marks=pytest.mark.exhaustive)]


def nothing_known(entry, fill):
    """The entry with nothing known of its second sample, in as many ways as there are; all say that it is present."""
    rotten = {"values": entry["values"].at[1].set(fill)}
    yield rotten
    if "valid" in entry:
        never = {"valid": entry["valid"].at[1].set(False)}
        yield never
        yield rotten | never | {"dates": entry["dates"].at[1].set(9999)}


@pytest.mark.parametrize(("row", "changes"), FORMS)
def test_present_with_nothing_known_is_absent(row, changes):
    """Through a batch, and where the model is called directly: the same logits, and gradients that are finite."""
    model, batch, run = world(row, **changes)
    inputs, logits = direct(row, **changes)
    everything = jnp.ones((B, len(model.names)), bool)
    for index, name in enumerate(model.names):
        expected = run(edit(batch, name, present=jnp.asarray([True, False])))
        alone, gradient = logits(inputs, everything.at[1, index].set(False))
        for fill in (np.nan, -3.4e38):
            for changed in nothing_known(batch[name], fill):
                np.testing.assert_allclose(run(edit(batch, name, **changed)), expected, atol=1e-5)
                found, slope = logits(edit(inputs, name, **changed), everything)
                np.testing.assert_allclose(found, alone, atol=1e-5)
                jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3), slope, gradient)


@pytest.mark.parametrize(("row", "changes"), FORMS)
def test_dates_with_nothing_known_are_not_valid(row, changes):
    model, batch, run = world(row, **changes)
    inputs, logits = direct(row, **changes)
    everything = jnp.ones((B, len(model.names)), bool)
    for name in ("s1a", "s2"):
        entry = batch[name]
        unknown = {"values": entry["values"].at[0, 1].set(np.nan)}
        never = {"valid": entry["valid"].at[0, 1].set(False)}
        np.testing.assert_allclose(run(edit(batch, name, **unknown)), run(edit(batch, name, **never)), atol=1e-5)
        a, b = (logits(edit(inputs, name, **changed), everything)[0] for changed in (unknown, unknown | never))
        assert np.isfinite(a).all()
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("row", [pytest.param("published", marks=pytest.mark.exhaustive), pytest.param("skysense", marks=pytest.mark.exhaustive), "omnisat_resnet"])
def test_pretraining_does_not_see_what_is_present_with_nothing_known(row):
    model, embed, inputs, visible = embedded(row)
    for index, spec in enumerate(model.specs):
        expected = embed(inputs, visible.at[1, index].set(False))
        for changed in nothing_known(inputs[spec.name], np.nan):
            views, _, decoded = embed(edit(inputs, spec.name, **changed), visible)
            for granularity, view in views.items():
                here = [place for place, name in enumerate(view.names) if name != spec.name]
                np.testing.assert_allclose(view.z[here, :], expected[0][granularity].z[here, :], atol=1e-5)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(decoded))


@pytest.mark.parametrize("row", SOME_ROWS)
def test_nothing_present_is_defined_and_constant(row):
    _, batch, run = world(row)
    for name in batch:
        batch = edit(batch, name, present=jnp.zeros(B, bool))
    out = run(batch)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out[0], out[1], atol=1e-5)


def embedded(row, shifts=None, **changes):
    """(embed as a function of inputs and visible, inputs, visible) of a model made for pre-training."""
    settings = parsed(row, changes)
    model = make_model(settings.modalities, settings, 5, 4 if settings.task == "segment" else 0, jnp.float32)
    _, batch, _ = world(row)
    inputs = {name: batch[name] for name in model.names}
    visible = jnp.ones((B, len(model.names)), bool)
    masked = jnp.zeros((B, len(model.names), 4), bool).at[:, 0].set(True)
    draws, pixels = PretrainDraws(masked=masked, shifts=shifts), jnp.asarray([0.1, 0.6])

    def embed(model, inputs, visible):
        outputs = model.embed(inputs, visible, draws, train=False)
        return model.views(outputs, pixels), model.temperature(), model.reconstruct(outputs, 0.5)

    params = jax.jit(lambda key: model.init(key, inputs, visible, method=embed))(jax.random.key(0))
    params = moved(params)
    return model, jax.jit(lambda inputs, visible: model.apply(params, inputs, visible, method=embed)), inputs, visible


def test_the_location_names_the_place_and_is_hidden_from_fusion():
    model, embed, inputs, visible = embedded("satclip")
    views = embed(inputs, visible)[0]["tile"]
    assert views.names == ("location", "fused") and views.z.shape[:3] == (2, B, 1)
    moved = inputs | {"location": inputs["location"] | {"values": inputs["location"]["values"] + 30.0}}
    other = embed(moved, visible)[0]["tile"]
    np.testing.assert_array_equal(views.z[1], other.z[1])
    assert np.abs(views.z[0] - other.z[0]).max() > 1e-3


@pytest.mark.exhaustive
def test_rolling_moves_nothing_that_is_seen_patch_by_patch():
    """Encoders of single patches give the same embedding wherever each modality was moved; a U-TAE sees another border."""
    shifts = jnp.asarray([[1, 0], [0, 1], [1, 1], [0, 0]])

    def difference(row, **changes):
        outputs = []
        for given in (None, shifts):
            _, embed, inputs, visible = embedded(row, given, **changes)
            views, _, decoded = embed(inputs, visible)
            outputs.append((views["patch"].z, decoded["s2"].values))
        return max(np.abs(a - b).max() for a, b in zip(*outputs))

    assert difference("published") < 1e-5
    encoders = {f"modalities.{name}.encoder": "utae" for name in ("s2", "s1a")}
    assert 1e-3 < difference("omnisat_resnet", **encoders) < 10


def test_only_encoders_that_attend_to_dates_tell_their_attention():
    for row, series in (("published", ["s1a", "s2"]), ("skysense", [])):
        model, batch, _ = world(row)
        encode = functools.partial(model.apply, method=lambda m, inputs: m.attention(m.encode(inputs, train=False)))
        inputs = {name: batch[name] for name in model.names}
        params = jax.eval_shape(
            lambda m=model, i=inputs: m.init(jax.random.key(0), i, jnp.ones((B, len(m.names)), bool), train=False)
        )
        found = jax.eval_shape(encode, params, inputs)
        assert sorted(found) == series
        assert all(weights.shape == (B, T, 2, 2) for weights in found.values())


def test_three_granularities():
    _, embed, inputs, visible = embedded("skysense")
    views, _, decoded = embed(inputs, visible)
    assert {name: view.z.shape[2] for name, view in views.items()} == {"pixel": 2, "patch": 4, "tile": 1}
    assert views["pixel"].names == ("s1a", "s2", "spot") and views["patch"].names[-1] == "fused"
    assert decoded["spot"].values.shape == (B, 4, 40 * 40 * 3) and decoded["s2"].values.shape == (B, 2, 4, 4 * 4 * 10)


@pytest.mark.exhaustive
def test_published_switches_change_the_model():
    """Each repaired defect has an effect, and the published form has the defect."""
    outputs = {}
    for switch in ("", "grid_positions", "keep_position", "mask_padding", "train_tile"):
        _, embed, inputs, visible = embedded("published", **({f"model.published.{switch}": False} if switch else {}))
        outputs[switch] = np.asarray(embed(inputs, visible)[2]["s2"].values)
    for switch in outputs:
        assert switch == "" or np.abs(outputs[switch] - outputs[""]).max() > 1e-6, switch
