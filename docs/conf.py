"""Configuration of the documentation site: python -m sphinx -W --keep-going -b html docs build/docs"""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# The notebooks start `python`, which must be this one and find the checkout.
os.environ["PATH"] = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from omnisat_jax import __version__  # noqa: E402
from omnisat_jax.parallel.compilation import as_flags, unoptimised  # noqa: E402

# The programs of the notebooks take longer to compile than to run.
os.environ.setdefault("XLA_FLAGS", as_flags(unoptimised()))

project = "omnisat_jax"
author = "The omnisat_jax contributors"
copyright = "The omnisat_jax contributors"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "**/README.md"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
default_role = "code"  # docstrings write `name` for code
html_theme = "furo"
html_title = "omnisat_jax"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes are listed once, not again as members

suppress_warnings = ["ref.python"]  # short attribute names, such as those of named tuples, match several classes

# Notebooks are text (MyST) and are executed whenever the site is built; an error in a cell is an error of the build.
nb_execution_mode = "force"
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_render_markdown_format = "myst"  # with tables
