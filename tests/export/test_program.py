"""A trained model as one function of plain arrays: its inputs, its description, and the size of its tiles."""

import dataclasses

import jax
import numpy as np
import pytest

from omnisat_jax import Model
from omnisat_jax.errors import UserError
from omnisat_jax.export.program import make_program
from omnisat_jax.inference.model_folder import TrainedModel
from omnisat_jax.inference.model_info import SensorInfo
from tests.conftest import ROOT
from tests.export.tiles import measurements, program_inputs, save_tiny

FOLDER = ROOT / "tests" / "inference" / "model_format_2"


@dataclasses.dataclass(frozen=True)
class Described(TrainedModel):
    """A model whose folder says more."""

    window: int | None = None
    temperature: float = 1.0


def described(trained, **changes):
    fields = {field.name: getattr(trained, field.name) for field in dataclasses.fields(trained)}
    return Described(**(fields | changes))


@pytest.fixture(scope="module")
def trained():
    return Model.from_pretrained(FOLDER).trained


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return Model.from_pretrained(save_tiny(tmp_path_factory.mktemp("model"), "published")).trained


def test_the_description_names_the_bands_in_their_order(trained):
    info = dataclasses.replace(trained.info, sensors={"spot": SensorInfo(("R", "G", "B"))})
    found = {entry["name"]: entry for entry in make_program(dataclasses.replace(trained, info=info), 4).describe()["modalities"]}
    assert found["spot"]["band_names"] == ["R", "G", "B"] and "band_names" not in found["s2"]


def test_inputs_of_a_tile(trained):
    program = make_program(trained, 4)
    shapes = {entry.name: (entry.shape, entry.dtype) for entry in program.inputs}
    assert shapes["s2.values"] == (("batch", "s2_dates", 16, 16, 10), "float32")
    assert shapes["s2.dates"] == (("batch", "s2_dates"), "int32") and shapes["s2.valid"] == (("batch", "s2_dates"), "bool")
    assert shapes["s2.present"] == shapes["spot.present"] == (("batch",), "bool")
    assert shapes["spot.values"] == (("batch", 160, 160, 3), "float32") and "spot.dates" not in shapes
    assert program.open_sizes == ("batch", "s1a_dates", "s1d_dates", "s2_dates")
    assert program.output == ("batch", 16, 16, 19) and make_program(trained, 2).output == ("batch", 8, 8, 19)


def test_the_description_says_everything_a_user_needs(trained):
    found = make_program(trained, 4).describe()
    assert found["tokens_per_side"] == 4 and found["classes"] == list(trained.classes) and found["task"] == "segment"
    s2 = next(entry for entry in found["modalities"] if entry["name"] == "s2")
    assert s2 == {
        "name": "s2",
        "kind": "series",
        "bands": 10,
        "metres_per_pixel": 10.0,
        "pixels_per_side": 16,
        "dates_in_evaluation": "at most 6, evenly spaced",
    }
    assert found["output"]["shape"] == ["batch", 16, 16, 19] and "NaN" in found["unknown_values"]


@pytest.mark.parametrize(
    ("origin", "rule"),
    [("2018-09-01", "2018-09-01, for every tile"), ("season", "the last 1 September before"), ("year", "the 1 January of the year")],
)
def test_the_rule_of_day_zero(trained, origin, rule):
    config = dataclasses.replace(trained.config, data=dataclasses.replace(trained.config.data, origin=origin))
    found = make_program(dataclasses.replace(trained, info=dataclasses.replace(trained.info, config=config)), 2).describe()["day_zero"]
    assert found["origin"] == origin and found["rule"].startswith(rule)


def test_the_size_of_a_tile_is_that_of_the_model_or_of_the_option(trained, published):
    assert make_program(published).window == make_program(published, 2).window == 2
    assert make_program(described(trained, window=3)).window == 3
    assert make_program(described(trained, window=3), 4).window == 4


def test_sizes_that_do_not_work_are_refused_in_one_sentence(trained, published):
    with pytest.raises(UserError, match="--window: expected the number of tokens per tile side, .* divided by 40$"):
        make_program(trained)
    with pytest.raises(UserError, match="--window: expected 2 tokens per tile side, the only size that this model takes, found 4"):
        make_program(published, 4)
    with pytest.raises(UserError, match="--window: expected 1 to 4096 tokens per tile side, found 5000"):
        make_program(trained, 5000)


def test_tiles_too_small_to_reflect_are_refused(tmp_path):
    widths = {"model.utae.encoder_widths": (4, 4, 8), "model.utae.decoder_widths": (4, 4, 8), "model.utae.border": "reflect"}
    trained = Model.from_pretrained(save_tiny(tmp_path, "utae", **widths)).trained
    assert make_program(trained, 2).output == ("batch", 8, 8, 5)
    with pytest.raises(UserError, match="--window 1: expected tiles large enough for this model, found smaller ones"):
        make_program(trained, 1)


def test_what_is_not_present_may_hold_anything(published):
    """Also the temperature of a calibrated model is inside."""
    model = Model(published)
    origin, specs = published.config.data.origin, model.modalities
    given = measurements(specs, 2, 3)
    inputs = program_inputs(given, ("s2",), specs, origin)
    spoilt = inputs | {"spot.values": np.full_like(inputs["spot.values"], np.nan)}
    program = make_program(published)
    expected = model.probabilities({"s2": given["s2"]})
    for changed in (inputs, spoilt):
        np.testing.assert_allclose(jax.jit(program)(program.params, changed), expected, rtol=0, atol=1e-6)
    warm = make_program(described(published, temperature=2.0))
    logits = np.log(expected / (1 - expected))
    np.testing.assert_allclose(jax.jit(warm)(program.params, inputs), 1 / (1 + np.exp(-logits / 2)), rtol=0, atol=1e-5)
