"""Bands that are not what their names say are read right or refused, as they are for maps."""

import numpy as np
import pytest

from tests.region import SIDE, cut, described, make_region, refused, tile, write

DECIBELS = {"VV": -11.0, "VH": -17.5, "HH": -9.0, "HV": -18.0, "ratio": 6.5}
REFLECTANCE = {"B02": 600.0, "B04": 900.0, "B08": 2900.0, "B11": 2000.0}


@pytest.fixture
def here(tmp_path):
    return make_region(tmp_path)


def measured(*bands, means=DECIBELS, spread=2.0, seed=0):
    """Values (C,H,W) as the bands of these names have them."""
    noise = np.random.default_rng(seed).normal(0, spread, (len(bands), SIDE, SIDE))
    return (noise + np.array([means[band] for band in bands])[:, None, None]).astype(np.float32)


def series(here, *orders, names, described=True, **more):
    for month, order in enumerate(orders, 1):
        write(here / "s" / f"2021-{month:02d}-03.tif", measured(*order, seed=month, **more), descriptions=names if described else None)
    return f"s={here / 's'}" + ("" if described else f":{','.join(names)}")


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("pair", [("VV", "VH"), ("HH", "HV"), ("vv", "vh")])
@pytest.mark.parametrize("linear", [True, False])
def test_exchanged_polarisations_are_refused(here, capsys, pair, described, linear):
    names = (*pair, "ratio")
    for month in range(1, 7):
        values = measured(pair[1].upper(), pair[0].upper(), "ratio", seed=month)
        write(here / "s" / f"2021-{month:02d}-03.tif", 10 ** (values / 10) if linear else values, descriptions=names if described else None)
    arguments = "--series", f"s={here / 's'}" + ("" if described else f":{','.join(names)}")
    attempt = refused(here, capsys, "2021-01-03.tif", f"{pair[0]} has the values of {pair[1]}, {pair[1]} has the values of {pair[0]}", "--any_radiometry")
    attempt(*arguments)
    assert not (here / "out").exists()
    assert cut(here, *arguments, "--any_radiometry") == 0


def test_polarisations_of_an_image_are_checked_too(here, capsys):
    write(here / "im.tif", measured("VH", "VV"), descriptions=("VV", "VH"))
    refused(here, capsys, "im.tif", "VV has the values of VH")("--image", f"im={here / 'im.tif'}")


@pytest.mark.parametrize("month", [1, 4, 6])
def test_one_date_with_exchanged_polarisations_is_named(here, capsys, month):
    orders = [("VH", "VV") if number == month else ("VV", "VH") for number in range(1, 7)]
    attempt = refused(here, capsys, f"2021-{month:02d}-03.tif", "as on the other dates", "VV has the values of VH")
    attempt("--series", series(here, *orders, names=("VV", "VH")))


def test_one_date_of_another_order_of_optical_bands_is_named(here, capsys):
    names = tuple(REFLECTANCE)
    orders = [names[::-1] if number == 3 else names for number in range(1, 7)]
    attempt = refused(here, capsys, "2021-03-03.tif", "B02 has the values of B11, B04 has the values of B08, B08 has the values of B04")
    attempt("--series", series(here, *orders, names=names, means=REFLECTANCE, spread=200.0))


def test_bands_described_in_another_order_are_read_right(here):
    for month in range(1, 7):
        names = ("VH", "VV") if month == 2 else ("VV", "VH")
        write(here / "s" / f"2021-{month:02d}-03.tif", measured(*names, seed=month), descriptions=names)
    assert cut(here, "--series", f"s={here / 's'}") == 0
    means = tile(here, "s")["values"].mean((1, 2))
    assert described(here, "s")["bands"] == ["VV", "VH"] and (means[:, 0] > means[:, 1] + 4).all()


def test_what_is_no_exchange_is_cut(here):
    """Other ground, a date in clouds, values that were standardised, and one that is the same everywhere."""
    ground = {"VV": -12.0, "VH": -13.0}
    radar = series(here, *[("VV", "VH")] * 6, names=("VV", "VH"), means=ground)
    for month in range(1, 7):
        cloud = 3000.0 if month == 4 else 0.0
        write(here / "c" / f"2021-{month:02d}-03.tif", measured(*REFLECTANCE, means=REFLECTANCE, spread=200.0, seed=month) + np.float32(cloud), descriptions=tuple(REFLECTANCE))
    write(here / "standard.tif", measured("VV", "VH", means={"VV": 0.0, "VH": 0.1}, spread=1.0), descriptions=("VV", "VH"))
    write(here / "flat.tif", np.ones((2, SIDE, SIDE), np.float32) * np.array([1, 2], np.float32)[:, None, None], descriptions=("VV", "VH"))
    assert cut(here, "--series", radar, "--series", f"c={here / 'c'}", "--image", f"standard={here / 'standard.tif'}", "--image", f"flat={here / 'flat.tif'}") == 0
