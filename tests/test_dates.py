"""Where days are counted from, and which dates of a long series are used."""

import numpy as np
from hypothesis import given, strategies as st

from omnisat_jax.dates import choose_dates, day_zero


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 20), st.booleans())
def test_chosen_dates_are_sorted_unique_and_usable_first(valid, limit, random):
    valid = np.array(valid, bool)
    chosen = choose_dates(valid, limit, np.random.default_rng(0) if random else None)
    assert len(chosen) == min(limit, len(valid))
    assert (np.diff(chosen) > 0).all()
    assert valid[chosen].sum() == min(limit, valid.sum())


def test_day_zero_of_a_season_and_of_a_year():
    september = day_zero("2018-09-01", [])
    assert day_zero("season", [np.array([september + 30, september + 250, september + 420])]) == september
    assert day_zero("year", [np.array([september + 30, september + 250, september + 260])]) == september + 122
