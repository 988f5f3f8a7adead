"""A simulated dataset is written under another name and gets its own when it is whole."""

import contextlib
import os
import pathlib
import shutil

from data.raw import SIMULATED
from omnisat_jax.errors import UserError


@contextlib.contextmanager
def new_folder(root: pathlib.Path):
    """Yields a folder to fill, which becomes `root` at the end; the same simulation by another process first is no error."""
    work = root.with_name(f"{root.name}.partial-{os.getpid()}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
    except BaseException:
        shutil.rmtree(work)
        raise
    try:
        work.rename(root)
    except OSError:
        if not root.exists():
            raise
        shutil.rmtree(work)


def mark(work: pathlib.Path):
    """Lets the folder say that it is simulated, so that whoever reads it, from wherever, says so."""
    (work / SIMULATED).write_text("Nothing in this folder was measured: it is simulated by omnisat_jax.\n")


def need(tiles: int, tile_size: int, smallest: int):
    """Raises ValueError for a dataset without tiles, or of tiles smaller than `smallest` pixels."""
    if tiles < 1 or tile_size < smallest:
        raise UserError(
            f"a simulation needs at least 1 tile of at least {smallest} px, found {tiles} tiles of {tile_size} px "
            "(data.simulated.tiles, data.simulated.tile_size)"
        )
