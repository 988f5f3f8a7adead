"""The version is omnisat_jax.__version__; the two files that repeat it for readers agree with it."""

import re

import omnisat_jax
from tests.conftest import ROOT


def test_the_citation_names_the_version():
    assert re.findall(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE) == [omnisat_jax.__version__]


def test_the_changelog_has_a_section_of_the_version():
    titles = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [title for title in titles if title != "Unreleased"]
    assert re.fullmatch(rf"{re.escape(omnisat_jax.__version__)} - (unreleased|\d{{4}}-\d{{2}}-\d{{2}})", released[0])
