"""Names with properties (no jax) and constructors (beside the modules) agree, and encoders and models of one's own are accepted."""

import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from omnisat_jax.config import registry, schema
from omnisat_jax.config.rules import ConfigError
from omnisat_jax.modalities import ModalitySpec
from omnisat_jax.models import registry as models
from omnisat_jax.models.encoders import registry as encoders
from omnisat_jax.models.encoders.encoding import Encoding
from omnisat_jax.models.omnisat import OmniSat
from omnisat_jax.models.pretrainable import PretrainableModel
from tests.conftest import ROOT, tiny

CONFIG = schema.parse(tiny())


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """What a test registers is forgotten."""
    for table in (registry.ENCODERS, registry.MODELS):
        monkeypatch.setattr(table, "_entries", dict(table))
    monkeypatch.setattr(encoders, "CONSTRUCTORS", dict(encoders.CONSTRUCTORS))
    monkeypatch.setattr(models, "CLASSES", dict(models.CLASSES))


def spec(encoder, kind):
    return ModalitySpec("x", kind, 2 if kind == "location" else 3, 10.0, 8, encoder, 0, 0)


def arguments(kind):
    series = (jnp.ones((1, 2, 16, 16, 3)), jnp.ones((1, 2), jnp.int32), jnp.ones((1, 2), bool))
    return {"series": series, "image": (jnp.ones((1, 16, 16, 3)),), "location": (jnp.ones((1, 2)),)}[kind]


def test_both_tables_have_the_same_names():
    assert list(registry.ENCODERS) == list(encoders.CONSTRUCTORS)
    assert list(registry.MODELS) == list(models.CLASSES)


@pytest.mark.parametrize("name", registry.ENCODERS)
def test_encoders_are_what_the_table_says(name):
    info = registry.ENCODERS[name]
    module = encoders.make_encoder(spec(name, info.kind), CONFIG.model, jnp.float32)
    out = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), *arguments(info.kind), train=False)[0])
    assert isinstance(out, Encoding) and (out.features is not None) == info.dense_map
    assert out.tokens.shape == (1, 1 if info.kind == "location" else 4, CONFIG.model.width)
    assert (out.attention is not None) == (info.kind == "series")


@pytest.mark.parametrize("name", registry.MODELS)
def test_models_are_what_the_table_says(name):
    info = registry.MODELS[name]
    assert issubclass(models.CLASSES[name], PretrainableModel) == info.pretrainable
    assert set(info.kinds) <= set(registry.KINDS) and set(info.tasks) <= set(registry.TASKS)


def test_every_kind_of_modality_has_an_encoder():
    for kind in registry.KINDS:
        assert registry.encoders_of(kind)
    assert registry.encoders_with_dense_map() == ("utae", "temporal_first", "resnet")


def test_the_table_of_names_needs_no_jax():
    code = "import sys, omnisat_jax.config.schema, omnisat_jax.modalities; assert 'jax' not in sys.modules and 'flax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_unknown_names_are_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="the name of an encoder, one of utae, .*, found 'vitt'"):
        encoders.make_encoder(spec("vitt", "image"), CONFIG.model, jnp.float32)
    with pytest.raises(ConfigError, match="one of utae, patch_ltae, temporal_first, vit, resnet, patch_cnn, location, found 'vitt'"):
        registry.ENCODERS.find("vitt")
    with pytest.raises(ConfigError, match="modalities.s2.encoder: expected one of utae, .*, found 'resnett'. Did you mean 'resnet'"):
        schema.parse(tiny(**{"modalities.s2.encoder": "resnett"}))
    with pytest.raises(ConfigError, match="model.architecture: expected one of omnisat, early, .*, found 'mine'"):
        schema.parse(tiny(**{"model.architecture": "mine"}))


def test_an_encoder_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="modalities.x.encoder: expected one that reads a series, found 'vit'"):
        encoders.make_encoder(spec("vit", "series"), CONFIG.model, jnp.float32)


