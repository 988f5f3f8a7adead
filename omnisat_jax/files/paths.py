"""Checks of names that come from files, and of the paths built from them."""

import collections
import os
import pathlib
import re
import stat
from collections.abc import Iterable
from typing import Any

from omnisat_jax.errors import DataError, printable, system_reason
from omnisat_jax.files.addresses import need_local
from omnisat_jax.files.fetching import fetched
from omnisat_jax.types import StrPath

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
LONGEST_NAME = 200  # characters of a name that is shown to people
# Files that operating systems and tools leave next to data; never part of a dataset.
STRAY = frozenset({"thumbs.db", "desktop.ini", "icon\r", "$recycle.bin", "system volume information", "__macosx", "lost+found"})


def check_name(name: Any, *, what: str, path: StrPath, tile: str = "-") -> str:
    """Checks a name that may become part of a path.

    Args:
      name: from a file or an option; an integer stands for its digits.
      what: what has this name, for messages.
      path: where the name was found, for messages.
      tile: ID of the tile, for messages.

    Returns:
      The name.

    Raises:
      DataError: the name is not a string of 1 to 128 letters, digits and `._-`, or begins with a dot or a hyphen.
    """
    text = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
    if not isinstance(text, str) or not NAME.fullmatch(text):
        raise DataError(
            tile=tile, path=path, expected=f"{what} of letters, digits and ._- that begins with a letter or digit",
            found=repr(name), advice="Rename it: it is used as a file name.",
        )  # fmt: skip
    return text


def check_text(text: Any, *, what: str, path: StrPath, longest: int = 2000, tile: str = "-") -> str:
    """Checks a text that is only displayed.

    Args:
      text: from a file or an option.
      what: what the text is, for messages.
      path: where the text was found, for messages.
      longest: characters it may have.
      tile: ID of the tile, for messages.

    Returns:
      The text.

    Raises:
      DataError: not a string, empty, too long, or with control characters other than line breaks.
    """
    if not isinstance(text, str) or not text.strip() or len(text) > longest or printable(text, None) != text:
        found = repr(text) if isinstance(text, str) else type(text).__name__
        raise DataError(tile=tile, path=path, expected=f"{what}: printable text of 1 to {longest} characters", found=found)
    return text


def check_names(names: Iterable[str], *, what: str, path: StrPath) -> tuple[str, ...]:
    """Returns names that are shown to people, checked.

    Args:
      names: of classes or bands.
      what: they name, for messages.
      path: where they were found, for messages.

    Raises:
      DataError: an empty, long, repeated or unprintable name.
    """
    found = tuple(check_text(name, what=what, path=path, longest=LONGEST_NAME) for name in names)
    counts = collections.Counter(name.strip() for name in found)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise DataError(tile="-", path=path, expected=f"each {what} once", found=f"{', '.join(map(repr, twice))} more than once")
    return found


def below(root: StrPath, *parts: str) -> pathlib.Path:
    """Joins `root` and `parts`.

    Raises:
      DataError: the path would leave `root`.
    """
    root = pathlib.Path(root)
    path = root.joinpath(*parts)
    if os.path.normpath(path) != str(path) and os.path.relpath(path, root).startswith(".."):
        raise DataError(tile="-", path=root, expected="a path below this folder", found="/".join(map(str, parts)))
    if any(part in ("..", "") or os.path.isabs(part) for part in map(str, parts)):
        raise DataError(tile="-", path=root, expected="a path below this folder", found="/".join(map(str, parts)))
    return path


def is_stray(name: str) -> bool:
    """Whether a file or folder is hidden or was left by an operating system or a tool."""
    return name.startswith(".") or name.lower() in STRAY or name.endswith("~")


