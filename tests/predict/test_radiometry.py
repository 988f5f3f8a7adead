"""Are the numbers of a region those that the model knows? Units, offsets and the order of bands."""

import numpy as np
import pytest

from omnisat_jax.errors import UserError
from omnisat_jax.predict import radiometry
from omnisat_jax.predict.options import PredictOptions
from omnisat_jax.predict.run import make_map
from omnisat_jax.predict.survey import LOW, WINDOWS
from omnisat_jax.rasters import band_order
from omnisat_jax.rasters.offset import BASELINE_OFFSET
from tests.conftest import ROOT
from tests.predict.region import Identity, put, spec
from tests.predict.test_inputs import mapped, three
from tests.predict.test_run import region

DECIBELS = {"VV": -11.0, "VH": -17.5, "ratio": 6.5}


def test_units_are_guarded(tmp_path):
    rng = np.random.default_rng(0)
    model = three("B02", "B03", "B04")
    model.trained.statistics["s"] = {"mean": [600.0, 800.0, 900.0], "std": [400.0, 400.0, 500.0]}
    reflectance = rng.normal([[[650.0]], [[820.0]], [[880.0]]], 200, (3, 24, 40)).clip(1).astype(np.float32)
    cases = {
        "plain": (reflectance, None),
        "offset": (reflectance + 1000, "--s2_offset s=subtract"),
        "twice": (reflectance - 1000, "--s2_offset s=none"),
        "fraction": (reflectance / 10_000, "--convert s=10000"),
        "other": (reflectance * 25, "--convert s=FACTOR"),
        "8 bits": (reflectance / 40, "another unit"),
    }
    for name, (values, message) in cases.items():
        put(tmp_path / name / "x_20210105.tif", values.astype(np.float32), descriptions=("B02", "B03", "B04"))
        arguments = (model, region(f"s={tmp_path / name}"), tmp_path / f"out {name}")
        if message is None:
            assert not any("expected" in text for text in make_map(*arguments).info.remarks)
            continue
        with pytest.raises(UserError) as raised:
            make_map(*arguments)
        assert message in str(raised.value) and "--any_radiometry" in str(raised.value), str(raised.value)
        assert any(message in text for text in make_map(*arguments, PredictOptions(any_radiometry=True)).info.remarks)


def test_a_band_without_a_known_value_is_remarked_on(tmp_path):
    """The others are not compared either, so that a wrong unit is not recognized."""
    model = three("B02", "B03", "B04")
    values = np.full((3, 24, 40), 1e6, np.float32)
    values[1] = np.nan
    put(tmp_path / "s" / "x_20210105.tif", values, descriptions=("B02", "B03", "B04"))
    remarks = make_map(model, region(f"s={tmp_path / 's'}"), tmp_path / "out").info.remarks
    assert any(text.startswith("s: no known value of B03, so that the unit") for text in remarks), remarks


def decibels():
    """A model of radar whose third band is a ratio, which is positive in decibels as well."""
    model = three(*DECIBELS)
    model.trained.statistics["s"] = {"mean": list(DECIBELS.values()), "std": [3.0, 3.0, 2.0]}
    return model


@pytest.mark.parametrize("linear", [(1,), (1, 2, 3)], ids=["one date", "all dates"])
def test_linear_power_is_recognised_beside_a_ratio(tmp_path, linear):
    rng = np.random.default_rng(0)
    for month in (1, 2, 3):
        values = rng.normal(np.array(list(DECIBELS.values()))[:, None, None], 1, (3, 24, 40))
        values = 10 ** (values / 10) if month in linear else values
        put(tmp_path / "s" / f"x_20210{month}05.tif", values.astype(np.float32), descriptions=tuple(DECIBELS))
    with pytest.raises(UserError, match="linear power" if len(linear) == 1 else "--convert s=linear_to_db"):
        make_map(decibels(), region(f"s={tmp_path / 's'}"), tmp_path / "out")


def test_a_date_far_from_all_others_is_refused(tmp_path):
    """Of another factor per band, as where large values were clipped."""
    rng = np.random.default_rng(0)
    model = three("B02", "B03", "B04")
    model.trained.statistics["s"] = {"mean": [600.0, 800.0, 900.0], "std": [400.0, 400.0, 500.0]}
    for month in range(1, 10):
        values = rng.normal([[[650.0]], [[820.0]], [[880.0]]], 100, (3, 24, 40))
        values *= np.array([16.0, 7.0, 4.0])[:, None, None] if month == 5 else 1
        put(tmp_path / "s" / f"x_20210{month}05.tif", values.astype(np.float32), descriptions=("B02", "B03", "B04"))
    with pytest.raises(UserError, match="values of 2021-05-05 like those of the training tiles"):
        make_map(model, region(f"s={tmp_path / 's'}"), tmp_path / "out")


@pytest.mark.parametrize("trained, stored, message", [(-12.0, 0.06, "linear_to_db"), (0.06, -12.0, "db_to_linear")])
def test_decibels_are_recognised(tmp_path, trained, stored, message):
    put(tmp_path / "s" / "x_20210105.tif", np.full((24, 40), stored, np.float32))
    model = Identity()
    model.trained.statistics["s"] = {"mean": [trained], "std": [abs(trained)]}
    with pytest.raises(UserError, match=f"--convert s={message}"):
        mapped(tmp_path, model)


