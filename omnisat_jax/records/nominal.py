"""The form of the complete datasets, for what is computed without data: compiling ahead, and tracing recipes."""

import dataclasses

from omnisat_jax.errors import UserError
from omnisat_jax.records.reader import Stored


@dataclasses.dataclass(frozen=True)
class NominalRecords:
    """The part of `Records` that decides the shapes of a batch.

    Attributes: see `Records`; about: {"source"}.
    """

    modalities: dict[str, Stored]
    task: str
    classes: tuple[str, ...]
    ignore: int
    background: int
    label_side: int
    about: dict


def _series(side, bands, dtype, longest):
    return Stored("series", (side, side, bands), dtype, longest)


def nominal(dataset: str) -> NominalRecords:
    """The full PASTIS-HD, TreeSatAI-TS or FLAIR #2, its longest series as the configurations limit them.

    Raises:
      UserError: a dataset whose form is not known here.
    """
    if dataset == "pastis":
        modalities = {
            "s2": _series(128, 10, "int16", 61),
            "s1a": _series(128, 3, "float32", 71),
            "s1d": _series(128, 3, "float32", 71),
            "spot": Stored("image", (1280, 1280, 3), "uint8", 1),
            "location": Stored("location", (2,), "float32", 1),
        }
        return NominalRecords(modalities, "segment", tuple(f"class {i}" for i in range(19)), 19, 0, 128, {"source": "PASTIS-HD"})
    if dataset == "treesat":
        modalities = {
            "s2": _series(6, 10, "int16", 140),
            "s1a": _series(6, 2, "float32", 140),
            "s1d": _series(6, 2, "float32", 140),
            "aerial": Stored("image", (300, 300, 4), "uint8", 1),
        }
        return NominalRecords(modalities, "classify", tuple(f"genus {i}" for i in range(15)), -1, -1, 0, {"source": "TreeSatAI-TS"})
    if dataset == "flair":
        modalities = {
            "aerial": Stored("image", (512, 512, 5), "uint8", 1),
            "s2": _series(16, 10, "int16", 110),
            "location": Stored("location", (2,), "float32", 1),
        }
        return NominalRecords(modalities, "segment", tuple(f"class {i}" for i in range(12)), 255, -1, 512, {"source": "FLAIR #2"})
    raise UserError(f"the form of dataset {dataset!r} is not known without its records")
