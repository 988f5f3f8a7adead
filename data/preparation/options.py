"""How a dataset is prepared, and from what."""

import dataclasses
from typing import Any

from data.reading.raw import RawModality

ON_BAD = ("raise", "skip", "mask")


@dataclasses.dataclass(frozen=True)
class PreparationOptions:
    """How tiles are read and stored.

    Attributes:
      on_bad: "raise" (a broken file ends the preparation), "skip" (its tile is left out) or "mask" (its modality counts as absent, broken
        dense labels as void; a tile with nothing left, or with broken tile labels, is left out).
      float16: store float32 modalities as float16.
      max_bad: largest share of tiles with a broken file, for "skip" and "mask".
      jobs: number of reading processes.
      unlabelled: "refuse" (a tile without labels is broken) or "pretrain" (it is kept for pre-training only).
    """

    on_bad: str = "raise"
    float16: bool = False
    max_bad: float = 0.05
    jobs: int = 1
    unlabelled: str = "refuse"

    def stored_dtype(self, modality: RawModality) -> str:
        """The dtype of a modality in records."""
        return "float16" if self.halves(modality) else modality.dtype

    def halves(self, modality: RawModality) -> bool:
        """Whether a modality is stored as float16 instead of float32."""
        return self.float16 and modality.dtype == "float32" and modality.kind != "location"


@dataclasses.dataclass(frozen=True)
class Origin:
    """What records are made from.

    Attributes:
      fingerprint: identifies the content of the raw files and how they are read.
      reader: name of the reader, one of DATASETS.
      nomenclature: name of the set of classes, or "".
      simulated: parameters of the simulation as plain values, or None for a raw folder.
    """

    fingerprint: str
    reader: str
    nomenclature: str = ""
    simulated: dict[str, Any] | None = None
