"""Which parts of the data train, validate and test, and whether there is anything in them to learn from and to score."""

import dataclasses
import re

import numpy as np

from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.records.reader import Records


@dataclasses.dataclass(frozen=True)
class Split:
    """Names of the parts to train, validate and test on; validation may be empty."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    protocol: str


OFFICIAL = {1: ((1, 2, 3), 4, 5), 2: ((2, 3, 4), 5, 1), 3: ((3, 4, 5), 1, 2), 4: ((4, 5, 1), 2, 3), 5: ((5, 1, 2), 3, 4)}
FOLDS = tuple(f"fold_{i}" for i in range(1, 6))
VALIDATION = ("validation", "val")
# Names by which people mean a fixed split, so that a misspelt one is not taken for a fold.
FIXED = re.compile(r"(train|val|valid|test|dev)(ing|idation)?", re.IGNORECASE)


def choose_split(protocol: str, parts, fold: int) -> Split:
    """Which parts train, validate and test under a protocol; every part is used.

    "official_5fold": PASTIS' five rotations. "single_split": its first one, 123 / 4 / 5, as "tile_f1", which scores labels of tiles.
    "leave_one_fold_out": fold `fold` tests, all others train, nothing validates (the last checkpoint is scored). "fixed": parts named train,
    validation (or val) and test. "auto": fixed if parts are so named, official_5fold for exactly its five folds, else leave_one_fold_out.

    Raises:
      UserError: the parts do not fit the protocol, some would not be used, or `fold` is out of range.
    """
    parts = tuple(parts)
    if len(set(parts)) < len(parts):
        raise UserError(f"the data have a part twice: {', '.join(parts)}")
    if protocol == "auto":
        fixed = any(FIXED.fullmatch(part) for part in parts)
        protocol = "fixed" if fixed else "official_5fold" if set(parts) == set(FOLDS) else "leave_one_fold_out"
    if protocol == "fixed":
        return _fixed(parts)
    if protocol == "leave_one_fold_out":
        return _leave_one_out(parts, fold)
    _need(protocol, parts, FOLDS, FOLDS)
    number = fold if protocol == "official_5fold" else 1
    if number not in OFFICIAL:
        raise UserError(f"data.fold of {protocol}: expected 1 to 5, found {fold}")
    train, validation, test = OFFICIAL[number]
    return Split(tuple(f"fold_{i}" for i in train), (f"fold_{validation}",), (f"fold_{test}",), protocol)


def _need(protocol, parts, wanted, used):
    missing = [part for part in wanted if part not in parts]
    if missing:
        raise UserError(
            f"data.protocol {protocol!r} needs {', '.join(missing)}, but the data have {', '.join(parts)}; "
            "choose another protocol (auto picks one that fits), or rename the parts"
        )
    unused = [part for part in parts if part not in used]
    if unused:
        raise UserError(
            f"data.protocol {protocol!r} uses {', '.join(used)} and would leave {', '.join(unused)} of the data unused; "
            "choose another protocol (leave_one_fold_out uses every part), or rename or remove the parts"
        )


def _fixed(parts):
    _need("fixed", parts, ("train", "test"), ("train", *VALIDATION, "test"))
    validation = tuple(part for part in parts if part in VALIDATION)
    if len(validation) > 1:
        raise UserError(f"data.protocol 'fixed': expected one part that validates, found {' and '.join(validation)}; rename or join them")
    return Split(("train",), validation, ("test",), "fixed")


def _leave_one_out(parts, fold):
    folds = _numbered(parts)
    if len(parts) < 2 or fold not in folds:
        known = f"1 to {len(folds)}" if set(folds) == set(range(1, len(folds) + 1)) else ", ".join(map(str, folds))
        raise UserError(f"data.fold of leave_one_fold_out: expected {known}, of at least 2 parts ({', '.join(parts)}), found {fold}")
    test = folds[fold]
    return Split(tuple(part for part in parts if part != test), (), (test,), "leave_one_fold_out")


def _numbered(parts):
    """{data.fold: part}: by the number in its name where all have one (fold_2, fold_10), else by its place in natural order."""
    found = [re.fullmatch(r"(\D*)0*(\d+)", part) for part in parts]
    if all(found) and len({match[1] for match in found}) == 1:
        numbers = {int(match[2]): part for match, part in zip(found, parts, strict=True)}
        if len(numbers) < len(parts):
            raise UserError(f"the data have two parts of one number: {', '.join(parts)}; rename one")
        if min(numbers) > 0:
            return dict(sorted(numbers.items()))
    return dict(enumerate(sorted(parts, key=_natural), 1))


def _natural(name):
    return [(0, int(text), "") if text.isdecimal() else (1, 0, text) for text in re.split(r"(\d+)", name) if text]


def check_labels(records: Records, split: Split, settings: schema.ExperimentConfig) -> None:
    """Refuses to train on nothing, or to score nothing.

    Raises:
      UserError: a part without tiles; or, where labels are used, training, validation or test parts without a single label.
    """
    for part in (*split.train, *split.validation, *split.test):
        if not records.tiles([part]):
            raise UserError(f"{records.root}: expected tiles in every part, found none in {part}")
    if not settings.finetune.steps and settings.eval.probe == "none":
        return  # pre-training alone sees no label
    what = "a labelled pixel" if records.task == "segment" else "a tile with a label"
    # Probes are fitted to every training tile.
    share, seed = settings.data.label_share if settings.eval.probe == "none" else 1.0, settings.seed
    predicted = np.ones(len(records.classes), bool)
    if settings.task != records.task and records.background >= 0:
        predicted[records.background] = False  # which is no label of a tile
    uses = (("training", split.train, share), ("validation", split.validation, 1.0), ("test", split.test, 1.0))
    for use, parts, part_of in uses:
        if parts and not records.label_counts(parts, part_of, seed)[predicted].any():
            some = f" ({100 * share:g} % of the tiles, data.label_share)" if part_of < 1 else ""
            raise UserError(
                f"{records.about['source']}: expected {what} in the {use} parts {', '.join(parts)}{some}, found none; choose other folds "
                "(data.fold, data.protocol), or label some of their tiles"
            )
    if settings.data.void_test_parcels and not _keeps_labels(records, split, share, seed):
        raise UserError(
            f"{records.about['source']}: expected {what} in the training parts {', '.join(split.train)} outside the parcels of the test parts, "
            "found none; set --config.data.void_test_parcels=False or choose other folds"
        )


def _keeps_labels(records, split, share, seed):
    """Whether a training pixel is labelled that lies in no parcel of the test parts; tiles are read until one is found."""
    void = records.parcels(split.test)
    source = records.source(split.train, share, seed)
    for position in range(len(source)):
        example = source[position]
        if "parcels" not in example:
            return True
        labels = example["labels"][~np.isin(example["parcels"], void)]
        if ((labels < len(records.classes)) & (labels != records.ignore)).any():
            return True
    return False
