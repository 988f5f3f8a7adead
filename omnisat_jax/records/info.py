"""What a dataset is, as typed objects: the content of dataset.json."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class ModalityInfo:
    """How one modality is stored.

    Attributes:
      kind: "series", "image" or "location".
      shape: of one frame, (H, W, C); (2,) for a location.
      dtype: of the frames.
      longest: dates of the longest series; 1 for other kinds.
      bands: names of the bands.
      scale, offset: of each band, a physical value is stored * scale + offset; () where the dataset does not declare them.
      resolution: m per pixel on the ground; 0 where it is not known, as in records of earlier versions.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: str
    longest: int
    bands: tuple[str, ...] = ()
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    resolution: float = 0.0


@dataclasses.dataclass(frozen=True)
class PreparationInfo:
    """How records were prepared.

    Attributes:
      reader: name of the reader of the raw dataset.
      nomenclature: name of the set of classes, or "".
      simulated: parameters of the simulated dataset, or None.
      on_bad: what was done with broken files: "raise", "skip" or "mask".
      float16: whether float32 modalities were stored as float16.
      max_bad: the largest allowed share of tiles with a broken file.
      unlabelled: what became of tiles without labels: "refuse" (there are none) or "pretrain" (they are only for pre-training).
    """

    reader: str
    nomenclature: str
    simulated: Mapping[str, int] | None
    on_bad: str
    float16: bool
    max_bad: float
    unlabelled: str = "refuse"


@dataclasses.dataclass(frozen=True)
class FileInfo:
    """One file of the records.

    Attributes:
      bytes: its size.
      xxh3: its hash; "" for a file of frames, whose checksums are in a file of their own.
      frames: number of frames; None for other files.
    """

    bytes: int
    xxh3: str = ""
    frames: int | None = None


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """The description of prepared records.

    Attributes:
      dataset: name of the dataset.
      fingerprint: hash of the raw files and of how they were read.
      simulated: whether the dataset is simulated.
      source: folder of the raw dataset.
      citation: how to cite the dataset.
      made_with: options of the preparation.
      table_split: name of the TFDS split in the table of every part.
      task: "segment" (dense labels) or "classify" (labels of tiles).
      classes: names of the classes; () if no tile has labels.
      unscored: classes that are left out of mean scores.
      colours: colors of the classes in pictures; () for the default palette.
      ignore: label of unlabeled pixels.
      background: the class that is not a label of a tile, or -1.
      label_side: side of dense labels in pixels; 0 for labels of tiles.
      modalities: {name: how it is stored}.
      parts: names of the parts.
      files: {path below the folder: what is known of the file}.
    """

    dataset: str
    fingerprint: str
    simulated: bool
    source: str
    citation: str
    made_with: PreparationInfo
    table_split: str
    task: str
    classes: tuple[str, ...]
    unscored: tuple[str, ...]
    colours: tuple[str, ...]
    ignore: int
    background: int
    label_side: int
    modalities: Mapping[str, ModalityInfo]
    parts: tuple[str, ...]
    files: Mapping[str, FileInfo]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DatasetInfo":
        """Builds the object from the content of dataset.json, which `description.check_description` has checked."""
        made = values["made_with"]
        return cls(
            made_with=_preparation(made),
            table_split=values["split"],
            modalities={name: _modality(entry) for name, entry in values["modalities"].items()},
            files={name: _file(entry) for name, entry in values["files"].items()},
            **{key: tuple(values[key]) for key in ("classes", "unscored", "colours", "parts")},
            **{
                key: values[key]
                for key in ("dataset", "fingerprint", "simulated", "source", "citation", "task", "ignore", "background", "label_side")
            },
        )

    def provenance(self) -> dict[str, Any]:
        """Returns what runs record about their data, as plain values."""
        values = dataclasses.asdict(self)
        return {key: values[key] for key in ("dataset", "fingerprint", "source", "simulated", "citation", "made_with")}


def _preparation(made: Mapping[str, Any]) -> PreparationInfo:
    values: dict[str, Any] = {field.name: made.get(field.name) for field in dataclasses.fields(PreparationInfo)}
    return PreparationInfo(**values | {"unlabelled": made.get("unlabelled", "refuse")})


def _modality(entry: Mapping[str, Any]) -> ModalityInfo:
    # Records of earlier versions have neither scale nor offset, nor a resolution.
    lists = {key: tuple(entry.get(key) or ()) for key in ("shape", "bands", "scale", "offset")}
    return ModalityInfo(kind=entry["kind"], dtype=entry["dtype"], longest=entry["longest"], resolution=entry.get("resolution", 0.0), **lists)


def _file(entry: Mapping[str, Any]) -> FileInfo:
    frames = entry.get("frames")
    return FileInfo(entry["bytes"], "" if frames is not None else entry["xxh3"], frames)
