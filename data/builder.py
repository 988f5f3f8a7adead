"""The TFDS builder that turns tiles of a raw dataset into ArrayRecord, one part (fold or split) a builder config.

Arrays are stored as raw bytes in the dtype they were measured in; no TensorFlow is imported.
"""

import numpy as np
import tensorflow_datasets as tfds

from data.raw import RawDataset

SPLIT = "tiles"
VERSION = "1.1.0"  # of the record layout: part of the cache key


def label_side(modalities) -> int:
    """Pixels a side of dense labels: they lie on the grid of the series, or of the only image."""
    return next(m.shape[0] for kind in ("series", "image") for m in modalities.values() if m.kind == kind)


class Tiles(tfds.core.GeneratorBasedBuilder):
    """Co-located modalities, dates, validity and labels, one record a tile."""

    VERSION = tfds.core.Version(VERSION)

    def __init__(self, *, raw: RawDataset, part: str, observe=lambda example: None, **kwargs):
        """Prepares `part` of `raw`; `observe` is called with every example on its way to disk."""
        self._raw, self._part, self._observe = raw, part, observe
        super().__init__(config=tfds.core.BuilderConfig(name=part), file_format="array_record", **kwargs)

    def _info(self):
        features = {"tile_id": tfds.features.Text()}
        for name, modality in self._raw.modalities.items():
            # The leading dimension is dates, or 0/1 images: an absent modality costs no bytes.
            values = _tensor((None, *modality.shape), modality.dtype)
            features[name] = {"values": values}
            if modality.kind == "series":
                features[name] |= {"dates": _tensor((None,), "int32"), "valid": _tensor((None,), "bool")}
        if self._raw.task == "segment":
            side = label_side(self._raw.modalities)
            features |= {"labels": _tensor((side, side), "uint8"), "parcels": _tensor((side, side), "int64")}
        else:
            features["labels"] = _tensor((len(self._raw.classes),), "float32")
        return tfds.core.DatasetInfo(
            builder=self, description=self.__doc__, citation=self._raw.citation, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, download_manager):
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self):
        for tile in self._raw.parts[self._part]:
            example = self._raw.read(tile)
            self._observe(example)
            yield tile, example


def _tensor(shape, dtype):
    return tfds.features.Tensor(shape=shape, dtype=np.dtype(dtype), encoding=tfds.features.Encoding.BYTES)