def entries(folder: StrPath) -> list[pathlib.Path]:
    """Lists a folder, sorted by name, without stray files. A folder that does not exist has no entries.

    Raises:
      DataError: the folder cannot be listed.
    """
    folder = pathlib.Path(folder)
    try:
        with os.scandir(folder) as found:
            return sorted(pathlib.Path(entry.path) for entry in found if not is_stray(entry.name))
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise DataError(tile="-", path=folder, expected="a folder", found="a file") from None
    except OSError as error:
        raise DataError(tile="-", path=folder, expected="a folder that can be listed", found=system_reason(error)) from error


def walk(root: StrPath) -> list[pathlib.Path]:
    """Lists all files below a folder, sorted, without stray ones. Linked folders are followed, each once, so that loops end.

    Raises:
      DataError: a folder cannot be listed, or a link is broken, so that files may be missing.
    """
    seen, found, open_folders = set(), [], [pathlib.Path(root)]
    while open_folders:
        folder = open_folders.pop()
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for path in entries(folder):
            if path.is_dir():
                open_folders.append(path)
            elif path.is_file():
                found.append(path)
            elif path.is_symlink():
                raise DataError(
                    tile="-", path=path, expected="a link to a file or folder", found=f"a broken link (to {os.readlink(path)})",
                    advice="Mount or restore its target, or remove it.",
                )  # fmt: skip
    return sorted(found)


def need_folder(root: StrPath, *, what: str, advice: str = "") -> pathlib.Path:
    """Returns `root` as a path after checking that it is a folder.

    Args:
      root: the folder.
      what: what the folder is, for messages.
      advice: what to do if it is missing, for messages.

    Raises:
      DataError: it is not a folder.
      UserError: it is an address.
    """
    need_local(root, what)
    root = pathlib.Path(root)
    if not root.is_dir():
        raise DataError(tile="-", path=root, expected=what, found="a file" if root.exists() else "no such folder", advice=advice)
    return root


def unwritable(folder: StrPath) -> str:
    """Why this user cannot make files in `folder`, or make the folder; "" if it should be possible. Nothing is made."""
    place = pathlib.Path(os.path.abspath(folder))
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        return f"{place}: it is a file, or a broken link"
    if os.access(place, os.W_OK | os.X_OK):
        return ""
    read_only = os.statvfs(place).f_flag & os.ST_RDONLY if os.access(place, os.X_OK) else 0
    return f"{place}: {'the file system is read-only' if read_only else 'permission denied'}"


def need_file(
    path: StrPath, *, what: str, tile: str = "-", root: StrPath | None = None, advice: str = "Restore it from the archive."
) -> pathlib.Path:
    """Returns `path` after checking that it is a regular file, so that opening it cannot hang, inside the dataset; of a placeholder, its copy.

    Args:
      path: the file.
      what: what the file is, for messages.
      tile: ID of the tile, for messages.
      root: folder of the dataset. If `path` is a link, its target must be below `root` or in the folder of `path`, which may itself be
        reached through a linked folder. None allows any link.
      advice: what to do about a bad file, for messages.

    Raises:
      DataError: missing, not a regular file, or a link out of the dataset.
      UserError: it is an address.
    """
    need_local(path, what)
    path = pathlib.Path(path)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        found = "a broken link" if path.is_symlink() else "no such file"
        raise DataError(tile=tile, path=path, expected=what, found=found, advice=advice) from None
    except OSError as error:
        raise DataError(tile=tile, path=path, expected=what, found=system_reason(error), advice=advice) from error
    if not stat.S_ISREG(mode):
        found = "a folder" if stat.S_ISDIR(mode) else "not a regular file (a device, pipe or socket)"
        raise DataError(tile=tile, path=path, expected=f"{what}: a regular file", found=found, advice=advice)
    if root is not None and path.is_symlink():
        target, allowed = path.resolve(), (pathlib.Path(root).resolve(), path.parent.resolve())
        if not any(target.is_relative_to(folder) for folder in allowed):
            raise DataError(
                tile=tile, path=path, expected=f"{what}, inside the dataset", found=f"a link to {target}",
                advice="Copy the file, or link its folder instead: linked folders are followed.",
            )  # fmt: skip
    return fetched(path, tile)
