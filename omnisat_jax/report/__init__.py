"""Reports: results of runs as JSON, Markdown, HTML and pictures."""

import logging
import os

from omnisat_jax.cli.signals import DEBUG

if not os.environ.get(DEBUG):  # without a home that can be written to, Matplotlib gives advice on its caches whenever it is imported
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
