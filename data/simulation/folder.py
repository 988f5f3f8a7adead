"""What a simulated dataset says of itself, and what can be simulated."""

import pathlib

from data.reading.raw import SIMULATED
from omnisat_jax.errors import UserError


def mark(work: pathlib.Path):
    """Lets the folder say that it is simulated, so that whoever reads it, from wherever, says so."""
    (work / SIMULATED).write_text("Nothing in this folder was measured: it is simulated by omnisat_jax.\n")


def need(tiles: int, tile_size: int, smallest: int):
    """Raises UserError for a dataset without tiles, or of tiles smaller than `smallest` pixels."""
    if tiles < 1 or tile_size < smallest:
        raise UserError(
            f"a simulation needs at least 1 tile of at least {smallest} px, found {tiles} tiles of {tile_size} px "
            "(data.simulated.tiles, data.simulated.tile_size)"
        )
