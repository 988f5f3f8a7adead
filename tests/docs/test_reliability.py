"""docs/reliability.md: every promise names tests, which exist and run."""

import ast
import re

import pytest

from tests.conftest import ROOT
from tests.faults import flair, pastis, records, tiles, treesat

PAGE = (ROOT / "docs" / "reliability.md").read_text()
HEAD = "| promise | what is tested | where |"
PROMISES, OTHERS = PAGE.split("## Not promised")


def rows(text):
    """(promise, what is tested, names of files) of every row of the tables of promises."""
    for line in text.splitlines():
        cells = re.split(r"\s*\|\s*", line.strip())[1:-1]
        if line.startswith("| ") and len(cells) == 3 and line != HEAD:
            yield cells[0], cells[1], re.findall(r"`(tests/[\w/]+\.py)`", cells[2])


def plain_tests(name):
    """{test of a file: whether the plain suite runs some member of it}."""
    text = (ROOT / name).read_text()
    if "pytestmark = pytest.mark.exhaustive" in text:
        return {}
    found = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    return {node.name: not any(ast.unparse(each) == "pytest.mark.exhaustive" for each in node.decorator_list) for node in found}


ROWS = list(rows(PROMISES))


def test_every_table_is_read():
    assert len(ROWS) > 45 and PROMISES.count(HEAD) == 7
    assert len(ROWS) == len([line for line in PROMISES.splitlines() if line.startswith("| ")]) - 7


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_promises_name_tests_that_run(row):
    promise, _, files = row
    assert promise and files, "a promise without tests"
    for name in files:
        assert any(plain_tests(name).values()), f"{name} has no test in the plain suite"
    if promise.endswith("†"):
        assert any("pytest.mark.exhaustive" in (ROOT / name).read_text() for name in files), "no further members"


def test_numbers_of_the_page():
    planted = sum(len(module.FAULTS) for module in (flair, pastis, records, tiles, treesat))
    assert planted > 200 and "More than 200 faults" in PROMISES


def test_what_is_not_tested_is_said():
    for words in ("TPUs", "several GPUs", "Google's own storage", "Windows", "whole PASTIS-HD", "equal bits on other hardware"):
        assert f"\n| {words}" in OTHERS


def test_a_promise_without_tests_is_noticed():
    (found,) = rows("| It is fast. | Nothing. | `benchmarks/loader.py` |")
    assert found == ("It is fast.", "Nothing.", [])
    assert not any(plain_tests("tests/docs/test_your_data.py").values())
