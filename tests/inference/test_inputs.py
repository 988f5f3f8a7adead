"""Measurements that a model cannot use are refused in one sentence that names the modality, what was expected and what was found."""

import datetime
import pathlib

import numpy as np
import pytest

from omnisat_jax import Model
from omnisat_jax.errors import UserError
from omnisat_jax.inference.inputs import InputError, make_inputs
from omnisat_jax.modalities import ModalitySpec

HERE = pathlib.Path(__file__).parent
SPECS = (
    ModalitySpec("s2", "series", 10, 10.0, 4, "utae", 4, 6),
    ModalitySpec("s1a", "series", 3, 10.0, 4, "utae", 0, 0),
    ModalitySpec("spot", "image", 3, 1.0, 40, "resnet", 0, 0),
    ModalitySpec("location", "location", 2, 40.0, 1, "location", 0, 0),
)
VALUES, DAYS = np.ones((3, 8, 8, 10), np.int16), np.array([17800, 17810, 17820])
SPOT, PLACE = np.ones((80, 80, 3), np.uint8), (2.5, 50.1)
DATES = "datetime64, datetime.date or integers"


def made(**inputs):
    return make_inputs(inputs, SPECS, "2018-09-01")


def s2(values=VALUES, *more):
    return {"s2": (values, *(more or (DAYS,)))}


