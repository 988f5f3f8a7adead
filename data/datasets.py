"""Which datasets there are, and how a raw folder of one is opened."""

import functools
import importlib
import pathlib

from data.raw import RawDataset
from omnisat_jax.errors import UserError

_READERS = {
    "pastis": "data.pastis.reader",
    "treesat": "data.treesat.reader",
    "flair": "data.flair.reader",
    "tiles": "data.tiles.reader",
}
# name -> function that imports the reader: each needs libraries that the others do not
DATASETS = {name: functools.partial(importlib.import_module, module) for name, module in _READERS.items()}
SIMULATED = ("pastis", "treesat", "flair")


def reader_of(name: str):
    """The reader's module: WHERE, raw_files(root), open_raw(root).

    Raises:
      UserError: no such dataset.
    """
    if name not in DATASETS:
        raise UserError(f"data.dataset: expected one of {', '.join(DATASETS)}, found {name!r}")
    return DATASETS[name]()


def simulator(name: str):
    """The module that simulates a dataset: VERSION, and simulate(root, tiles, tile_size, seed, progress).

    Raises:
      UserError: a dataset that is not simulated.
    """
    if name not in SIMULATED:
        raise UserError(f"data.simulated.tiles: expected a dataset that can be simulated ({', '.join(SIMULATED)}), found {name}")
    return importlib.import_module(f"data.{name}.simulated")


def open_dataset(name: str, root, nomenclature: str = "") -> RawDataset:
    """Indexes the raw folder of a dataset.

    Args:
      name: one of DATASETS.
      root: the folder.
      nomenclature: which set of classes, of datasets that have several; "" = the default.

    Raises:
      DataError: the folder is not of that dataset.
      UserError: a nomenclature that the dataset does not have.
    """
    reader = reader_of(name)
    known = getattr(reader, "NOMENCLATURES", ())
    if nomenclature and nomenclature not in known:
        raise UserError(
            f"data.nomenclature of {name}: expected {'one of ' + ', '.join(known) if known else 'none, as it has one set of classes'}, "
            f"found {nomenclature!r}"
        )
    return reader.open_raw(pathlib.Path(root), **({"nomenclature": nomenclature} if nomenclature else {}))
