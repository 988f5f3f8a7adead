"""What a folder of records says of itself, signed: one description that holds the hash of every other file, and a hash of its own.

Small files and tables are hashed whole when the folder is opened; of frames, which may be many gigabytes, size and header are looked at and the file
of their checksums is hashed, so that exchanged or foreign frames are found without reading one. Nothing here depends on where the folder lies.
"""

import json
import pathlib
from collections.abc import Iterator

import numpy as np
import xxhash

from omnisat_jax.errors import DataError, UserError, printable
from omnisat_jax.files import atomic, hashing
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.files.paths import below, check_name, need_file
from omnisat_jax.records.frames import checksums_path, count_frames, frames_path

VERSION = "3.0.0"  # of the record layout
DESCRIPTION = "dataset.json"
CLAIM = "preparing.json"
AGAIN = "Delete the folder of records and prepare them again: the run then goes on."
KINDS = ("series", "image", "location")
DTYPES = ("int16", "uint8", "uint16", "int8", "int32", "float16", "float32")
LONGEST = 100_000  # dates of a series
WIDEST = 100_000  # px of a frame, or of dense labels
BANDS = 10_000
COUNT = 2**48  # tiles, dates, pixels, bytes
# What the table calls its own columns, and the programs that read it.
COLUMNS = frozenset({"tile_id", "tile_index", "labels", "parcels", "weight", "remarks"})
FILES = frozenset({pathlib.Path(name).stem for name in (DESCRIPTION, CLAIM)})


def check_part(name, path) -> str:
    """A part's name, which becomes that of files of the records.

    Raises:
      DataError: no name of a file, or one that records use themselves.
    """
    name = check_name(name, what="the name of a part", path=path)
    if name.lower() in FILES:
        raise DataError(
            tile="-", path=path, expected=f"a part not named {' or '.join(sorted(FILES))}", found=repr(name), advice="Rename it."
        )  # fmt: skip
    return name


def check_modality(name, kind: str, path) -> str:
    """A modality's name, which becomes that of files and of a column of the table.

    Raises:
      DataError: no name of a file, or one that records use themselves.
    """
    name = check_name(name, what="the name of a modality", path=path)
    if name in COLUMNS or name.lower().endswith(".xxh3") or (name == "location") != (kind == "location"):
        raise DataError(
            tile="-", path=path, expected="a sensor with a name of its own", found=f"{name!r}, which records use themselves",
            advice="Rename it.",
        )  # fmt: skip
    return name


def summary_path(root, part: str) -> pathlib.Path:
    """Where the summary of a part is."""
    return below(root, f"{part}.json")


def table_path(root, part: str) -> pathlib.Path:
    """Where the table of the tiles of a part is."""
    return below(root, "tiles", part, VERSION)


def write_signed(path, about: dict) -> None:
    """Writes plain values as JSON with a hash of themselves."""
    atomic.write_text(path, json.dumps(about | {"checksum": _checksum(about)}))


def read_signed(path, *, what: str, advice: str = AGAIN) -> Value:
    """What `write_signed` wrote.

    Raises:
      DataError: missing, damaged, or changed since.
    """
    about = read_json(path, what=what, advice=advice)
    if about.get("checksum").value != _checksum(about.value):
        raise DataError(
            tile="-", path=path, expected=f"{what} as it was written", found="another content (its checksum differs)",
            advice=advice, kind="changed",
        )  # fmt: skip
    return about


def _checksum(about):
    plain = {key: value for key, value in about.items() if key != "checksum"}
    return xxhash.xxh3_128_hexdigest(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode())