REFUSED = {
    "nothing": ({}, "expected at least one of s2, s1a, spot, found no modality"),
    "a location alone": ({"location": PLACE}, "expected at least one of s2, s1a, spot, found location"),
    "an unknown sensor": ({"s2a": (VALUES, DAYS)}, "unknown modality 's2a'. Did you mean 's2'?"),
    "a sensor like no other": ({"xyz": SPOT}, "unknown modality 'xyz'. Known: location, s1a, s2, spot."),
    "a series without dates": ({"s2": VALUES}, r"s2: expected \(values, dates\) or \(values, dates, valid\), found ndarray"),
    "a series of four things": ({"s2": (VALUES, DAYS, None, 1)}, r"expected \(values, dates\) .* found tuple of 4"),
    "bands short": (s2(VALUES[..., :9]), r"s2: expected 10 bands, \(T, H, W, C\) or .* found an array of shape \(3, 8, 8, 9\)"),
    "bands first": (s2(VALUES.transpose(0, 3, 1, 2)), r"s2: expected 10 bands, .* shape \(3, 10, 8, 8\)"),
    "an axis short": ({"spot": SPOT[..., 0]}, r"spot: expected 3 bands, \(H, W, C\) or \(B, H, W, C\), found an array of shape \(80, 80\)"),
    "an axis too many": ({"spot": SPOT[None, None]}, r"spot: .* shape \(1, 1, 80, 80, 3\)"),
    "half a location": ({"spot": SPOT, "location": (2.5,)}, r"location: expected longitude and latitude, \(2,\) or \(B, 2\), .*\(1,\)"),
    "no patch": (s2(VALUES[:, :6, :6]), r"s2: expected square tiles, their sides multiples of 4 px .*40 m.* found 6 x 6 px"),
    "no square": (s2(VALUES[:, :4]), "s2: expected square tiles, .* found 4 x 8 px"),
    "no pixel": (s2(VALUES[:, :0, :0]), "s2: expected square tiles, .* found 0 x 0 px"),
    "another ground": (s2() | {"spot": SPOT[:40, :40]}, r"spot: expected the same ground as s2, 80 px for its 80 m, found 40 px \(40 m\)"),
    "text": ({"spot": np.full((80, 80, 3), "a")}, "spot: expected integers or floating-point numbers, found <U1"),
    "complex": ({"spot": SPOT.astype(complex)}, "spot: expected integers or floating-point numbers, found complex128"),
    "flags": ({"spot": SPOT > 0}, "spot: expected integers or floating-point numbers, found bool"),
    "ragged": ({"spot": [[1], [1, 2]]}, "spot: expected an array of numbers, found list of 2"),
    "objects": ({"spot": SPOT.astype(object)}, "spot: expected integers or floating-point numbers, found object"),
    "no date": (s2(VALUES[:0], DAYS[:0]), "s2: expected at least one date, found none; leave out a modality that is missing"),
    "dates short": (s2(VALUES, DAYS[:2]), r"s2: expected a date for each of 3 images, \(3,\) or \(1, 3\), found dates of shape \(2,\)"),
    "one date": (s2(VALUES, DAYS[0]), r"s2: expected a date for each of 3 images, .* shape \(\)"),
    "NaT": (s2(VALUES, np.array(["2019-01-01", "NaT", "2019-02-01"], "datetime64[D]")), r"s2: expected dates, found none \(NaT or masked\) for image 1"),
    "a masked date": (s2(VALUES, np.ma.array(DAYS, mask=[0, 0, 1])), "s2: expected dates, found none .* for image 2"),
    "dates as floats": (s2(VALUES, DAYS.astype(float)), f"s2: expected dates as {DATES} .* found float64"),
    "dates as text": (s2(VALUES, ["2019-01-01"] * 3), f"s2: expected dates as {DATES} .* found <U10"),
    "dates as flags": (s2(VALUES, [True] * 3), f"s2: expected dates as {DATES} .* found bool"),
    "no dates": (s2(VALUES, None), f"s2: expected dates as {DATES} .* found object"),
    "dates as digits": (s2(VALUES, [20190101] * 3), "s2: expected dates from 1900 to 2100, integers counting days since 1970-01-01, found 20190101"),
    "days of the far past": (s2(VALUES, np.array(["1066-10-14"] * 3, "datetime64[s]")), "s2: expected dates from 1900 to 2100, .* found -329893"),
    "days beyond any": (s2(VALUES, np.full(3, 2**64 - 1, np.uint64)), "s2: expected dates from 1900 to 2100"),
    "valid short": (s2(VALUES, DAYS, [True]), r"s2: expected valid as bool \(3,\) or \(1, 3\), one for each image, found bool \(1,\)"),
    "valid as numbers": (s2(VALUES, DAYS, [1, 1, 0]), r"s2: expected valid as bool .* found int64 \(3,\)"),
    "longitude": (s2() | {"location": (181, 0)}, "location: expected a longitude from -180 to 180 and a latitude .* found 181, 0"),
    "the wrong way round": (s2() | {"location": (50.1, -97.5)}, "location: .* found 50.1, -97.5"),
    "two and one": (s2(np.stack([VALUES] * 2)) | {"spot": SPOT}, "found s2 with a batch of 2 and spot with no batch axis"),
    "two and three": (s2(np.stack([VALUES] * 2)) | {"spot": np.stack([SPOT] * 3)}, "found s2 with a batch of 2 and spot with a batch of 3"),
    "none at all": ({"spot": SPOT[None][:0]}, "spot: expected at least one tile, found a batch of 0"),
    "nothing known": (s2(np.full(VALUES.shape, -32768, np.int16)), "expected a known value in s2, found none"),
    "all NaN": (s2(VALUES * np.nan), "expected a known value in s2, found none: everything is masked or no data"),
    "all masked": ({"spot": np.ma.masked_all(SPOT.shape)} | s2(VALUES, DAYS, [False] * 3), "expected a known value in s2 or spot, found none"),
    "nothing known in one": ({"spot": np.stack([SPOT, SPOT * np.nan])}, "tile 1: expected a known value in spot, found none"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("error")
def test_refused_in_one_sentence(name):
    inputs, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        made(**inputs)
    assert isinstance(caught.value, UserError) and "\n" not in str(caught.value)


def test_no_dict():
    with pytest.raises(InputError, match="expected a dict from modalities to measurements, found tuple of 2"):
        make_inputs((VALUES, DAYS), SPECS, "2018-09-01")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"unknown modality '\\x1b\[31m'"):
        made(**{"\x1b[31m": SPOT})


@pytest.mark.parametrize(
    "dates",
    [
        DAYS,
        DAYS.astype(np.int16),
        DAYS.astype(np.uint16),
        DAYS.astype(np.uint64),
        DAYS.tolist(),
        DAYS.astype("datetime64[D]"),
        DAYS.astype("datetime64[D]").astype("datetime64[ns]"),
        DAYS.astype("datetime64[D]") + np.timedelta64(23, "h"),
        [datetime.date(1970, 1, 1) + datetime.timedelta(int(day)) for day in DAYS],
        [datetime.datetime(1970, 1, 1, 22, 30, tzinfo=datetime.UTC) + datetime.timedelta(int(day)) for day in DAYS],
    ],
)
def test_dates_of_every_kind(dates):
    batch, batched = made(**s2(VALUES, dates))
    assert not batched
    np.testing.assert_array_equal(batch["s2"]["dates"][0], [25, 35, 45, 0, 0, 0])
    np.testing.assert_array_equal(batch["s2"]["valid"][0], [1, 1, 1, 0, 0, 0])


def test_a_date_that_is_not_valid_may_be_missing_and_counts_nowhere():
    dates = np.array(["2019-03-01", "NaT", "2019-04-01"], "datetime64[D]")
    batch, _ = make_inputs(s2(VALUES, dates, [True, False, True]), SPECS, "year")
    np.testing.assert_array_equal(batch["s2"]["dates"][0, :2], [59, 90])
    assert batch["s2"]["valid"].sum() == 2


def test_where_all_dates_are_used_they_are_padded_to_a_multiple():
    for count, slots in ((1, 8), (8, 8), (9, 16)):
        radar = np.zeros((count, 8, 8, 3), np.float32), np.arange(count) + 17800
        batch, _ = made(s1a=radar)
        assert batch["s1a"]["values"].shape == (1, slots, 8, 8, 3) and batch["s1a"]["valid"].sum() == count
    assert made(**s2())[0]["s1a"]["values"].shape == (1, 8, 8, 8, 3)


def test_all_modalities_are_there_and_nothing_is_made_up():
    batch, batched = made(spot=np.stack([SPOT, SPOT * np.uint8(2)]), location=[PLACE, (np.nan, 3)])
    assert batched and set(batch) == {"s2", "s1a", "spot", "location"}
    assert {name: entry["present"].tolist() for name, entry in batch.items()} == {
        "s2": [False, False], "s1a": [False, False], "spot": [True, True], "location": [True, False],
    }  # fmt: skip
    assert {entry["values"].dtype for entry in batch.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(batch["spot"]["values"][1], 2)
    np.testing.assert_array_equal(batch["location"]["values"], np.float32([PLACE, (0, 0)]))


def test_the_input_is_left_alone():
    values, days = VALUES.astype(np.float32), DAYS[::-1].copy()
    values[1] = 1e38
    before = values.copy(), days.copy()
    made(**s2(values, days))
    np.testing.assert_array_equal(values, before[0])
    np.testing.assert_array_equal(days, before[1])


def test_tiles_that_a_network_cannot_halve(tmp_path):
    model = Model.from_pretrained(HERE / "model_format_2")

    def cannot(params, entries):
        raise ValueError("reflect padding by 1 px needs an image of at least 2 px a side")

    model._probabilities = cannot
    with pytest.raises(InputError, match="expected tiles large enough for this model, found smaller ones .reflect padding by 1 px"):
        model.probabilities({"spot": np.ones((160, 160, 3))})


def test_predictions_that_are_not_finite():
    model = Model.from_pretrained(HERE / "model_format_2")
    with pytest.raises(InputError, match="expected finite predictions, found others"):
        model.probabilities({"spot": np.full((160, 160, 3), 1e30)})