def test_units_of_single_dates_are_guarded(tmp_path):
    rng = np.random.default_rng(0)
    model = three("B02", "B03", "B04")
    model.trained.statistics["s"] = {"mean": [600.0, 800.0, 900.0], "std": [400.0, 400.0, 500.0]}
    for name, change, message in (("fraction", lambda v: v / 10_000, "2021-05-05 in the unit"), ("offset", lambda v: v + 1000, "1 of 9 dates"), ("zero", lambda v: v * (np.arange(40) > 3), "0 in all bands")):
        for month in range(1, 10):
            values = rng.normal([[[650.0]], [[820.0]], [[880.0]]], 200, (3, 24, 40)).clip(1)
            values = change(values) if month == 5 else values
            put(tmp_path / name / f"x_2021{month:02d}05.tif", values.astype(np.float32), descriptions=("B2", "B3", "B4"))
        arguments = (model, region(f"s={tmp_path / name}"), tmp_path / f"out {name}")
        if name == "fraction":
            with pytest.raises(UserError, match=message):
                make_map(*arguments)
        else:
            assert any(message in text for text in make_map(*arguments).info.remarks)


def radar(*bands):
    model = Identity(spec(channels=len(bands)), bands=bands)
    model.trained.statistics["s"] = {"mean": [DECIBELS[band] for band in bands], "std": [3.2] * len(bands)}
    return model


def measured(*bands, seed=0):
    noise = np.random.default_rng(seed).normal(0, 2, (len(bands), 24, 40))
    return (noise + np.array([DECIBELS[band] for band in bands])[:, None, None]).astype(np.float32)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("how", ["named", "described", "described, with their ratio"])
def test_exchanged_polarisations_are_recognised(tmp_path, how, linear):
    """In files that name the bands wrongly, and where the user does; whichever the third band is."""
    values, names = measured("VH", "VV", "ratio"), ("VV", "VH", "ratio")
    values = values if "ratio" in how else values[:2]
    names, model = names[: len(values)], radar(*names[: len(values)])
    if linear:
        values = 10 ** (values / 10)
        model.trained.statistics["s"] = {"mean": [0.1, 0.02, 4.5][: len(values)], "std": [0.1, 0.02, 4.0][: len(values)]}
    put(tmp_path / "s" / "x_20210105.tif", values, descriptions=names if "described" in how else None)
    where = region(f"s={tmp_path / 's'}" + ("" if "described" in how else f":{','.join(names)}"))
    with pytest.raises(UserError, match="VV has the values of VH, VH has the values of VV; correct them .*in the descriptions of the files.*files without descriptions: s=PATH:BAND,BAND, .*--any_radiometry"):
        make_map(model, where, tmp_path / "out")
    assert any("VV has the values of VH" in text for text in make_map(model, where, tmp_path / "out", PredictOptions(any_radiometry=True)).info.remarks)


def test_one_date_with_exchanged_bands_is_named(tmp_path):
    for month in range(1, 10):
        order = ("VH", "VV") if month == 5 else ("VV", "VH")
        put(tmp_path / "s" / f"x_2021{month:02d}05.tif", measured(*order, seed=month), descriptions=("VV", "VH"))
    with pytest.raises(UserError, match="bands of 2021-05-05 in the order of their names.*VV has the values of VH"):
        mapped(tmp_path, radar("VV", "VH"))


def test_other_ground_is_no_exchange_of_bands(tmp_path):
    """Radar of water, towns and forests keeps the order of its polarizations."""
    for number, (vv, vh) in enumerate([(-16.0, -22.0), (-4.0, -12.0), (-12.0, -13.0), (-9.0, -20.0)]):
        values = measured("VV", "VH") + np.array([vv + 11, vh + 17.5], np.float32)[:, None, None]
        put(tmp_path / str(number) / "x_20210105.tif", values, descriptions=("VV", "VH"))
        remarks = make_map(radar("VV", "VH"), region(f"s={tmp_path / str(number)}"), tmp_path / f"out{number}").info.remarks
        assert not any("exchanged" in text for text in remarks)


@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 2, 3, 0), (0, 1, 3, 2), (0, 1, 2, 3)])
def test_bands_in_another_order_than_their_names(tmp_path, order):
    names, means, stds = ("B02", "B04", "B08", "B11"), np.array([600.0, 900.0, 2900.0, 2000.0]), [300.0, 400.0, 700.0, 400.0]
    model = Identity(spec(channels=4), bands=names)
    model.trained.statistics["s"] = {"mean": means.tolist(), "std": stds}
    values = np.random.default_rng(0).normal(means[list(order), None, None] * 1.05, 200, (4, 24, 40)).clip(1)
    put(tmp_path / "s" / "x_20210105.tif", values.astype(np.float32), descriptions=names)
    if order == (0, 1, 2, 3):
        assert not any("exchanged" in text for text in mapped(tmp_path, model).info.remarks)
        return
    with pytest.raises(UserError, match="exchanged: ") as raised:
        mapped(tmp_path, model)
    for name, other in zip(names, order):
        assert (f"{name} has the values of {names[other]}" in str(raised.value)) == (name != names[other])


def test_the_documented_thresholds_are_those_of_the_checks():
    text = (ROOT / "docs" / "use.md").read_text()
    low, high = (f"{BASELINE_OFFSET + sign * radiometry.NEAR:,}" for sign in (-1, 1))
    for part in (
        f"in up to {WINDOWS} windows", f"more than {radiometry.REFUSED:g} sd from", f"more than {radiometry.DOUBTFUL:g} sd |",
        f"less than {100 * radiometry.RARE:g} % of the values", f"by {low} to {high} in the median", f"below {LOW}", f"more than {radiometry.FAR:g} times larger",
        f"a factor of {radiometry.CLOSE:g}", f"more than {band_order.AWAY:g} sd away, but all lie within {band_order.FITS:g} sd",
    ):  # fmt: skip
        assert part in text, part
