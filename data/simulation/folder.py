"""What all simulations share: the mark of a simulated folder, and the check of the requested sizes."""

import pathlib

from data.reading.raw import SIMULATED
from omnisat_jax.errors import UserError
from omnisat_jax.words import number_of


def mark_simulated(folder: pathlib.Path) -> None:
    """Marks a folder as simulated, so that every reader of it knows."""
    (folder / SIMULATED).write_text("Nothing in this folder was measured: it is simulated by omnisat_jax.\n")


def need_sizes(tiles: int, tile_size: int, smallest: int) -> None:
    """Checks the requested number and size of tiles.

    Raises:
      UserError: no tiles, or fewer than `smallest` pixels per side.
    """
    if tiles < 1 or tile_size < smallest:
        raise UserError(
            f"a simulation needs at least 1 tile of at least {smallest} px, found {number_of(tiles, 'tile')} of {tile_size} px "
            "(data.simulated.tiles, data.simulated.tile_size)"
        )