class MeanOfPatch(nn.Module):
    """The smallest encoder of an image."""

    width: int
    patch: int

    @nn.compact
    def __call__(self, values, *, train):
        b, h, w, c = values.shape
        side = h // self.patch
        x = values.reshape(b, side, self.patch, side, self.patch, c).mean((2, 4)).reshape(b, side * side, c)
        return Encoding(nn.Dense(self.width)(x))


def test_an_encoder_of_ones_own_is_trained_like_any_other():
    changes = {"modalities.spot.encoder": "mean_of_patch"}
    with pytest.raises(ConfigError, match="modalities.spot.encoder"):
        schema.parse(tiny(**changes))

    @encoders.register_encoder("mean_of_patch", kind="image")
    def construct(spec, config, dtype):
        del dtype
        return MeanOfPatch(config.width, spec.patch)

    config = schema.parse(tiny(**changes))
    assert schema.unflatten(schema.flatten(config)) == config
    model = models.make_model(config.modalities, config, 5, 4, jnp.float32)
    inputs = {}
    for each in config.modalities:
        side = 2 * each.patch
        if each.kind == "series":
            inputs[each.name] = {"values": jnp.ones((1, 2, side, side, each.channels)), "dates": jnp.ones((1, 2), jnp.int32)}
            inputs[each.name] |= {"valid": jnp.ones((1, 2), bool), "present": jnp.ones(1, bool)}
        else:
            inputs[each.name] = {"values": jnp.ones((1, side, side, each.channels)), "present": jnp.ones(1, bool)}
    present = jnp.ones((1, len(config.modalities)), bool)
    logits, variables = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), inputs, present, train=False))
    assert logits.shape == (1, 8, 8, 5) and "Dense_0" in variables["params"]["encoders_spot"]
    with pytest.raises(ConfigError, match="modalities.s2.encoder of a series must be one of utae, patch_ltae, temporal_first, found 'mean_of_patch'"):
        schema.parse(tiny(**{"modalities.s2.encoder": "mean_of_patch"}))


def test_a_dense_map_of_ones_own_counts_as_one():
    changes = {"contrastive.granularities": ("pixel",), "modalities.spot.encoder": "mine", "modalities.s2.encoder": "utae"}
    changes |= {f"modalities.{name}.encoder": "patch_ltae" for name in ("s1a", "s1d")}
    encoders.register_encoder("mine", kind="image", dense_map=False)(lambda *given: None)
    with pytest.raises(ConfigError, match=r"at least 2 modalities with a dense map \(utae, temporal_first, resnet\) to align, found 1"):
        schema.parse(tiny(**changes))
    encoders.register_encoder("mine", kind="image", dense_map=True)(lambda *given: None)
    schema.parse(tiny(**changes))


def test_a_model_of_ones_own_is_checked_by_its_properties():
    @models.register_model("mine", registry.ModelInfo(kinds=("series", "image"), tasks=("classify",)))
    class Mine(OmniSat):
        pass

    config = schema.parse(tiny("tile_f1", **{"model.architecture": "mine"}))
    assert isinstance(models.make_model(config.modalities, config, 5, 0, jnp.float32), Mine)
    with pytest.raises(ConfigError, match="model.architecture 'mine' has no dense head: set task to 'classify', found 'segment'"):
        schema.parse(tiny(**{"model.architecture": "mine"}))


@pytest.mark.parametrize("name", ["", "2d", "a b", "a.b", "x" * 65])
def test_names_that_no_configuration_can_have(name):
    with pytest.raises(ConfigError, match="1 to 64 letters, digits and _"):
        encoders.register_encoder(name, kind="image")(lambda *given: None)


def test_built_in_entries_stay_and_kinds_are_known():
    with pytest.raises(ConfigError, match="expected another than the built-in .*, found 'utae'"):
        encoders.register_encoder("utae", kind="series")(lambda *given: None)
    with pytest.raises(ConfigError, match="built-in .*, found 'omnisat'"):
        models.register_model("omnisat", registry.ModelInfo())(OmniSat)
    with pytest.raises(ConfigError, match="expected one of series, image, location, found 'video'"):
        encoders.register_encoder("mine", kind="video")
    assert encoders.CONSTRUCTORS["utae"] is encoders._utae and "mine" not in registry.ENCODERS
