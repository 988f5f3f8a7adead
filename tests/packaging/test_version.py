"""The version is omnisat_jax.__version__; the files that repeat it, or the day of its release, for readers agree with it."""

import datetime
import re
import tomllib

import omnisat_jax
from tests.conftest import ROOT


def entries(key):
    """The values of a top-level key of CITATION.cff."""
    return re.findall(rf"^{key}: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)


def latest():
    """Version and date of the latest release in the changelog."""
    titles = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    version, _, day = next(title for title in titles if title != "Unreleased").partition(" - ")
    return version, day


def test_the_citation_names_the_version():
    assert entries("version") == [omnisat_jax.__version__]


def test_the_changelog_has_a_section_of_the_version():
    assert latest()[0] == omnisat_jax.__version__


def test_changelog_and_citation_name_the_same_day():
    day = latest()[1]
    assert entries("date-released") == [day] and datetime.date.fromisoformat(day).isoformat() == day


def test_the_distribution_takes_the_version_from_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"] and "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "omnisat_jax.__version__"}
