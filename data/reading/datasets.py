"""The registry of datasets, how a raw folder of one is opened, and what must hold for all of them."""

import collections
import dataclasses
import functools
import importlib
import inspect
import pathlib
import re
from types import ModuleType
from typing import Any

from data.reading.index import check_index
from data.reading.raw import DataError, RawDataset
from omnisat_jax.errors import UserError, reason
from omnisat_jax.files import fetching
from omnisat_jax.files.paths import check_name, check_text
from omnisat_jax.modalities import RESERVED
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

_READERS = {
    "pastis": "data.pastis.reader",
    "treesat": "data.treesat.reader",
    "flair": "data.flair.reader",
    "tiles": "data.tiles.reader",
}
# name -> function that imports the reader, as each reader needs libraries that the others do not
DATASETS = {name: functools.partial(importlib.import_module, module) for name, module in _READERS.items()}
SIMULATED = ("pastis", "treesat", "flair")
COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def reader_of(name: str) -> ModuleType:
    """The module of a reader: WHERE (the data are published), raw_files(root), open_raw(root); READING, if the same files were once read as other values.

    Raises:
      UserError: an unknown dataset.
    """
    if name not in DATASETS:
        raise UserError(f"data.dataset: expected one of {', '.join(DATASETS)}, found {name!r}")
    return DATASETS[name]()


def simulator(name: str) -> ModuleType:
    """The module that simulates a dataset: VERSION, and simulate(root, tiles, tile_size, seed, jobs, progress).

    Raises:
      UserError: a dataset without a simulation.
    """
    if name not in SIMULATED:
        raise UserError(f"data.simulated.tiles: expected a dataset that can be simulated ({', '.join(SIMULATED)}), found {name}")
    return importlib.import_module(f"data.{name}.simulated")


def nomenclature_of(name: str, nomenclature: str = "") -> str:
    """The name of a set of classes: `nomenclature`, or the default of the dataset; "" for datasets with a single set."""
    return nomenclature or next(iter(getattr(reader_of(name), "NOMENCLATURES", ())), "")


def knows_unlabelled(name: str) -> bool:
    """Whether the reader of a dataset can tell tiles without labels from faults."""
    return "unlabelled" in inspect.signature(reader_of(name).open_raw).parameters


def open_dataset(name: str, root: StrPath, nomenclature: str = "", unlabelled: str = "refuse") -> RawDataset:
    """Indexes the raw folder of a dataset.

    Args:
      name: one of DATASETS.
      root: the folder.
      nomenclature: which set of classes, for datasets with several; "" = the default.
      unlabelled: "refuse" (a tile without labels is a fault) or "pretrain" (it is one of `RawDataset.unlabelled`).

    Raises:
      DataError: the folder does not hold that dataset, contradicts itself, see `check`, or its reader returns something else than a RawDataset says.
      UserError: an unknown nomenclature, or a reader that knows no tiles without labels.
    """
    reader = reader_of(name)
    known = getattr(reader, "NOMENCLATURES", ())
    if nomenclature and nomenclature not in known:
        raise UserError(
            f"data.nomenclature of {name}: expected {'one of ' + ', '.join(known) if known else 'none, as it has one set of classes'}, "
            f"found {nomenclature!r}"
        )
    options: dict[str, Any] = {"nomenclature": nomenclature} if nomenclature else {}
    if unlabelled == "pretrain":
        if not knows_unlabelled(name):
            raise UserError(f"data.unlabelled of {name}: expected 'refuse', as its reader knows no tiles without labels, found 'pretrain'")
        options["unlabelled"] = True
    try:
        dataset = reader.open_raw(pathlib.Path(root), **options)
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"the reader of {name}: expected open_raw to index {root}, found {type(error).__name__}: {reason(error)}") from error
    return dataclasses.replace(check(check_index(dataset, name)), copies=fetching.of(root))


def check(dataset: RawDataset) -> RawDataset:
    """Checks a dataset, whatever its reader; in particular, that no tile is in two parts.

    Returns:
      The dataset.

    Raises:
      DataError: no tile, a repeated tile, unusable names, or classes, colors and label values that contradict each other.
    """

    def need(condition: object, expected: str, found: str, **more: Any) -> None:
        if not condition:
            raise DataError(**({"tile": "-", "path": dataset.root, "expected": expected, "found": found} | more))

    owners = collections.defaultdict(list)
    for part, tiles in dataset.parts.items():
        check_name(part, what="the name of a part", path=dataset.root)
        for tile in tiles:
            owners[check_name(tile, what="the name of a tile", path=dataset.root)].append(part)
    need(owners, "at least one tile", "none")
    twice = {tile: parts for tile, parts in owners.items() if len(parts) > 1}
    for tile, (first, second, *_) in twice.items():
        found = f"part {first} twice" if first == second else f"parts {first} and {second}"
        need(False, "each tile once, in one part", f"{found}, and {len(twice) - 1:,} more such tiles", tile=tile, kind="leak")
    for name, modality in dataset.modalities.items():
        check_name(name, what="the name of a modality", path=dataset.root)
        need(name.lower() not in RESERVED, f"no modality called {' or '.join(sorted(RESERVED))}", name)
        need((name == "location") == (modality.kind == "location"), "the name location for a location, and for nothing else", f"{name}: {modality.kind}")
    need(dataset.modalities, "at least one modality", "none")
    classes = [check_text(name, what="the name of a class", path=dataset.root, longest=100) for name in dataset.classes]
    stray = dataset.unlabelled - owners.keys()
    need(not stray, "tiles without labels among the tiles", ", ".join(sorted(stray)))
    none = not classes and len(dataset.unlabelled) == len(owners)  # data that never had labels have no classes
    need(none or 2 <= len(classes) < 256, "2 to 255 classes", f"{len(classes)}")
    need(len(set(classes)) == len(classes), "each class once", ", ".join(name for name in classes if classes.count(name) > 1))
    need(len(dataset.colours) in (0, len(classes)), f"a color for each of the {number_of(len(classes), 'class')}", f"{len(dataset.colours)}")
    for colour in dataset.colours:
        need(isinstance(colour, str) and COLOUR.fullmatch(colour), "colors #rrggbb", repr(colour))
    need(-1 <= dataset.ignore <= 255 and dataset.ignore not in range(len(classes)), "a void label that is not a class", f"{dataset.ignore}")
    need(dataset.background == -1 or dataset.background in range(len(classes)), "a background that is a class, or -1", f"{dataset.background}")
    need(set(dataset.unscored) <= set(classes), "unscored classes among the classes", ", ".join(dataset.unscored))
    return dataset
