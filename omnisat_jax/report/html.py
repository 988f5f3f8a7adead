"""The HTML report of a run or a study: one file that needs no network and no other file.

python -m omnisat_jax.report RUN_OR_STUDY_DIR
"""

import pathlib

import jinja2

from omnisat_jax.errors import UserError, printable
from omnisat_jax.files.atomic import write_text
from omnisat_jax.report import run_page, study_page
from omnisat_jax.types import StrPath


class ReportError(UserError):
    """A folder that is neither a finished run nor a study; the message says what it must hold."""


def write(folder: StrPath) -> pathlib.Path:
    """Writes <folder>/report.html of a finished run or a study, and returns its path.

    Raises:
      ReportError: the folder holds neither results.json nor study.json.
      DataError: a file of the folder is damaged.
    """
    folder = pathlib.Path(folder)
    if (folder / "study.json").is_file():
        page = study_page.read_page(folder)
    elif (folder / "results.json").is_file():
        page = run_page.read_page(folder)
    else:
        raise ReportError(f"{folder}: expected results.json of a finished run or study.json of a study, found neither")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, finalize=_printable,
    )  # fmt: skip
    path = folder / "report.html"
    write_text(path, environment.get_template("report.html.j2").render(vars(page)))
    return path


def _printable(value):
    """Texts from files without control characters; jinja2 escapes the rest."""
    return printable(value, None) if isinstance(value, str) and not value.isprintable() else value
