"""Where a FLAIR folder keeps its files, and which part each image belongs to (see README.md here)."""

import os
import pathlib
import re
from collections.abc import Iterable, Sequence

from data.reading.raw import DataError
from omnisat_jax.files import paths
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.types import StrPath

# Domains of the training archive that are used for validation (as in the authors' baselines).
VALIDATION = ("D004", "D014", "D029", "D031", "D058", "D066", "D067", "D077")
CENTRES = "flair-2_centroids_sp_to_patch.json"
INDEX = "index.json"
PARTS = ("train", "validation", "test")
# Published folder names: flair_2_aerial_test of the archives, flair#2-test and train-val of the copy at Hugging Face; or plain names.
ARCHIVE = re.compile(r"flair(_[12])?(_toy)?_(aerial|labels|sen)_(?P<kind>train|test)|flair#[12]-(?P<copy>test)|train-val|train|(?P<plain>test)", re.I)
DOMAIN, ZONE = r"D\d{3}_\d{4}", r"Z\d+_[A-Z]+"


def raw_files(root: StrPath) -> list[pathlib.Path]:
    """Every file that determines the content of the records."""
    root = pathlib.Path(root)
    tables = (root / INDEX, root / CENTRES)
    return [path for path in paths.walk(root) if path in tables or re.match(r"(IMG|MSK)_.*\.tiff?$|SEN2_sp_", path.name, re.I)]


def numbered(files: Iterable[pathlib.Path], kind: str) -> dict[str, pathlib.Path]:
    """{number: path} of the files <kind>_<number>.tif.

    Raises:
      DataError: a repeated number, or one that cannot be a name.
    """
    found = {}
    for path in files:
        match = re.fullmatch(rf"{kind}_(.+)\.tiff?", path.name, re.I)
        if match:
            number = paths.check_name(match[1], what=f"the number of {kind}_<number>.tif", path=path)
            if number in found:
                raise DataError(tile=number, path=path, expected=f"each {kind} number once", found=f"another at {found[number]}")
            found[number] = path
    return found


def table_of(path: pathlib.Path) -> dict[str, Value]:
    """{number: entry} of a table that is keyed by file name or number; empty if there is no such file.

    Raises:
      DataError: not a table, or a repeated image.
    """
    if not os.path.lexists(path):
        return {}
    rows = read_json(path, what="a table of images", root=path.parent)
    table = {}
    for key, row in rows.items().items():
        tile = re.sub(r"^IMG_|\.tiff?$", "", key)
        if tile in table:
            raise row.error("each image once", f"{tile} again")
        table[tile] = Value(row.value, row.path, row.key, tile)
    return table


def zone_and_part(tile: str, path: pathlib.Path, root: pathlib.Path, entry: Value | None) -> tuple[tuple[str, str], str]:
    """Zone and part of an image, from its entry in the index or from the folders between it and the root.

    Args:
      tile: number of the image, for messages.
      path: of the image.
      root: of the dataset.
      entry: of the image in the index, or None.

    Returns:
      (domain, zone), such as ("D004_2021", "Z8_NF"), and one of PARTS.

    Raises:
      DataError: neither the entry nor the folders name them.
    """
    folders = path.relative_to(root).parent
    if entry is not None:
        second = entry.find("zone", "")
        zone = entry.get("domain").name("a domain", number=True), "" if second.value == "" else second.name("a zone", number=True)
    else:
        match = re.search(rf"(?:^|.*/)({DOMAIN})(?:[/_-]|/aerial/)({ZONE})(?:/|$)", folders.as_posix())
        if not match:
            expected = "a folder D<department>_<year>/Z<zone> above the image, or an entry in index.json"
            raise DataError(tile=tile, path=path, expected=expected, found="neither")
        zone = match[1], match[2]
    if entry is not None and "split" in entry.items():
        return zone, entry.get("split").choice(PARTS)
    return zone, _part(tile, folders.parts, path, zone[0])


def _part(tile: str, folders: Sequence[str], path: pathlib.Path, domain: str) -> str:
    """The part that the archive of an image belongs to. The archive is the lowest folder with a published name."""
    kinds = [match.groupdict() for folder in folders if (match := ARCHIVE.fullmatch(folder))]
    if kinds and any((kinds[-1]["kind"] or "").lower() == "test" or kinds[-1][key] for key in ("copy", "plain")):
        return "test"
    unclear = [folder for folder in folders if "test" in re.split(r"[^a-z]+", folder.lower())]
    if not kinds and unclear:
        raise DataError(
            tile=tile, path=path, expected="archives with their published names, such as flair_2_aerial_test and flair_aerial_train",
            found=f"a folder {unclear[-1]}", advice="Rename it, or name the split of each image in index.json.",
        )  # fmt: skip
    return "validation" if domain[:4] in VALIDATION else "train"


def zones_with_series(files: Iterable[pathlib.Path]) -> dict[tuple[str, str], pathlib.Path]:
    """{(domain, zone): super-patch}.

    Raises:
      DataError: a name without a zone, or a repeated zone.
    """
    found = {}
    for path in files:
        if re.fullmatch(r"SEN2_sp_.*_data\.npy", path.name):
            match = re.fullmatch(rf"SEN2_sp_({DOMAIN})[_-]({ZONE})_data\.npy", path.name)
            if not match:
                raise DataError(tile="-", path=path, expected="a name SEN2_sp_D<department>_<year>-Z<zone>_data.npy", found=path.name)
            zone = match[1], match[2]
            if zone in found:
                raise DataError(tile="-", path=path, expected="each super-patch once", found=f"another at {found[zone]}")
            found[zone] = path
    return found
