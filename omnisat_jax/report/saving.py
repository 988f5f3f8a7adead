"""Writing of pictures and arrays of a run: whole or not at all, also on a full disk."""

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from omnisat_jax.files.atomic import write_bytes
from omnisat_jax.types import StrPath


def save_figure(figure: Figure, path: StrPath, dpi: int) -> None:
    """Writes a figure as PNG, of `dpi` pixels per inch.

    Raises:
      UserError: the file cannot be written.
    """
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    write_bytes(path, content.getvalue())


def save_arrays(path: StrPath, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes {name: array} as .npz.

    Raises:
      UserError: the file cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # pyright: ignore[reportArgumentType]  # not every value is `allow_pickle`
    write_bytes(path, content.getvalue())
