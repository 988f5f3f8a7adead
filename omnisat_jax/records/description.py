"""The signed description of a folder of records: dataset.json holds the hash of every other file, and a hash of itself.

Small files and tables are hashed completely when the folder is opened. Files of frames may have many gigabytes, so only their size and header are
compared, and the file of their checksums is hashed: exchanged frames are found without reading any. Nothing depends on where the folder is.
"""

import datetime
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import xxhash

from omnisat_jax.dates import EPOCH
from omnisat_jax.errors import DataError, UserError, printable
from omnisat_jax.files import atomic, hashing
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.files.paths import below, check_name, need_file
from omnisat_jax.records.frames import AGAIN, checksums_path, count_frames, frames_path
from omnisat_jax.records.info import DatasetInfo
from omnisat_jax.types import StrPath
from omnisat_jax.words import number_of

VERSION = "3.0.0"  # of the layout of records
DESCRIPTION = "dataset.json"
CLAIM = "preparing.json"  # exists from the start of the preparation
KINDS = ("series", "image", "location")
DTYPES = ("int16", "uint8", "uint16", "int8", "int32", "float16", "float32")
LONGEST = 100_000  # dates of a series
WIDEST = 100_000  # side in pixels of a frame, or of dense labels
BANDS = 10_000
DAYS = ((datetime.date.min - EPOCH).days, (datetime.date.max - EPOCH).days)
COUNT = 2**48  # tiles, dates, pixels, bytes
# Columns of the table, and further names that its readers use.
COLUMNS = frozenset({"tile_id", "tile_index", "labels", "parcels", "weight", "remarks"})
FILES = frozenset({pathlib.Path(name).stem for name in (DESCRIPTION, CLAIM)})


def check_part(name: Any, path: StrPath) -> str:
    """Returns the name of a part after checking that it can be used in file names of the records.

    Args:
      name: the name.
      path: where it was found, for messages.

    Raises:
      DataError: not a valid file name, or reserved.
    """
    name = check_name(name, what="the name of a part", path=path)
    if name.lower() in FILES:
        raise DataError(
            tile="-", path=path, expected=f"a part not named {' or '.join(sorted(FILES))}", found=repr(name), advice="Rename it."
        )
    return name


def check_modality(name: Any, kind: str, path: StrPath) -> str:
    """Returns the name of a modality after checking that it can be used for files and a column of the table.

    Args:
      name: the name.
      kind: kind of the modality.
      path: where the name was found, for messages.

    Raises:
      DataError: not a valid file name, or reserved.
    """
    name = check_name(name, what="the name of a modality", path=path)
    if name in COLUMNS or name.lower().endswith(".xxh3") or (name == "location") != (kind == "location"):
        raise DataError(
            tile="-", path=path, expected="a modality with another name", found=f"{name!r}, which is reserved",
            advice="Rename it.",
        )  # fmt: skip
    return name


def summary_path(root: StrPath, part: str) -> pathlib.Path:
    """Returns the path of the summary of a part."""
    return below(root, f"{part}.json")


def table_path(root: StrPath, part: str) -> pathlib.Path:
    """Returns the folder with the table of the tiles of a part."""
    return below(root, "tiles", part, VERSION)


def write_signed(path: StrPath, values: dict[str, Any]) -> None:
    """Writes plain values as JSON together with their hash."""
    atomic.write_text(path, json.dumps(values | {"checksum": _checksum(values)}))


def read_signed(path: StrPath, *, what: str, advice: str = AGAIN) -> Value:
    """Reads what `write_signed` wrote.

    Args:
      path: the file.
      what: what the file is, for messages.
      advice: what to do if it cannot be used, for messages.

    Raises:
      DataError: the file is missing, damaged, or was changed.
    """
    values = read_json(path, what=what, advice=advice)
    if values.get("checksum").value != _checksum(values.value):
        raise DataError(
            tile="-", path=path, expected=f"{what} as written", found="changed content (its checksum differs)", advice=advice, kind="changed"
        )
    return values


def _checksum(values: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in values.items() if key != "checksum"}
    return xxhash.xxh3_128_hexdigest(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode())


