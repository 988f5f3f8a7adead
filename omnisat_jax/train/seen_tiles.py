"""Which tiles a pre-training has seen, however they were stored: pretrain/tiles.json of its run."""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from omnisat_jax.files import atomic, working_copy
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.records.overlap import same_ground
from omnisat_jax.records.reader import Records
from omnisat_jax.types import StrPath

FILE = "tiles.json"
Place = tuple[float, float]  # longitude and latitude of the center, degrees


@dataclasses.dataclass(frozen=True)
class TileSet:
    """Tiles of one folder of records.

    Attributes:
      dataset: name of the dataset.
      simulated: whether they are simulated.
      simulation: what a simulation was made from; None of measured tiles, and of simulated ones that were given as a folder.
      side: of a tile on the ground, m.
      tiles: {id: where it lies, or None where that is not known}.
    """

    dataset: str
    simulated: bool
    simulation: Mapping[str, int] | None
    side: float
    tiles: Mapping[str, Place | None]

    @classmethod
    def of(cls, records: Records, parts: Sequence[str], side: float) -> "TileSet":
        """The tiles of some parts of records.

        Args:
          records: the data.
          parts: of them.
          side: of a tile on the ground, m.

        Raises:
          DataError: a row of the records was changed or damaged.
        """
        info, places = records.info, records.places(parts)
        made = info.made_with.simulated
        return cls(info.dataset, info.simulated, None if made is None else dict(made), side, {tile: places.get(tile) for tile in records.tiles(parts)})

    def only(self, ids: Iterable[str]) -> "TileSet":
        """Those of the tiles that are among `ids`."""
        kept = set(ids)
        return dataclasses.replace(self, tiles={tile: place for tile, place in self.tiles.items() if tile in kept})


def shared(tiles: TileSet, others: TileSet) -> list[tuple[str, str]]:
    """Tiles of two sets that are the same, or show the same ground.

    Measured tiles are known by where they lie. A tile whose place is not known, and a simulated one, which lies nowhere, is known by its id in a
    dataset of the same name.

    Returns:
      Pairs (tile, other tile).
    """
    if tiles.simulated != others.simulated:
        return []
    named = _named_alike(tiles, others)
    if tiles.simulated:
        return [(tile, tile) for tile in named]
    here, there = ({tile: place for tile, place in found.tiles.items() if place} for found in (tiles, others))
    unplaced = [(tile, tile) for tile in named if not (tile in here and tile in there)]
    return unplaced + same_ground(here, there, (tiles.side, others.side))


def without(tiles: TileSet, others: TileSet) -> TileSet:
    """Those of the tiles that are not tiles of `others` under the same id."""
    named = _named_alike(tiles, others)
    known = {tile for tile, other in shared(tiles.only(named), others.only(named)) if tile == other}
    return tiles.only(tiles.tiles.keys() - known)


def _named_alike(tiles: TileSet, others: TileSet) -> list[str]:
    """Ids that both sets have, if they may mean the same: the names of the datasets agree and, as far as known, what they were simulated from."""
    simulations = tiles.simulation, others.simulation
    if tiles.dataset != others.dataset or None not in simulations and simulations[0] != simulations[1]:
        return []
    return [tile for tile in tiles.tiles if tile in others.tiles]


def keep(folder: StrPath, seen: Sequence[TileSet]) -> None:
    """Adds tiles to those that the pre-training of a run has seen. A run that goes on with other data has seen both.

    Args:
      folder: of the run.
      seen: the tiles that pre-training reads from now on.

    Raises:
      DataError: tiles.json is damaged.
    """
    folder = pathlib.Path(folder) / "pretrain"
    before = read(folder.parent) or ()
    new = [tiles for tiles in seen if tiles not in before]
    if new:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.write_json(folder / FILE, [_plain(tiles) for tiles in (*before, *new)])
        working_copy.push(folder.parent)


def read(folder: StrPath) -> tuple[TileSet, ...] | None:
    """The tiles that the pre-training of a run has seen; None of an earlier version, which did not keep them.

    Raises:
      DataError: tiles.json is damaged.
    """
    path = pathlib.Path(folder) / "pretrain" / FILE
    if not path.exists():
        return None
    advice = "Restore it, or pre-train again."
    return tuple(_tiles(entry) for entry in read_json(path, what="the tiles that were pre-trained on", advice=advice).list())


def _plain(tiles: TileSet) -> dict[str, Any]:
    return {field.name: getattr(tiles, field.name) for field in dataclasses.fields(tiles)}


def _tiles(entry: Value) -> TileSet:
    simulation = entry.find("simulation")
    return TileSet(
        dataset=entry.get("dataset").text(),
        simulated=entry.get("simulated").boolean(),
        simulation=None if simulation.value is None else {key: value.integer(0, 2**63) for key, value in simulation.items().items()},
        side=entry.get("side").number(0),
        tiles={tile: None if place.value is None else _place(place) for tile, place in entry.get("tiles").items().items()},
    )


def _place(value: Value) -> Place:
    longitude, latitude = value.list(2)
    return longitude.number(-180, 180), latitude.number(-90, 90)
