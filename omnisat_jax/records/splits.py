"""Splits of a dataset: which parts train, validate and test, and whether they have labels."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.records.reader import Records
from omnisat_jax.words import number_of

UNLABELLED = "unlabelled"  # protocol of data without a label, all parts of which train: nothing could be scored


@dataclasses.dataclass(frozen=True)
class Split:
    """Parts to train, validate and test on.

    Attributes:
      train: names of the training parts.
      validation: names of the validation parts; may be empty.
      test: names of the test parts.
      protocol: name of the protocol that defines the split, or Unlabeled.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    protocol: str


OFFICIAL = {1: ((1, 2, 3), 4, 5), 2: ((2, 3, 4), 5, 1), 3: ((3, 4, 5), 1, 2), 4: ((4, 5, 1), 2, 3), 5: ((5, 1, 2), 3, 4)}
FOLDS = tuple(f"fold_{i}" for i in range(1, 6))
VALIDATION = ("validation", "val")
# Names that suggest a fixed split, so that a misspelled one is not mistaken for a fold.
FIXED = re.compile(r"(train|val|valid|test|dev)(ing|idation)?", re.IGNORECASE)


def choose_split(protocol: str, parts: Sequence[str], fold: int) -> Split:
    """Assigns all parts of a dataset to training, validation and test.

    Args:
      protocol: one of
        "official_5fold": the five rotations of PASTIS;
        "single_split": the first of them, folds 1, 2 and 3 / 4 / 5;
        "tile_f1": the same, for scores of tile labels;
        "leave_one_fold_out": part `fold` tests and all others train; without validation, the last checkpoint is scored;
        "fixed": parts named train, validation (or val) and test;
        "auto": "fixed" if a part has such a name, "official_5fold" for exactly these five folds, else "leave_one_fold_out".
      parts: names of all parts.
      fold: number of the fold, from 1.

    Raises:
      UserError: there is no such protocol, the parts do not fit it, a part would not be used, or `fold` is out of range.
    """
    parts = tuple(parts)
    if len(set(parts)) < len(parts):
        raise UserError(f"the dataset has a part twice: {', '.join(parts)}")
    if protocol == "auto":
        fixed = any(FIXED.fullmatch(part) for part in parts)
        protocol = "fixed" if fixed else "official_5fold" if set(parts) == set(FOLDS) else "leave_one_fold_out"
    if protocol == "fixed":
        return _fixed(parts)
    if protocol == "leave_one_fold_out":
        return _leave_one_out(parts, fold)
    if protocol not in schema.PROTOCOLS:
        raise UserError(f"data.protocol: expected one of {', '.join(schema.PROTOCOLS)}, found {protocol!r}")
    _need(protocol, parts, FOLDS, FOLDS)
    number = fold if protocol == "official_5fold" else 1
    if number not in OFFICIAL:
        raise UserError(f"data.fold of {protocol}: expected 1 to 5, found {fold}")
    train, validation, test = OFFICIAL[number]
    return Split(tuple(f"fold_{i}" for i in train), (f"fold_{validation}",), (f"fold_{test}",), protocol)


def split_of(records: Records, protocol: str, fold: int) -> Split:
    """Assigns all parts of records as `choose_split` does. If no tile has labels, "auto" lets all parts train.

    Raises:
      UserError: see `choose_split`.
    """
    if protocol == "auto" and not records.labelled_tiles(records.parts):
        return Split(records.parts, (), (), UNLABELLED)
    return choose_split(protocol, records.parts, fold)


def _need(protocol: str, parts: Sequence[str], wanted: Sequence[str], used: Sequence[str]) -> None:
    """Checks that all wanted parts exist, and that all parts are used."""
    missing = [part for part in wanted if part not in parts]
    if missing:
        raise UserError(
            f"data.protocol {protocol!r} needs {', '.join(missing)}, but the dataset has {', '.join(parts)}; "
            "choose another protocol (auto picks one that fits), or rename the parts"
        )
    unused = [part for part in parts if part not in used]
    if unused:
        raise UserError(
            f"data.protocol {protocol!r} uses {', '.join(used)} and would leave {', '.join(unused)} unused; "
            "choose another protocol (leave_one_fold_out uses every part), or rename or remove the parts"
        )


