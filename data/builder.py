"""The TFDS builder that turns tiles of a raw dataset into ArrayRecord, one part (fold or split) a builder config.

Arrays are stored as raw bytes in the dtype they were measured in, or float16; no TensorFlow is imported.
"""

import numpy as np
import tensorflow_datasets as tfds

from data.raw import RawDataset
from data.reading import Form, stored_dtype
from omnisat_jax.input.records import VERSION

SPLIT = "tiles"


class Tiles(tfds.core.GeneratorBasedBuilder):
    """Co-located modalities, dates, validity and labels, one record a tile."""

    VERSION = tfds.core.Version(VERSION)

    def __init__(self, *, raw: RawDataset, part: str, form: Form, examples=(), **kwargs):
        """Prepares `part` of `raw` from `examples`, which yields what `RawDataset.read` returns."""
        self._raw, self._form, self._examples = raw, form, examples
        super().__init__(config=tfds.core.BuilderConfig(name=part), file_format="array_record", **kwargs)

    def _info(self):
        features = {"tile_id": tfds.features.Text()}
        for name, modality in self._raw.modalities.items():
            # The leading dimension is dates, or 0/1 images: an absent modality costs no bytes.
            values = _tensor((None, *modality.shape), stored_dtype(modality, self._form))
            features[name] = {"values": values}
            if modality.kind == "series":
                features[name] |= {"dates": _tensor((None,), "int32"), "valid": _tensor((None,), "bool")}
        if self._raw.task == "segment":
            side = self._raw.label_side
            features |= {"labels": _tensor((side, side), "uint8"), "parcels": _tensor((side, side), "int64")}
        else:
            features["labels"] = _tensor((len(self._raw.classes),), "float32")
        return tfds.core.DatasetInfo(
            builder=self, description=self.__doc__, citation=self._raw.citation, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, download_manager):
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self):
        for example in self._examples:
            yield example["tile_id"], example


def _tensor(shape, dtype):
    return tfds.features.Tensor(shape=shape, dtype=np.dtype(dtype), encoding=tfds.features.Encoding.BYTES)
