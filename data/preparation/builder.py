"""The TFDS builder of the table of tiles, one builder config per part of the dataset, and the writer of their frames.

The table, an ArrayRecord, holds labels, dates and validity. The images are frames in NumPy files (omnisat_jax/records/frames.py), in the dtype in
which they were measured, or float16. TensorFlow is not imported.
"""

import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data.preparation.options import PreparationOptions
from data.reading.raw import RawDataset
from omnisat_jax.records.frames import FrameWriter, frames_path
from omnisat_jax.records.reader import VERSION

SPLIT = "tiles"
# Part of the bytes of records: kept to the letter until the version of the layout changes.
DESCRIPTION = "Labels, dates, validity and the place of the frames of co-located modalities, one record a tile."


class _Info(tfds.core.DatasetInfo):
    """The description of a table that is new, so that nobody else knows it."""

    def initialize_from_bucket(self) -> None:
        """Does nothing. TFDS would make a temporary folder for what its servers know of the table, and leave it behind, empty."""


class Tiles(tfds.core.GeneratorBasedBuilder):
    """Builds the table of a part: one record per tile with its labels, dates, validity and the positions of its frames."""

    VERSION = tfds.core.Version(VERSION)

    def __init__(self, *, raw: RawDataset, part: str, examples: Iterable[dict] = (), **kwargs: Any):
        """
        Args:
          raw: the dataset.
          part: name of the part that is prepared.
          examples: its records, see `FrameWriters.take`.
          kwargs: of the TFDS builder.
        """
        self._raw, self._examples = raw, examples
        super().__init__(config=tfds.core.BuilderConfig(name=part), file_format="array_record", **kwargs)

    def _info(self):
        features: dict[str, Any] = {"tile_id": tfds.features.Text()}
        for name, modality in self._raw.modalities.items():
            if modality.kind == "location":
                features[name] = {"values": _tensor((None, *modality.shape), modality.dtype)}
                continue
            features[name] = {"first": _tensor((), "int64"), "count": _tensor((), "int64")}
            if modality.kind == "series":
                features[name] |= {"dates": _tensor((None,), "int32"), "valid": _tensor((None,), "bool")}
        if self._raw.task == "segment":
            side = self._raw.label_side
            features |= {"labels": _tensor((side, side), "uint8"), "parcels": _tensor((side, side), "int64")}
        else:
            features["labels"] = _tensor((len(self._raw.classes),), "float32")
        return _Info(
            builder=self,
            description=DESCRIPTION,
            citation=self._raw.citation,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,  # records keep the order of the summary
        )

    def _split_generators(self, download_manager):
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        yield from enumerate(self._examples)


class FrameWriters:
    """Context manager that writes the frames of a part, one file per modality; the files are complete if the context ends without an error."""

    def __init__(self, folder: pathlib.Path, raw: RawDataset, part: str, options: PreparationOptions):
        """
        Args:
          folder: of the records; the folder of the part's frames exists in it.
          raw: the dataset.
          part: name of the part.
          options: how frames are stored.
        """
        self._writers = {
            name: FrameWriter(frames_path(folder, part, name), modality.shape, options.stored_dtype(modality))
            for name, modality in raw.modalities.items()
            if modality.kind != "location"
        }

    def __enter__(self) -> "FrameWriters":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for writer in self._writers.values():
            if error is None:
                writer.close()
            else:
                writer.abandon()

    def take(self, example: dict) -> dict:
        """Writes the frames of an example (see `RawDataset.read`); returns its record, with the position of its frames in their place."""
        record = {key: value for key, value in example.items() if key not in ("remarks", "labelled")}
        for name, writer in self._writers.items():
            entry = dict(example[name])
            frames, first = entry.pop("values"), writer.written
            for frame in frames:
                writer.write(frame)
            record[name] = entry | {"first": first, "count": len(frames)}
        return record


def _tensor(shape, dtype):
    return tfds.features.Tensor(
        shape=shape, dtype=np.dtype(dtype), encoding=tfds.features.Encoding.BYTES if shape else tfds.features.Encoding.NONE
    )
