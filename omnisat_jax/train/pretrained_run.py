"""The run whose pre-training another run takes (`pretrain_from`): what it was, and whether it fits.

Parameters are taken over by name and shape. The same shapes can mean other things: tokens of other widths per head, dates from another origin.
"""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

from omnisat_jax.config import versions
from omnisat_jax.config.registry import ENCODERS
from omnisat_jax.errors import UserError, printable
from omnisat_jax.files.json_file import read_json
from omnisat_jax.train import seen_tiles, workdir
from omnisat_jax.train.seen_tiles import TileSet
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

# Keys of model.* that change neither what a taken parameter means nor what it is applied to, or whose parameters are not taken.
FREE = ("model.precision", "model.remat", "model.fusion.attention", "model.head.", "model.projection.", "model.decoder.")
SAMPLING = ("dates_train", "dates_eval")  # keys of a modality
MOST_SHOWN = 8
_ENCODER_GROUPS = frozenset(group.partition(".")[0] for info in ENCODERS.values() for group in info.settings or ()) | {"published", "skysense"}


@dataclasses.dataclass(frozen=True)
class PretrainedRun:
    """A run whose pre-training has finished.

    Attributes:
      folder: of the run.
      steps: of its pre-training.
      dataset: name of the dataset that it was pre-trained on.
      simulated: whether that is simulated.
      fingerprint: of its records.
      parts: of them that it was pre-trained on.
      additional: fingerprints of the further records that it was pre-trained on.
      seen: the tiles that it was pre-trained on; None of a run of an earlier version, which did not keep them.
    """

    folder: pathlib.Path
    steps: int
    dataset: str
    simulated: bool
    fingerprint: str
    parts: tuple[str, ...]
    additional: tuple[str, ...] = ()
    seen: tuple[TileSet, ...] | None = None


def read_pretrained_run(folder: StrPath) -> PretrainedRun:
    """Reads what a run was pre-trained on.

    Args:
      folder: of the run.

    Raises:
      UserError: its pre-training has not finished.
      DataError: a file of the run is missing or damaged.
    """
    folder = pathlib.Path(folder)
    done = workdir.finished(folder, "pretrain")
    if done is None:
        raise UserError(f"{folder}: pretrain has not finished; run --stage=pretrain there first")
    advice = "pretrain_from must name the folder of a run; restore the file there."
    data = read_json(folder / "run.json", what="the record of the run that was pre-trained", advice=advice).get("data")
    additional = data.find("additional", [])
    return PretrainedRun(
        folder=folder,
        steps=done.get("last").integer(0, 2**53),
        dataset=data.get("dataset").text(),
        simulated=data.get("simulated").boolean(),
        fingerprint=data.get("fingerprint").text(),
        parts=tuple(part.text() for part in data.get("train").list()),
        additional=tuple(entry.get("fingerprint").text() for entry in additional.list()),
        seen=seen_tiles.read(folder),
    )


def need_unseen(run: PretrainedRun, scored: TileSet, trained: TileSet) -> None:
    """Refuses a pre-training on tiles on which this run is validated or tested, however the tiles were stored.

    Tiles on which this run trains as well are not looked at: that they lie close to tested ones is a matter of the split.

    Args:
      run: that was pre-trained. Must have kept its tiles; see `need_other_parts` for the others.
      scored: the tiles that validate or test.
      trained: the tiles on which this run trains.

    Raises:
      UserError: names a tile.
    """
    assert run.seen is not None
    pairs = [pair for tiles in run.seen for pair in seen_tiles.shared(scored, seen_tiles.without(tiles, trained))]
    if pairs:
        (tile, other), count = pairs[0], len({tile for tile, _ in pairs})
        there = "" if other == tile else f", which is or overlaps its tile {other}"
        raise _leak(run, f"the {number_of(len(scored.tiles), 'tile')}", f"{count:,} of them, first {tile}{there}")