def _fixed(parts: Sequence[str]) -> Split:
    _need("fixed", parts, ("train", "test"), ("train", *VALIDATION, "test"))
    validation = tuple(part for part in parts if part in VALIDATION)
    if len(validation) > 1:
        raise UserError(f"data.protocol 'fixed': expected one validation part, found {' and '.join(validation)}; rename or merge them")
    return Split(("train",), validation, ("test",), "fixed")


def _leave_one_out(parts: Sequence[str], fold: int) -> Split:
    folds = _numbered(parts)
    if len(parts) < 2 or fold not in folds:
        known = f"1 to {len(folds)}" if set(folds) == set(range(1, len(folds) + 1)) else ", ".join(map(str, folds))
        raise UserError(f"data.fold of leave_one_fold_out: expected {known}, of at least 2 parts ({', '.join(parts)}), found {fold}")
    test = folds[fold]
    return Split(tuple(part for part in parts if part != test), (), (test,), "leave_one_fold_out")


def _numbered(parts: Sequence[str]) -> dict[int, str]:
    """{data.fold: part}: by the numbers in the names if all have one, such as fold_2 and fold_10, else by position in natural order."""
    matches = [match for part in parts if (match := re.fullmatch(r"(\D*)0*(\d+)", part))]
    if len(matches) == len(parts) and len({match[1] for match in matches}) == 1:
        numbers = {int(match[2]): part for match, part in zip(matches, parts, strict=True)}
        if len(numbers) < len(parts):
            raise UserError(f"the dataset has two parts with the same number: {', '.join(parts)}; rename one")
        if min(numbers) > 0:
            return dict(sorted(numbers.items()))
    return dict(enumerate(sorted(parts, key=_natural), 1))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that compares numbers in names by value."""
    return [(0, int(text), "") if text.isdecimal() else (1, 0, text) for text in re.split(r"(\d+)", name) if text]


def check_labels(records: Records, split: Split, config: schema.ExperimentConfig) -> None:
    """Checks that there are tiles to train on, and labels where fine-tuning, a probe or their evaluation uses them.

    Args:
      records: the data.
      split: the parts to train, validate and test on.
      config: the experiment.

    Raises:
      UserError: a part has no tiles; or labels are used, and the training, validation or test parts have none.
    """
    for part in (*split.train, *split.validation, *split.test):
        if not records.tiles([part]):
            raise UserError(f"{records.root}: expected tiles in every part, found none in {part}")
    if not config.finetune.steps and config.eval.probe == "none":
        return  # pre-training alone uses no labels
    what = "a labeled pixel" if records.task == "segment" else "a tile with a label"
    share, seed = config.label_share, config.seed
    predicted = np.ones(len(records.classes), bool)
    if config.task != records.task and records.background >= 0:
        predicted[records.background] = False  # not a label of a tile
    for use, parts in (("training", split.train), ("validation", split.validation), ("test", split.test)):
        if parts and not records.labelled_tiles(parts):
            raise UserError(
                f"{records.info.source}: expected tiles with labels in the {use} parts {', '.join(parts)}, found none among "
                f"{number_of(len(records.tiles(parts)), 'tile')}; choose other folds (data.fold, data.protocol), label some of their tiles, or "
                "only pre-train (finetune.steps=0)"
            )
    uses = (("training", split.train, share), ("validation", split.validation, 1.0), ("test", split.test, 1.0))
    for use, parts, part_of in uses:
        if parts and not records.label_counts(parts, part_of, seed)[predicted].any():
            some = f" ({100 * share:g} % of the tiles, data.label_share)" if part_of < 1 else ""
            raise UserError(
                f"{records.info.source}: expected {what} in the {use} parts {', '.join(parts)}{some}, found none; choose other folds "
                "(data.fold, data.protocol), or label some of their tiles"
            )
    if config.data.void_test_parcels and not _keeps_labels(records, split, share, seed):
        raise UserError(
            f"{records.info.source}: expected {what} in the training parts {', '.join(split.train)} outside the parcels of the test parts, "
            "found none; set --config.data.void_test_parcels=False or choose other folds"
        )


def _keeps_labels(records: Records, split: Split, share: float, seed: int) -> bool:
    """Whether a labeled training pixel lies outside the parcels of the test parts. Reads tiles until it finds one."""
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
