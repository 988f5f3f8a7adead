"""requirements.txt, the set-up command of a checkout, installs what pyproject.toml declares, and nothing else; constraints/ are tested stacks."""

import re
import tomllib

import pytest

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
WANTED = [*PROJECT["dependencies"], *EXTRAS["train"], *EXTRAS["vector"], *EXTRAS["test"]]


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(path):
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return {canonical(line.partition("==")[0]): line.partition("==")[2] for line in lines if line}


def test_requirements_are_those_of_the_package():
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    assert [line for line in lines if line] == WANTED


def test_training_installs_what_predicting_needs():
    assert set(EXTRAS["predict"]) <= set(EXTRAS["train"])


@pytest.mark.parametrize("path", sorted((ROOT / "constraints").glob("*.txt")), ids=lambda path: path.stem)
def test_constraints_pin_every_requirement_within_its_range(path):
    from packaging.requirements import Requirement

    pins = pinned(path)
    for text in WANTED:
        requirement = Requirement(text)
        assert canonical(requirement.name) in pins, f"{path.name} does not pin {requirement.name}"
        version = pins[canonical(requirement.name)]
        assert requirement.specifier.contains(version), f"{path.name}: {requirement.name} {version} is not {requirement.specifier}"


def test_the_lowest_stack_is_that_of_the_lower_bounds():
    """Otherwise a bound would be lower than what CI tests."""
    from packaging.requirements import Requirement
    from packaging.version import Version

    pins = pinned(ROOT / "constraints" / "python3.11-lowest.txt")
    for requirement in map(Requirement, WANTED):
        (lowest,) = [Version(part.version) for part in requirement.specifier if part.operator == ">="]
        assert Version(pins[canonical(requirement.name)]) == lowest, requirement


def test_extras_of_one_library_have_one_range():
    from packaging.requirements import Requirement

    ranges = {}
    for text in [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]:
        requirement = Requirement(text)
        ranges.setdefault(canonical(requirement.name), set()).add(str(requirement.specifier))
    assert not {name: found for name, found in ranges.items() if len(found) > 1}