def file_entries(root: StrPath, part: str, sensors: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Describes the files of a part for dataset.json.

    Args:
      root: folder of the records.
      part: a part whose files were written.
      sensors: names of the modalities with frames.

    Returns:
      {path below root: {"bytes", "xxh3"}}; {"bytes", "frames"} for files of frames.
    """
    root, entries = pathlib.Path(root), {}
    hashed = sorted(path for path in table_path(root, part).iterdir() if path.is_file())
    for name in sensors:
        path = frames_path(root, part, name)
        entries[path.relative_to(root).as_posix()] = {"bytes": path.stat().st_size, "frames": count_frames(path)}
        hashed.append(checksums_path(path))
    for path in hashed:
        entries[path.relative_to(root).as_posix()] = hashed_entry(path)
    return entries


def hashed_entry(path: pathlib.Path) -> dict[str, Any]:
    """Describes a file other than frames for dataset.json: {"bytes", "xxh3"}."""
    return {"bytes": path.stat().st_size, "xxh3": hashing.file_hash(path)}


def read_description(root: StrPath) -> DatasetInfo:
    """Reads dataset.json of a folder of records and checks every value.

    Raises:
      UserError: the folder holds no finished records, or records of another version.
      DataError: the description is damaged or was changed.
    """
    root = pathlib.Path(root)
    path = root / DESCRIPTION
    if not path.exists():
        if (root / CLAIM).is_file():
            raise UserError(f"{path}: expected prepared records, found an interrupted preparation; run the same preparation again")
        raise UserError(f"{path}: expected prepared records, found none; run --stage=prepare or `python -m data.prepare` first")
    description = read_json(path, what="the description of prepared records", advice=AGAIN)
    version = description.find("version").value
    if version is None:
        raise UserError(
            f"{path}: expected prepared records, found the description of something else, such as a raw dataset: give that as data.raw_dir, "
            "or prepare it with `python -m data.prepare`"
        )
    if version != VERSION:
        raise UserError(f"{root}: expected records of version {VERSION}, found {printable(str(version), 40)}; prepare them again")
    read_signed(path, what="the description of prepared records")
    check_description(description)
    return DatasetInfo.from_json(description.value)


def check_description(values: Value) -> None:
    """Checks every value of a description except for version and checksum.

    Raises:
      DataError: a value is missing or wrong.
    """
    for key in ("dataset", "source", "citation", "split"):
        values.get(key).text()
    values.get("fingerprint").name()
    values.get("simulated").boolean()
    dense = values.get("task").choice(("segment", "classify")) == "segment"
    classes = [name.text() for name in values.get("classes").list()]
    values.get("classes").unique(classes)  # none if no tile has labels
    if len(classes) > 255:
        raise values.get("classes").error("up to 255 classes")
    for name in values.get("unscored").list():
        name.choice(classes)
    colours = [colour.text() for colour in values.get("colours").list()]
    if colours and len(colours) != len(classes):
        raise values.get("colours").error(f"one color for each of the {number_of(len(classes), 'class')}, or none")
    values.get("ignore").integer(-1, 255)
    values.get("background").integer(-1, len(classes) - 1)
    values.get("label_side").integer(1 if dense else 0, WIDEST)
    if not values.get("modalities").items():
        raise values.get("modalities").error("at least one modality")
    for name, modality in values.get("modalities").items().items():
        kind = modality.get("kind").choice(KINDS)
        check_modality(name, kind, values.path)
        bands = [band.text() for band in modality.get("bands").list()]
        shape = modality.get("shape").list(1 if kind == "location" else 3)
        for size in shape[:-1]:
            size.integer(1, WIDEST)
        if shape[-1].integer(1, BANDS) != len(bands):
            raise modality.get("bands").error(f"names of {number_of(shape[-1].value, 'band')}")
        for key in ("scale", "offset"):
            numbers = [number.number() for number in modality.find(key, []).list()]
            if len(numbers) not in (0, len(bands)) or (key == "scale" and 0 in numbers):
                raise modality.get(key).error(f"{'numbers other than 0' if key == 'scale' else 'numbers'} of {number_of(len(bands), 'band')}, or none")
        modality.find("resolution", 0.0).number(0, 1e6)
        modality.get("dtype").choice(DTYPES)
        modality.get("longest").integer(0, LONGEST)
    parts = [check_part(part.name("the name of a part"), values.path) for part in values.get("parts").list()]
    if not values.get("parts").unique([part.lower() for part in parts]):
        raise values.get("parts").error("at least one part")
    made = values.get("made_with")
    for key in ("reader", "on_bad"):
        made.get(key).name()
    if made.get("nomenclature").value != "":
        made.get("nomenclature").name()
    made.get("float16").boolean()
    made.find("unlabelled", "refuse").choice(("refuse", "pretrain"))
    made.get("max_bad").number(0, 1)
    for entry in made.find("simulated", {}).items().values():
        entry.integer(0, 2**64)
    for name, entry in values.get("files").items().items():
        below(values.path.parent, *name.split("/"))
        entry.get("bytes").integer(0, COUNT)
        if entry.find("frames").value is None:
            entry.get("xxh3").text()
        else:
            entry.get("frames").integer(0, COUNT)


def read_summary(root: StrPath, part: str, info: DatasetInfo) -> dict[str, Any]:
    """Reads the summary of a part and checks every value.

    Args:
      root: folder of the records.
      part: name of the part.
      info: the description of the records.

    Returns:
      What `data.preparation.summary.Summary` wrote.

    Raises:
      DataError: the summary is missing, damaged or was changed.
    """
    summary = read_signed(summary_path(root, part), what=f"the summary of part {part}")
    modalities, series = info.modalities, {name for name, m in info.modalities.items() if m.kind == "series"}
    tiles = _texts(summary.get("tiles"))
    known = set(tiles)
    if not tiles or len(known) < len(tiles):
        raise summary.get("tiles").error("at least one tile, each of them once")
    for key, names in (("present", modalities), ("wholly_unknown", modalities), ("longest", series), ("dates", series), ("invalid_dates", series)):
        for name in names:
            summary.get(key).get(name).integer(0, COUNT)
    for name, days in summary.find("days", {}).items().items():
        first, last = (day.integer(*DAYS) for day in days.list(2))
        if name not in series or first > last:
            raise days.error("the first and the last day of a series")
    for tile, place in summary.find("places", {}).items().items():
        _, latitude = (degrees.number(-180, 180) for degrees in place.list(2))
        if tile not in known or abs(latitude) > 90:
            raise place.error("longitude and latitude of a tile of this part")
    for key, names in (("moments", modalities), ("clear_moments", summary.get("clear_moments").items())):
        for name in names:
            found = summary.get(key).get(name)
            bands = modalities[name].shape[-1] if name in modalities else 0
            moments = _array(found, np.float64)
            if moments.shape != (3, bands) or not np.isfinite(moments).all() or (moments[::2] < 0).any():
                raise found.error(f"counts, means and squared deviations of {number_of(bands, 'band')}")
    unlabelled = set(_texts(summary.find("unlabelled", [])))  # of records of earlier versions, every tile has labels
    if not unlabelled <= known:
        raise summary.get("unlabelled").error("tiles of this part")
    if not info.classes and len(unlabelled) < len(tiles):
        raise summary.get("unlabelled").error("every tile, as there are no classes")
    labels = _array(summary.get("labels"), np.int64)
    if labels.shape != (len(tiles), len(info.classes)) or (labels < 0).any():
        raise summary.get("labels").error(f"counts of {number_of(len(info.classes), 'class')} in {number_of(len(tiles), 'tile')}")
    for numbers in (summary.find("parcels", {}).items()).values():
        if _array(numbers, np.int64).ndim != 1:
            raise numbers.error("a list of parcel numbers")
    for entry in summary.get("bad").list():
        for key in ("tile", "part", "action", "message"):
            if not isinstance(entry.get(key).value, str):
                raise entry.get(key).error("a string")
    for key in ("bytes", "seconds"):
        summary.get(key).number(0)
    return summary.value


def _texts(value: Value) -> list[str]:
    """A long list of strings, checked without creating an object for each."""
    if not isinstance(value.value, list) or not all(isinstance(text, str) and text and text.isprintable() for text in value.value):
        raise value.error("a list of printable strings")
    return value.value


def _array(value: Value, dtype: type) -> np.ndarray:
    """Nested lists of numbers as an array."""
    try:
        found = np.asarray(value.value)
        if found.size and found.dtype.kind not in "iuf":
            raise ValueError
        return found.astype(dtype)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise value.error("numbers, equally many in every row") from None


def wrong_files(root: StrPath, info: DatasetInfo, *, whole: bool) -> Iterator[DataError]:
    """Compares the files of records with their description.

    Args:
      root: folder of the records.
      info: the description of the records.
      whole: hash every file again instead of using cached hashes of unchanged files.

    Yields:
      An error for every missing, changed or undescribed file.
    """
    root = pathlib.Path(root)
    expected = {below(root, *name.split("/")): entry for name, entry in info.files.items()}
    needed = [summary_path(root, part) for part in info.parts]
    for part in info.parts:
        paths = [frames_path(root, part, name) for name, m in info.modalities.items() if m.kind != "location"]
        needed += [*paths, *map(checksums_path, paths), table_path(root, part) / "dataset_info.json"]
    for path in needed:
        if path not in expected:
            yield DataError(tile="-", path=root / DESCRIPTION, expected=f"an entry for {path.relative_to(root)}", found="none", advice=AGAIN)
    known = {} if whole else _hashes(path for path, entry in expected.items() if entry.frames is None)
    for path, entry in expected.items():
        try:
            need_file(path, what="a file of records", advice=AGAIN)
        except DataError as error:
            yield DataError(tile="-", path=path, expected=error.expected, found=error.found, advice=AGAIN, kind="gone")
            continue
        size = path.stat().st_size
        if size != entry.bytes:
            yield _changed(path, f"{entry.bytes:,} bytes", f"{size:,} bytes")
        elif entry.frames is not None:
            frames = count_frames(path)
            if frames != entry.frames:
                yield _changed(path, number_of(entry.frames, 'frame'), number_of(frames, 'frame') if frames is not None else "no .npy header")
        else:
            found = known.get(path) or hashing.file_hash(path)
            if found != entry.xxh3:
                yield _changed(path, f"content with XXH3 {entry.xxh3[:12]}...", f"{found[:12]}...")


def _hashes(paths: Iterable[pathlib.Path]) -> dict[pathlib.Path, str]:
    return hashing.file_hashes(path for path in paths if path.is_file())


def _changed(path: pathlib.Path, expected: str, found: str) -> DataError:
    return DataError(tile="-", path=path, expected=expected, found=found, advice=AGAIN, kind="changed")
