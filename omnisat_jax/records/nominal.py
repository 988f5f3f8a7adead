"""Descriptions of the complete datasets, for work without data: ahead-of-time compilation, and tests of recipes."""

from collections.abc import Mapping

from omnisat_jax.errors import UserError
from omnisat_jax.records.info import DatasetInfo, ModalityInfo, PreparationInfo


def _series(side: int, bands: int, dtype: str, longest: int) -> ModalityInfo:
    return ModalityInfo("series", (side, side, bands), dtype, longest)


def _image(side: int, bands: int) -> ModalityInfo:
    return ModalityInfo("image", (side, side, bands), "uint8", 1)


_LOCATION = ModalityInfo("location", (2,), "float32", 1)


def nominal(dataset: str) -> DatasetInfo:
    """Describes the complete PASTIS-HD, TreeSatAI-TS or FLAIR #2 as far as it determines the shapes of a batch.

    Args:
      dataset: "pastis", "treesat" or "flair".

    Returns:
      The description, with the longest series as the configurations limit them, and without parts and files.

    Raises:
      UserError: another dataset.
    """
    if dataset == "pastis":
        modalities = {
            "s2": _series(128, 10, "int16", 61),
            "s1a": _series(128, 3, "float32", 71),
            "s1d": _series(128, 3, "float32", 71),
            "spot": _image(1280, 3),
            "location": _LOCATION,
        }
        return _info("PASTIS-HD", modalities, _names("class", 19), ignore=19, background=0, label_side=128)
    if dataset == "treesat":
        modalities = {
            "s2": _series(6, 10, "int16", 140),
            "s1a": _series(6, 2, "float32", 140),
            "s1d": _series(6, 2, "float32", 140),
            "aerial": _image(300, 4),
        }
        return _info("TreeSatAI-TS", modalities, _names("genus", 15))
    if dataset == "flair":
        modalities = {"aerial": _image(512, 5), "s2": _series(16, 10, "int16", 110), "location": _LOCATION}
        return _info("FLAIR #2", modalities, _names("class", 12), ignore=255, label_side=512)
    raise UserError(f"dataset: expected pastis, treesat or flair, found {dataset!r}, whose shapes are not known without its records")


def _names(what: str, count: int) -> tuple[str, ...]:
    return tuple(f"{what} {i}" for i in range(count))


def _info(
    source: str, modalities: Mapping[str, ModalityInfo], classes: tuple[str, ...], *, ignore: int = -1, background: int = -1, label_side: int = 0
) -> DatasetInfo:
    """The description of a dataset; with `label_side` its labels are dense."""
    return DatasetInfo(
        dataset=source,
        fingerprint="",
        simulated=False,
        source=source,
        citation="",
        made_with=PreparationInfo(reader="", nomenclature="", simulated=None, on_bad="raise", float16=False, max_bad=0.0),
        table_split="",
        task="segment" if label_side else "classify",
        classes=classes,
        unscored=(),
        colours=(),
        ignore=ignore,
        background=background,
        label_side=label_side,
        modalities=modalities,
        parts=(),
        files={},
    )
