"""The page of the package on PyPI: README.md with absolute links, as its relative ones lead nowhere there. The rest is in pyproject.toml."""

import pathlib
import re

from setuptools import setup

REPOSITORY = "omnisat-jax/omnisat-jax"
ROOT = pathlib.Path(__file__).resolve().parent


def with_absolute_links(text: str, tag: str) -> str:
    """Markdown whose relative links and pictures lead to the files of a tag of the repository."""
    raw = rf"\1https://raw.githubusercontent.com/{REPOSITORY}/{tag}/"
    text = re.sub(r"(!\[[^]]*\]\()(?!https?:|#)", raw, text)
    return re.sub(r"((?<!!)\[[^][]*\]\()(?!https?:|#)", rf"\1https://github.com/{REPOSITORY}/blob/{tag}/", text)


def version() -> str:
    (found,) = re.findall(r'^__version__ = "(.+)"$', (ROOT / "omnisat_jax" / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)
    return found


setup(
    long_description=with_absolute_links((ROOT / "README.md").read_text(encoding="utf-8"), f"v{version()}"),
    long_description_content_type="text/markdown",
)
