"""The built distributions: what is in them, and that the installed wheel works outside the checkout. Nothing is downloaded."""

import configparser
import email
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement

import omnisat_jax
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS = PROJECT["scripts"]
SOURCE = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "CHANGELOG.md", "CITATION.cff", "LICENSE", "omnisat_jax")


def run(*command, **options):
    """The standard output of a command; its standard error in the message if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """(sdist, wheel), built from a copy, as a build leaves files in the source."""
    folder = tmp_path_factory.mktemp("distributions")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", "venv", "runs", "dist", "*.egg-info", ".*_cache", "__pycache__"))
    assert all((source / name).exists() for name in SOURCE)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", source)
    (sdist,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory):
    """(folder with the installed wheel, environment in which it is the only omnisat_jax)."""
    target = tmp_path_factory.mktemp("site")
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "--target", target, distributions[1])
    return target, {**os.environ, "PYTHONPATH": str(target)}


def test_wheel_holds_the_package_and_nothing_else(distributions):
    names = set(zipfile.ZipFile(distributions[1]).namelist())
    metadata = f"omnisat_jax-{omnisat_jax.__version__}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"omnisat_jax", metadata}
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "omnisat_jax").rglob("*.py")}
    templates = {str(path.relative_to(ROOT)) for path in (ROOT / "omnisat_jax").rglob("*.j2")}
    assert templates
    assert package | templates | {"omnisat_jax/py.typed"} == {name for name in names if name.startswith("omnisat_jax/")}


def test_sdist_builds_the_package_without_the_rest(distributions):
    with tarfile.open(distributions[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()} - {""}
    assert {"omnisat_jax/__init__.py", "omnisat_jax/py.typed"} <= names
    made = {"PKG-INFO", "setup.cfg", "omnisat_jax.egg-info"}
    assert {name.partition("/")[0] for name in names} == {*SOURCE, *made}


def test_the_page_on_pypi_has_no_relative_links(distributions):
    """README.md as PyPI shows it: every link and picture of the repository leads to the files of the released tag."""
    with zipfile.ZipFile(distributions[1]) as archive:
        metadata = email.message_from_bytes(archive.read(f"omnisat_jax-{omnisat_jax.__version__}.dist-info/METADATA"))
    page, original = metadata.get_payload(decode=True).decode(), (ROOT / "README.md").read_text()
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert not re.findall(r"\]\((?!https://|#)[^)]*", page)
    repository, tag = "omnisat-jax/omnisat-jax", f"v{omnisat_jax.__version__}"
    for picture, path in re.findall(r"(!?)\[[^][]*\]\((?!https?:|#)([^)#]+)", original):
        host = "https://raw.githubusercontent.com/{}/{}/" if picture else "https://github.com/{}/blob/{}/"
        assert f"]({host.format(repository, tag)}{path}" in page
    assert re.sub(rf"https://[^/)]+/{repository}/(blob/)?{tag}/", "", page).strip() == original.strip()


def test_twine_accepts_the_distributions(distributions):
    pytest.importorskip("twine")
    run(sys.executable, "-m", "twine", "check", "--strict", *distributions)


def test_metadata(distributions):
    with zipfile.ZipFile(distributions[1]) as archive:
        folder = f"omnisat_jax-{omnisat_jax.__version__}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
        entry_points = configparser.ConfigParser()
        entry_points.read_string(archive.read(f"{folder}/entry_points.txt").decode())
    assert (metadata["Name"], metadata["Version"]) == ("omnisat-jax", omnisat_jax.__version__)
    assert metadata["License-Expression"] == "Apache-2.0" and metadata["Author"]
    assert any(url.startswith("Repository") for url in metadata.get_all("Project-URL", ()))
    base = [text for text in metadata.get_all("Requires-Dist", ()) if "extra ==" not in text]
    assert sorted(Requirement(text).name for text in base) == ["flax", "jax", "numpy", "safetensors", "xxhash"]
    assert dict(entry_points["console_scripts"]) == SCRIPTS


def test_the_installed_package_is_imported_from_an_empty_folder(installed, tmp_path):
    target, environment = installed
    code = "import omnisat_jax; print(omnisat_jax.__file__, omnisat_jax.__version__)"
    file, version = run(sys.executable, "-c", code, cwd=tmp_path, env=environment).split()
    assert file == str(target / "omnisat_jax" / "__init__.py") and version == omnisat_jax.__version__


def test_the_public_names_need_the_base_dependencies_only(installed, tmp_path):
    """Every name of `omnisat_jax.__all__` is imported while no other library of the extra `train` can be; those for maps name their extra."""
    distributions = {"scikit-learn": "sklearn", "absl-py": "absl", "orbax-checkpoint": "orbax"}
    base = _required(PROJECT["dependencies"])
    extra = {Requirement(text).name.lower() for text in PROJECT["optional-dependencies"]["train"]} - base
    modules = sorted(distributions.get(name, name.replace("-", "_")) for name in extra)
    assert {"grain", "matplotlib", "rasterio", "tensorflow_datasets"} <= set(modules)
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({modules})); "
        "import omnisat_jax; maps = ('PredictOptions', 'Region', 'map_region'); "
        "print([getattr(omnisat_jax, name) for name in omnisat_jax.__all__ if name not in maps])\n"
        "for name in maps:\n"
        "    try:\n"
        "        getattr(omnisat_jax, name)\n"
        "    except ImportError as error:\n"
        "        assert 'pip install \"omnisat-jax[predict]\"' in str(error), error\n"
        "    else:\n"
        "        raise AssertionError(name)\n"
    )
    run(sys.executable, "-c", code, cwd=tmp_path, env=installed[1])


def _required(texts):
    """Names of the distributions that requirements install, with what these need in turn."""
    names, waiting = set(), [Requirement(text) for text in texts]
    while waiting:
        requirement = waiting.pop()
        name = requirement.name.lower().replace("_", "-")
        if name not in names and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            names.add(name)
            waiting += [Requirement(text) for text in importlib.metadata.requires(name) or ()]
    return names


ONE_AFTER_ANOTHER = """
import runpy, sys
for path in sys.argv[1:]:
    sys.argv = [path, "--help"]
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        assert not end.code, path
    else:
        raise AssertionError(path)
