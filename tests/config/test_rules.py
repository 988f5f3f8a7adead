"""Rules describe and check values."""

import pytest

from omnisat_jax.config.rules import NAME, Choice, Day, Length, Pattern, Range, Text, found, is_group, nearest


@pytest.mark.parametrize(
    ("rule", "kind", "words"),
    [
        (Range(0, 3), int, "a whole number from 0 to 3"),
        (Range(0, 1, "share"), float, "a number from 0 to 1 (share)"),
        (Range(0, 1, excluding=(0,)), float, "a number above 0 and up to 1"),
        (Range(0, 1, excluding=(1,)), float, "a number from 0 to below 1"),
        (Range(0, 1, excluding=(0, 1)), float, "a number above 0 and below 1"),
        (Range(-1, 9, excluding=(0,)), int, "a whole number from -1 to 9 except 0"),
        (Choice(("", "a")), str, "one of '', a"),
        (Text(5), str, "printable text of at most 5 characters"),
        (Pattern("a+", "letters a"), str, "letters a"),
        (Day(("year",)), str, "a day from 1900-01-01 to 2100-12-31 as YYYY-MM-DD or 'year'"),
    ],
)
def test_rules_say_what_they_expect(rule, kind, words):
    assert rule.expects(kind) == words


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (Range(0, 1, excluding=(0, 1)), [0.5, 1e-30], [0, 1, -1, 2, 1e-300, 1 - 1e-12, float("nan")]),
        (Choice(("a", "")), ["a", ""], ["A", "b"]),
        (Text(3), ["", "abc"], ["abcd", "a\n", "\x1b"]),
        (Pattern("a+", ""), ["aa"], ["", "aab", "a\n"]),
        (Day(("year",)), ["2020-02-29", "year"], ["2021-02-29", "1899-12-31", "2021-W01-1", "20210101", ""]),
        (Length(1, 2, distinct=True), [("a",), ("a", "b")], [(), ("a", "a"), ("a", "b", "c")]),
        (NAME, ["a b", "x-1.2"], ["", "-a", ".a", "~a", "a/b", "a*", " a", "a "]),
    ],
)
def test_rules_allow_what_they_say(rule, good, bad):
    assert all(rule.allows(value) for value in good)
    assert not any(rule.allows(value) for value in bad)


def test_remarks_explain_near_misses():
    assert Range(0, 1, excluding=(0,)).remark(1e-300) == " (0 in float32)" and Range(0, 1).remark(2) == ""
    assert Choice(("pastis",)).remark("pasits") == ". Did you mean 'pastis'?" and Choice(("pastis",)).remark("x") == ""
    assert Day().remark("2021-02-30") == ", which is not a calendar day" and Day().remark("x") == ""


def test_the_nearest_name_is_suggested_or_all_are_listed():
    assert nearest("lerning", ["learning", "x"]) == " Did you mean 'learning'?"
    assert nearest("q", ["b", "a"]) == " Known: a, b."


def test_any_value_is_described_on_one_short_line():
    for value in (10**5000, "x" * 10_000, [[]] * 1000, {"a": 1}, "a\nb\x1b", b"\xff" * 999, object(), float("nan")):
        assert len(found(value)) < 400 and found(value).isprintable() and is_group(value) == isinstance(value, dict)
