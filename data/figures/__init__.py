"""A tile as a picture: images, series over time, labels (`tile`), and the curves that it shows (`curves`)."""

import omnisat_jax.report  # noqa: F401  before Matplotlib: it sets what Matplotlib says while it is imported