def need_other_parts(run: PretrainedRun, fingerprint: str, dataset: str, parts: Collection[str]) -> str:
    """Does what `need_unseen` does, for a run of an earlier version, which kept the names of parts and the fingerprint of its records only.

    Args:
      run: that was pre-trained.
      fingerprint: of the records of this run.
      dataset: name of their dataset.
      parts: of them that validate or test.

    Returns:
      What the user must know where this could not be decided, or "".

    Raises:
      UserError: names the parts.
    """
    seen = set(run.parts) & set(parts) if run.fingerprint == fingerprint else set()
    seen |= set(parts) if fingerprint in run.additional else set()
    if seen:
        raise _leak(run, f"the tiles ({', '.join(parts)})", f"{', '.join(sorted(seen))} of the same data")
    if run.fingerprint == fingerprint or not parts or (run.dataset != dataset and not run.additional):
        return ""
    return (
        f"pretrain_from: {run.folder} is of an earlier version, which did not keep its tiles, and its data were stored otherwise than those of this run: "
        f"it is not known whether it has seen tiles on which this run is validated or tested ({', '.join(parts)})"
    )


def _leak(run: PretrainedRun, scored: str, seen: str) -> UserError:
    return UserError(
        f"pretrain_from: expected a pre-training without {scored} on which this run is validated or tested, found one in {run.folder} that has seen "
        f"{seen}. Take that of a run of the same fold."
    )


def need_same_encoders(folder: StrPath, flat: Mapping[str, Any], names: Collection[str]) -> None:
    """Compares the configuration of this run with that of the run whose pre-training it takes.

    The other run may have more modalities, or fewer: those that only this run has start fresh.

    Args:
      folder: of the other run.
      flat: {dotted key: plain value} of the whole configuration of this run.
      names: of its modalities.

    Raises:
      UserError: the runs share no modality, or configure the encoders of a shared one or the fusion differently; shows the keys.
      DataError: config.json of the other run is missing or damaged.
    """
    path = pathlib.Path(folder) / "config.json"
    advice = "pretrain_from must name the folder of a run; restore the file there."
    stored = read_json(path, what="the configuration of the run that was pre-trained", advice=advice)
    there = versions.upgrade({key: value.value for key, value in stored.items().items()})
    shared = [name for name in names if f"modalities.{name}.kind" in there]
    if not shared:
        others = sorted({key.split(".")[1] for key in there if key.startswith("modalities.")})
        raise UserError(
            printable(f"pretrain_from: expected a run with one of the modalities {', '.join(names)}, found {', '.join(others)} in {folder}", None)
        )
    keys = sorted(key for key in {*there, *flat} if isinstance(key, str) and _matters(key, flat, shared))
    wrong = [key for key in keys if _plain(there.get(key, "nothing")) != _plain(flat.get(key, "nothing"))]
    if wrong:
        shown = "".join(f"\n  {key}: {there.get(key, '(absent)')!r} there, {flat.get(key, '(absent)')!r} here" for key in wrong[:MOST_SHOWN])
        more = f"\n  and {len(wrong) - MOST_SHOWN} more keys" if len(wrong) > MOST_SHOWN else ""
        raise UserError(
            printable(f"pretrain_from: expected a run whose encoders and fusion are configured as here, found other values in {folder}:", None)
            + printable(shown, None)
            + more
            + "\nSet the values of that run, or pre-train with these."
        )


def _matters(key: str, flat: Mapping[str, Any], shared: Collection[str]) -> bool:
    """Whether the parameters of the shared modalities and of fusion mean something else with another value of the key."""
    group, _, rest = key.partition(".")
    if group == "modalities":
        name, _, attribute = rest.partition(".")
        return name in shared and attribute not in SAMPLING
    if group != "model":
        return key == "data.origin" and any(flat[f"modalities.{name}.kind"] == "series" for name in shared)
    if key.startswith(FREE) or key.endswith("dropout"):
        return False
    if rest.partition(".")[0] not in _ENCODER_GROUPS or flat["model.architecture"] != "omnisat":
        return True
    for name in shared:
        settings = ENCODERS.find(flat[f"modalities.{name}.encoder"]).settings
        if settings is None or any(f"{rest}.".startswith(f"{used}.") for used in settings):
            return True
    return False


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
