"""Names that come from files, and the paths that are built from them."""

import os
import pathlib
import re
import stat

from omnisat_jax.errors import DataError, printable

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
# Written by operating systems and tools beside data; never part of a dataset.
STRAY = frozenset({"thumbs.db", "desktop.ini", "icon\r", "$recycle.bin", "system volume information", "__macosx", "lost+found"})


def check_name(name, *, what: str, path, tile: str = "-") -> str:
    """A name that may become part of a path.

    Args:
      name: from a file or an option; a number is taken as its digits.
      what: it names, for the message.
      path, tile: where it was found.

    Raises:
      DataError: no text of letters, digits and `._-`, or one that begins with a dot or a hyphen, or is longer than 128 characters.
    """
    text = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
    if not isinstance(text, str) or not NAME.fullmatch(text):
        raise DataError(
            tile=tile, path=path, expected=f"{what} of letters, digits and ._- that begins with a letter or digit",
            found=repr(name), advice="Rename it: names become names of files.",
        )  # fmt: skip
    return text


def check_text(text, *, what: str, path, longest: int = 2000, tile: str = "-") -> str:
    """A text that is only shown.

    Raises:
      DataError: no text, an empty one, one with control characters, or a longer one.
    """
    if not isinstance(text, str) or not text.strip() or len(text) > longest or printable(text, None) != text:
        found = repr(text) if isinstance(text, str) else type(text).__name__
        raise DataError(tile=tile, path=path, expected=f"{what}: printable text of 1 to {longest} characters", found=found)
    return text


def below(root, *parts) -> pathlib.Path:
    """root/parts, of checked names.

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
    """Whether a file or folder is hidden, or left by an operating system or a tool."""
    return name.startswith(".") or name.lower() in STRAY or name.endswith("~")


def entries(folder) -> list[pathlib.Path]:
    """What a folder holds, sorted by name, without stray files; nothing where there is no such folder.

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
        raise DataError(tile="-", path=folder, expected="a folder that can be listed", found=error.strerror) from error


def walk(root) -> list[pathlib.Path]:
    """Every file below a folder, sorted, without stray ones. Linked folders are followed, each once, so circles end.

    Raises:
      DataError: a folder that cannot be listed, or a link to nothing, behind which there may be any number of files.
    """
    seen, found, open_folders = set(), [], [pathlib.Path(root)]
    while open_folders:
        folder = open_folders.pop()
        about = os.stat(folder)
        if (about.st_dev, about.st_ino) in seen:
            continue
        seen.add((about.st_dev, about.st_ino))
        for path in entries(folder):
            if path.is_dir():
                open_folders.append(path)
            elif path.is_file():
                found.append(path)
            elif path.is_symlink():
                raise DataError(
                    tile="-", path=path, expected="a link to a file or folder", found=f"one to nothing ({os.readlink(path)})",
                    advice="Mount or restore what it leads to, or remove it.",
                )  # fmt: skip
    return sorted(found)


def need_folder(root, *, what: str, advice: str = "") -> pathlib.Path:
    """`root` as a path.

    Raises:
      DataError: it is not a folder.
    """
    root = pathlib.Path(root)
    if not root.is_dir():
        raise DataError(tile="-", path=root, expected=what, found="a file" if root.exists() else "no such folder", advice=advice)
    return root


def need_file(path, *, what: str, tile: str = "-", root=None, advice: str = "Restore it from the archive.") -> pathlib.Path:
    """`path`, shown to be a regular file: nothing that hangs when it is opened, and no link out of the dataset.

    Args:
      root: of the dataset; a link of this file must end below it (linked folders count as part of it). None: any link is followed.

    Raises:
      DataError: it is missing, no file, or a link to elsewhere.
    """
    path = pathlib.Path(path)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        found = "a link to nothing" if path.is_symlink() else "no such file"
        raise DataError(tile=tile, path=path, expected=what, found=found, advice=advice) from None
    except OSError as error:
        raise DataError(tile=tile, path=path, expected=what, found=error.strerror, advice=advice) from error
    if not stat.S_ISREG(mode):
        found = "a folder" if stat.S_ISDIR(mode) else "no regular file (a device, pipe or socket)"
        raise DataError(tile=tile, path=path, expected=f"{what}: a regular file", found=found, advice=advice)
    if root is not None and path.is_symlink():
        target, home = path.resolve(), (pathlib.Path(root).resolve(), path.parent.resolve())
        if not any(target.is_relative_to(folder) for folder in home):
            raise DataError(
                tile=tile, path=path, expected=f"{what}, inside the dataset", found=f"a link to {target}",
                advice="Copy the file, or link the folder that it lies in: linked folders are followed.",
            )  # fmt: skip
    return path
