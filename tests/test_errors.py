"""Errors are one sentence each, safe to print, and survive the way from a worker process."""

import copy
import errno

import pytest
from hypothesis import given, strategies as st

from omnisat_jax.errors import LONGEST, DataError, Finding, UserError, printable, reason, system_reason, system_sentence


@given(st.text(), st.integers(2, 50) | st.none())
def test_printable_text_is_safe_and_bounded(text, longest):
    safe = printable(text, longest)
    assert all(c.isprintable() or c == "\n" for c in safe)
    assert longest is None or len(safe) <= longest + len("[...]")
    assert printable(safe, None) == safe


def test_a_data_error_is_one_sentence_with_all_of_its_parts():
    error = DataError(tile="7", path="a\x1b.npy", expected="3 bands", found="x" * 1000, advice="Restore it.", kind="form")
    assert str(error).startswith("tile 7: a\\x1b.npy: expected 3 bands, found xxx") and str(error).endswith("x. Restore it.")
    assert len(error.found) == LONGEST + len("[...]") and error.finding.kind == "form"
    assert str(DataError(tile="-", path="p", expected="a", found="b")) == "p: expected a, found b."
    assert isinstance(error, UserError) and isinstance(error, ValueError)


def test_errors_can_be_sent_between_processes():
    error = DataError(tile="7", path="p", expected="a", found="b", advice="c", kind="form")
    received = copy.copy(error)  # by __reduce__
    assert received is not error and received.finding == error.finding == Finding("form", "7", "p", "a", "b", "c")
    assert (str(received), received.tile, received.path) == (str(error), "7", "p")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "", "/a"), "/a: the disk is full"),
        (OSError(errno.EXDEV, "Invalid cross-device link", "/a", None, "/b"), "/a: /b: Invalid cross-device link"),
        (OSError(errno.EACCES, "", b"/\xff"), "/\\udcff: permission denied"),
        (OSError("without a number"), "without a number"),
    ],
)
def test_errors_of_the_system_are_described_with_their_files(error, text):
    assert system_sentence(error) == text and text.endswith(system_reason(error))


def test_the_reason_is_the_first_line_or_the_type():
    assert reason(ValueError("one\ntwo")) == "one" and reason(KeyError()) == "KeyError"
