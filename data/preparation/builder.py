"""The TFDS builder of the table of tiles, one part (fold or split) a builder config, and the writer of their frames.

Labels, dates and validity are in the table, an ArrayRecord; the images themselves are frames in NumPy files (omnisat_jax/records/frames.py), in the
dtype they were measured in, or float16. No TensorFlow is imported.
"""

import numpy as np
import tensorflow_datasets as tfds

from data.reading.bad_tiles import Form, stored_dtype
from data.reading.raw import RawDataset
from omnisat_jax.records.frames import FrameWriter, frames_path
from omnisat_jax.records.reader import VERSION

SPLIT = "tiles"


class Tiles(tfds.core.GeneratorBasedBuilder):
    """Labels, dates, validity and the place of the frames of co-located modalities, one record a tile."""

    VERSION = tfds.core.Version(VERSION)

    def __init__(self, *, raw: RawDataset, part: str, examples=(), **kwargs):
        """Prepares `part` of `raw` from `examples`, which yields what `FrameWriters.take` returns."""
        self._raw, self._examples = raw, examples
        super().__init__(config=tfds.core.BuilderConfig(name=part), file_format="array_record", **kwargs)

    def _info(self):
        features = {"tile_id": tfds.features.Text()}
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
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            citation=self._raw.citation,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,  # the order of the summary is that of the records
        )

    def _split_generators(self, download_manager):
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self):
        yield from enumerate(self._examples)


class FrameWriters:
    """Writes the frames of a part, a file per modality, which are complete when the context ends without an error."""

    def __init__(self, folder, raw: RawDataset, part: str, form: Form):
        """folder: of the records, in which that of the frames of the part exists."""
        self._writers = {
            name: FrameWriter(frames_path(folder, part, name), modality.shape, stored_dtype(modality, form))
            for name, modality in raw.modalities.items()
            if modality.kind != "location"
        }

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        for writer in self._writers.values():
            if error is None:
                writer.close()
            else:
                writer.abandon()

    def take(self, example):
        """Writes the frames of an example (see `RawDataset.read`); returns it with the place of its frames instead of them."""
        table = {key: value for key, value in example.items() if key != "remarks"}
        for name, writer in self._writers.items():
            entry = dict(example[name])
            frames, first = entry.pop("values"), writer.written
            for frame in frames:
                writer.write(frame)
            table[name] = entry | {"first": first, "count": len(frames)}
        return table


def _tensor(shape, dtype):
    return tfds.features.Tensor(
        shape=shape, dtype=np.dtype(dtype), encoding=tfds.features.Encoding.BYTES if shape else tfds.features.Encoding.NONE
    )