def file_entries(root, part: str, sensors) -> dict[str, dict]:
    """{path below root: what is kept of it} of the files of a part that was written: {"bytes", "xxh3"}, of frames {"bytes", "frames"}.

    Args:
      sensors: names of the modalities with frames.
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


def hashed_entry(path) -> dict:
    """{"bytes", "xxh3"} of a file."""
    return {"bytes": path.stat().st_size, "xxh3": hashing.file_hash(path)}


def read_description(root) -> dict:
    """What dataset.json of a folder of records says, every value checked.

    Raises:
      UserError: the folder is not a finished preparation, or of another version.
      DataError: the description is damaged or changed.
    """
    root = pathlib.Path(root)
    path = root / DESCRIPTION
    if not path.exists():
        if (root / CLAIM).is_file():
            raise UserError(f"{path}: expected prepared records, found an interrupted preparation; start the same preparation again")
        raise UserError(f"{path}: expected prepared records, found none; run --stage=prepare or `python -m data.prepare` first")
    about = read_json(path, what="the description of prepared records", advice=AGAIN)
    version = about.find("version").value
    if version is None:
        raise UserError(
            f"{path}: expected prepared records, found the description of something else, such as a raw dataset: give that as data.raw_dir, "
            "or prepare it with `python -m data.prepare`"
        )
    if version != VERSION:
        raise UserError(f"{root}: expected records of version {VERSION}, found {printable(str(version), 40)}; prepare them anew")
    read_signed(path, what="the description of prepared records")
    check_description(about)
    return about.value


def check_description(about: Value) -> None:
    """Raises DataError where a description does not hold what it must.

    Args:
      about: as `read_description` returns it, apart from version and checksum.
    """
    for key in ("dataset", "source", "citation", "split"):
        about.get(key).text()
    about.get("fingerprint").name()
    about.get("simulated").boolean()
    dense = about.get("task").choice(("segment", "classify")) == "segment"
    classes = [name.text() for name in about.get("classes").list()]
    if not about.get("classes").unique(classes) or len(classes) > 255:
        raise about.get("classes").error("1 to 255 classes")
    for name in about.get("unscored").list():
        name.choice(classes)
    colours = [colour.text() for colour in about.get("colours").list()]
    if colours and len(colours) != len(classes):
        raise about.get("colours").error(f"a colour for each of {len(classes)} classes, or none")
    about.get("ignore").integer(-1, 255)
    about.get("background").integer(-1, len(classes) - 1)
    about.get("label_side").integer(1 if dense else 0, WIDEST)
    if not about.get("modalities").items():
        raise about.get("modalities").error("at least one modality")
    for name, modality in about.get("modalities").items().items():
        kind = modality.get("kind").choice(KINDS)
        check_modality(name, kind, about.path)
        bands = [band.text() for band in modality.get("bands").list()]
        shape = modality.get("shape").list(1 if kind == "location" else 3)
        for size in shape[:-1]:
            size.integer(1, WIDEST)
        if shape[-1].integer(1, BANDS) != len(bands):
            raise modality.get("bands").error(f"names of {shape[-1].value} bands")
        modality.get("dtype").choice(DTYPES)
        modality.get("longest").integer(0, LONGEST)
    parts = [check_part(part.value, about.path) for part in about.get("parts").list()]
    if not about.get("parts").unique([part.lower() for part in parts]):
        raise about.get("parts").error("at least one part")
    made = about.get("made_with")
    for key in ("reader", "on_bad"):
        made.get(key).name()
    if made.get("nomenclature").value != "":
        made.get("nomenclature").name()
    made.get("float16").boolean()
    made.get("max_bad").number(0, 1)
    for entry in made.find("simulated", {}).items().values():
        entry.integer(0, 2**64)
    for name, entry in about.get("files").items().items():
        below(about.path.parent, *name.split("/"))
        entry.get("bytes").integer(0, COUNT)
        if entry.find("frames").value is None:
            entry.get("xxh3").text()
        else:
            entry.get("frames").integer(0, COUNT)


def read_summary(root, part: str, about: dict) -> dict:
    """The summary of a part, every value checked.

    Args:
      about: of `read_description`.

    Raises:
      DataError: damaged or changed.
    """
    summary = read_signed(summary_path(root, part), what=f"the summary of part {part}")
    modalities, series = about["modalities"], {name for name, m in about["modalities"].items() if m["kind"] == "series"}
    tiles = _texts(summary.get("tiles"))
    if not tiles or len(set(tiles)) < len(tiles):
        raise summary.get("tiles").error("at least one tile, and each of them once")
    for key, names in (("present", modalities), ("wholly_unknown", modalities), ("longest", series), ("dates", series), ("invalid_dates", series)):
        for name in names:
            summary.get(key).get(name).integer(0, COUNT)
    for key, names in (("moments", modalities), ("clear_moments", summary.get("clear_moments").items())):
        for name in names:
            found = summary.get(key).get(name)
            bands = modalities[name]["shape"][-1] if name in modalities else 0
            moments = _array(found, np.float64)
            if moments.shape != (3, bands) or not np.isfinite(moments).all() or (moments[::2] < 0).any():
                raise found.error(f"counts, means and squared deviations of {bands} bands")
    labels = _array(summary.get("labels"), np.int64)
    if labels.shape != (len(tiles), len(about["classes"])) or (labels < 0).any():
        raise summary.get("labels").error(f"counts of {len(about['classes'])} classes of {len(tiles)} tiles")
    for numbers in (summary.find("parcels", {}).items()).values():
        if _array(numbers, np.int64).ndim != 1:
            raise numbers.error("a list of numbers of parcels")
    for entry in summary.get("bad").list():
        for key in ("tile", "part", "action", "message"):
            if not isinstance(entry.get(key).value, str):
                raise entry.get(key).error("a text")
    for key in ("bytes", "seconds"):
        summary.get(key).number(0)
    return summary.value


def _texts(value):
    """A list of many texts, without an object for each."""
    if not isinstance(value.value, list) or not all(isinstance(text, str) and text and text.isprintable() for text in value.value):
        raise value.error("a list of printable texts")
    return value.value


def _array(value, dtype):
    """Nested lists of numbers as an array."""
    try:
        found = np.asarray(value.value)
        if found.size and found.dtype.kind not in "iuf":
            raise ValueError
        return found.astype(dtype)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise value.error("numbers, as many in every row") from None


def wrong_files(root, about: dict, *, whole: bool) -> Iterator[DataError]:
    """What differs between the files of records and their description.

    Args:
      root: of the records.
      about: of `read_description`.
      whole: read every hashed file anew, instead of looking up what its hash was when it was last touched.
    """
    root = pathlib.Path(root)
    expected = {below(root, *name.split("/")): entry for name, entry in about["files"].items()}
    needed = [summary_path(root, part) for part in about["parts"]]
    for part in about["parts"]:
        paths = [frames_path(root, part, name) for name, m in about["modalities"].items() if m["kind"] != "location"]
        needed += [*paths, *map(checksums_path, paths), table_path(root, part) / "dataset_info.json"]
    for path in needed:
        if path not in expected:
            advice = AGAIN
            yield DataError(tile="-", path=root / DESCRIPTION, expected=f"what {path.relative_to(root)} is", found="nothing of it", advice=advice)
    known = {} if whole else _hashes(path for path, entry in expected.items() if "xxh3" in entry)
    for path, entry in expected.items():
        try:
            need_file(path, what="a file of records", advice=AGAIN)
        except DataError as error:
            yield DataError(tile="-", path=path, expected=error.expected, found=error.found, advice=AGAIN, kind="gone")
            continue
        size = path.stat().st_size
        if size != entry["bytes"]:
            yield _changed(path, f"{entry['bytes']:,} bytes, as it was written", f"{size:,} bytes")
        elif "frames" in entry:
            found = count_frames(path)
            if found != entry["frames"]:
                yield _changed(path, f"{entry['frames']:,} frames, as it was written", f"{found:,}" if found is not None else "no header of a .npy file")
        else:
            found = known.get(path) or hashing.file_hash(path)
            if found != entry["xxh3"]:
                yield _changed(path, f"content with XXH3 {entry['xxh3'][:12]}..., as it was written", f"{found[:12]}...")


def _hashes(paths):
    return hashing.file_hashes(path for path in paths if path.is_file())


def _changed(path, expected, found):
    return DataError(tile="-", path=path, expected=expected, found=found, advice=AGAIN, kind="changed")
