"""What run.json says about the products of a map."""

import collections
import datetime
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from omnisat_jax.errors import UserError
from omnisat_jax.files import atomic
from omnisat_jax.files.json_file import read_json
from omnisat_jax.predict.folder import NO_DATA, RUN, MapFolder
from omnisat_jax.predict.grid import Block
from omnisat_jax.predict.products.parcels import Parcels
from omnisat_jax.predict.vector import split_layer
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of


class Tally:
    """Counts the pixels of each class, and sums the differences of overlapping windows.

    Attributes:
      pixels: (K,) int64, pixels of each class.
      unknown: pixels without a class.
    """

    def __init__(self, classes: int):
        self.pixels, self.unknown = np.zeros(classes, np.int64), 0
        self._seams = collections.deque()  # sums of floats depend on their order: that of the blocks

    def add(self, block: Block, arrays: Mapping[str, np.ndarray]) -> None:
        """Adds one block."""
        counts = np.bincount(arrays["class"].ravel(), minlength=NO_DATA + 1)
        self.pixels += counts[: len(self.pixels)]
        self.unknown += int(counts[NO_DATA])
        self._seams.append(np.asarray(arrays["seam"], np.float64))

    @property
    def seam_index(self) -> float | None:
        """Mean difference of the probabilities of overlapping windows; None if none overlap."""
        total, count = np.sum(self._seams, axis=0)
        return float(total / count) if count else None

    @property
    def share_unknown(self) -> float:
        """Share of the pixels that have no class."""
        return self.unknown / (self.unknown + int(self.pixels.sum()))


def created(folder: MapFolder) -> str:
    """When the map was first finished, in UTC: from run.json, or now."""
    found = _values(folder).get("created")
    return found if isinstance(found, str) else datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def products(folder: MapFolder) -> dict[str, dict[str, Any]]:
    """The products that run.json lists, with their size in bytes and XXH3 hash: those of earlier calls stay."""
    found = _values(folder).get("products")
    return dict(found) if isinstance(found, dict) else {}


def update(folder: MapFolder, values: Mapping[str, Any]) -> None:
    """Adds plain values to run.json, in place of earlier ones of the same names.

    Raises:
      UserError: the file cannot be read or written.
    """
    atomic.write_json(folder.path / RUN, {**_values(folder), **values})


def of_parcels(file: str, parcels: Parcels) -> dict[str, Any]:
    """What run.json says about parcels: their file, number, how many have no pixel with a class, and whose geometry is the reason for it."""
    found = {"file": file, "count": len(parcels.frame), "unseen": parcels.unseen}
    problems = parcels.source.problems
    return found | ({"unusable": len(problems), "problems": parcels.source.problems_text} if problems else {})


def default_file(name: str) -> str:
    """Name of the file of parcels or polygons in the folder of a map."""
    return f"{name}.parquet"


def parcel_tables(folder: MapFolder, source: StrPath, out: pathlib.Path | None) -> dict[str, str]:
    """What run.json says about the tables of parcels that were made of this map: {table: parcels that it was made from}.

    Args:
      folder: of the map.
      source: file of the parcels of this call, or FILE:LAYER.
      out: its table; None for the one in the folder of the map.
    """
    return _tables(folder) | {_table(folder, out): _whole(source)}


def need_same_parcels(folder: MapFolder, source: StrPath, out: pathlib.Path | None) -> None:
    """Refuses to overwrite the table of other parcels; the arguments are those of `parcel_tables`.

    Raises:
      UserError: the table exists, and was made from another file or layer.
    """
    path, former = out or folder.path / default_file("parcels"), _tables(folder).get(_table(folder, out))
    if former not in (None, _whole(source)) and path.exists():
        raise UserError(
            f"{path}: expected the table of {source}, which would be overwritten, found that of {former}; choose another --parcels_out, or remove the table"
        )


def _tables(folder: MapFolder) -> dict[str, str]:
    found = _values(folder).get("parcel_tables")
    return dict(found) if isinstance(found, dict) else {}


def _table(folder: MapFolder, out: pathlib.Path | None) -> str:
    """A table inside the folder of the map is called by its name alone, as such folders are moved."""
    inside, path = folder.path.resolve(), (out or folder.path / default_file("parcels")).resolve()
    return str(path.relative_to(inside) if path.is_relative_to(inside) else path)


def _whole(source: StrPath) -> str:
    path, layer = split_layer(source)
    return f"{path.resolve()}:{layer}" if layer else str(path.resolve())


def remarks(folder: MapFolder) -> list[str]:
    """What the user should know about the products, in words."""
    found = _values(folder).get("parcels") or {}
    out = []
    if found.get("unusable"):
        out.append(f"{found['file']}: {found['unusable']:,} of {number_of(found['count'], 'parcel')} left without a result: {found['problems']}")
    if found and found["unseen"] == found["count"]:
        out.append(f"{found['file']}: none of {number_of(found['count'], 'parcel')} has a pixel with a class; check its reference system and the order of x and y")
    return out


def _values(folder: MapFolder) -> dict[str, Any]:
    return read_json(folder.path / RUN, what="the description of a map", advice="Make the map again, in another folder.").value