"""


def test_console_scripts_show_their_help(installed, tmp_path):
    """The first one as a program, the others in one process, which imports once what takes seconds."""
    target, environment = installed
    first, *others = (target / "bin" / script for script in sorted(SCRIPTS))
    text = run(first, "--help", cwd=tmp_path, env=environment)
    text += run(sys.executable, "-c", ONE_AFTER_ANOTHER, *others, cwd=tmp_path, env=environment)
    assert len({*re.findall(r"usage: (python -m [\w.]+)", text)}) == len(SCRIPTS)  # each its own


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_console_scripts_name_a_missing_extra(installed, tmp_path, script):
    """A base installation has no Matplotlib, Rich or SciPy: one sentence says what to install."""
    target, environment = installed
    name, function = SCRIPTS[script].split(":")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys(['rich', 'jinja2', 'matplotlib', 'optax', 'flax'])); "
        f"import {name} as scripts; sys.argv = ['{script}', '--help']; sys.exit(scripts.{function}())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    extra = "predict" if script == "omnisat-predict" else "train"
    assert done.returncode == 1
    assert f"omnisat-jax[{extra}]" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("module, missing, extra", [("predict", "rasterio", "predict"), ("report", "jinja2", "train"), ("publish", "jinja2", "train")])
def test_modules_name_a_missing_extra(installed, tmp_path, module, missing, extra):
    """Under `python -m`, libraries are imported before any function of the command runs."""
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules[{missing!r}] = None")
    environment = {**installed[1], "PYTHONPATH": f"{tmp_path}{os.pathsep}{installed[0]}"}
    done = subprocess.run([sys.executable, "-m", f"omnisat_jax.{module}", "--help"], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: this command needs {missing}: pip install 'omnisat-jax[{extra}]'\n"
