"""What a reader must say about a folder: the form of every value of a RawDataset is checked before anything is read."""

import math
from collections.abc import Callable, Mapping, Set
from typing import Any

from data.reading.contract import ADVICE
from data.reading.raw import RawDataset, RawModality
from omnisat_jax.errors import DataError, UserError
from omnisat_jax.records.description import BANDS, DTYPES, KINDS, WIDEST


def check_index(dataset: Any, reader: str) -> RawDataset:
    """Checks the form of what a reader says about a folder. What the values mean is checked by `datasets.check`.

    Args:
      dataset: what `open_raw` returned.
      reader: name of the dataset that it was asked for.

    Returns:
      The dataset.

    Raises:
      UserError: something else than a RawDataset.
      DataError: a value of another form than RawDataset describes.
    """
    if not isinstance(dataset, RawDataset):
        raise UserError(f"the reader of {reader}: expected open_raw to return a RawDataset, found {type(dataset).__name__}. {ADVICE}")

    def need(condition: object, expected: str, found: Any) -> None:
        if not condition:
            what = f"the reader of {reader} to give {expected}"
            raise DataError(tile="-", path=dataset.root, expected=what, found=f"{found!r}", advice=ADVICE)

    for key in ("name", "citation"):
        need(isinstance(getattr(dataset, key), str), f"a text as {key}", getattr(dataset, key))
    need(dataset.task in ("segment", "classify"), "segment or classify as task", dataset.task)
    dense = dataset.task == "segment"
    need(_is_whole(dataset.label_side, 1 if dense else 0, WIDEST if dense else 0), f"label_side {'from 1 on' if dense else '0, as tiles are labeled'}", dataset.label_side)
    for key in ("ignore", "background"):
        need(_is_whole(getattr(dataset, key), -1, 255), f"a whole number from -1 to 255 as {key}", getattr(dataset, key))
    for key in ("classes", "unscored", "colours"):
        texts = getattr(dataset, key)
        need(isinstance(texts, tuple | list) and all(isinstance(text, str) for text in texts), f"a tuple of texts as {key}", texts)
    need(isinstance(dataset.parts, Mapping), "{part: tile ids} as parts", dataset.parts)
    for part, tiles in dataset.parts.items():
        need(isinstance(tiles, tuple | list), f"a tuple of tile ids as part {part}", tiles)
        wrong = [tile for tile in tiles if not isinstance(tile, str)]
        need(not wrong, f"texts as tile ids of part {part}", wrong[0] if wrong else None)
    need(isinstance(dataset.unlabelled, Set), "a set of tile ids as RawDataset.unlabelled", dataset.unlabelled)
    need(isinstance(dataset.modalities, Mapping), "{name: RawModality} as modalities", dataset.modalities)
    for name, modality in dataset.modalities.items():
        need(isinstance(modality, RawModality), f"a RawModality as modality {name}", modality)
        _check_modality(name, modality, need)
    need(isinstance(dataset.readers, Mapping) and dataset.readers.keys() == dataset.modalities.keys(), f"readers of {', '.join(map(str, dataset.modalities))}", dataset.readers)
    functions = {f"the reader of {name}": function for name, function in dataset.readers.items()}
    functions |= {key: getattr(dataset, key) for key in ("labels", "path_of", "inspect")}
    for what, function in functions.items():
        need(callable(function), f"a function as {what}", function)
    return dataset


def _check_modality(name: Any, modality: RawModality, need: Callable[[object, str, Any], None]) -> None:
    need(modality.kind in KINDS, f"one of {', '.join(KINDS)} as kind of {name}", modality.kind)
    need(isinstance(modality.dtype, str) and modality.dtype in DTYPES, f"one of {', '.join(DTYPES)} as dtype of {name}", modality.dtype)
    shape, bands = modality.shape, modality.bands
    whole = isinstance(shape, tuple) and all(_is_whole(size, 1, WIDEST) for size in shape)
    if modality.kind == "location":
        need(whole and shape == (2,), f"(2,) as shape of {name}", shape)
    else:
        need(whole and len(shape) == 3 and shape[-1] <= BANDS, f"(H, W, C) as shape of {name}", shape)
    need(isinstance(bands, tuple | list) and all(isinstance(band, str) for band in bands), f"a tuple of texts as bands of {name}", bands)
    need(len(bands) == shape[-1], f"the names of {shape[-1]} bands of {name}, as its shape says", bands)
    for key in ("scale", "offset"):
        numbers = getattr(modality, key)
        fine = isinstance(numbers, tuple | list) and len(numbers) in (0, len(bands)) and all(_is_number(number) for number in numbers)
        need(fine and not (key == "scale" and 0 in numbers), f"one {key} for each of the {len(bands)} bands of {name}, or none", numbers)
    need(_is_number(modality.resolution) and 0 <= modality.resolution <= 1e6, f"meters per pixel, or 0, as resolution of {name}", modality.resolution)


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
