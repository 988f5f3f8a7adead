"""Files and folders that are there whole or not at all, and the removal of what a killed process left.

What is being written has a name of its own, <name>.partial-<host>-<process>-<random>, so that two machines that share a folder never meet.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import uuid

from omnisat_jax.errors import UserError, system_sentence

_PARTIAL = re.compile(r".+\.partial-(?P<host>[A-Za-z0-9_]*)-(?P<process>\d+)-[0-9a-f]{8}")
MARK = ".made-by-omnisat_jax"  # in a folder that is being written: only such folders are ever removed


def partial_name(path) -> pathlib.Path:
    """A free name beside `path` to write under."""
    path = pathlib.Path(path)
    return path.with_name(f"{path.name}.partial-{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def is_partial(name: str) -> bool:
    """Whether a name is that of something that was being written."""
    return bool(_PARTIAL.fullmatch(name))


def write_bytes(path, content: bytes) -> None:
    """Writes a file whole or not at all; it is on the disk when this returns.

    Raises:
      UserError: it cannot be written; says why.
    """
    path = pathlib.Path(path)
    partial = partial_name(path)
    try:
        with open(partial, "wb") as target:
            target.write(content)
            target.flush()
            os.fsync(target.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise UserError(f"{path}: cannot be written ({system_sentence(error)})") from error


def write_text(path, text: str) -> None:
    """`write_bytes` of text in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path, value) -> None:
    """`write_bytes` of plain values as JSON."""
    write_bytes(path, (json.dumps(value, indent=1) + "\n").encode())


def sync_folder(folder) -> None:
    """Makes sure that a new name in a folder is on the disk, where the file system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def new_folder(root: pathlib.Path):
    """Yields a folder to fill, which becomes `root` at the end; that another process was first with the same is no error.

    Raises:
      UserError: it cannot be made.
    """
    root = pathlib.Path(root)
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        clear_partials(root.parent)
        work = partial_name(root)
        work.mkdir()
        (work / MARK).touch()
    except OSError as error:
        raise UserError(f"{root}: cannot be made ({system_sentence(error)})") from error
    try:
        yield work
        (work / MARK).unlink()
        work.rename(root)
        sync_folder(root.parent)
    except BaseException as error:
        (work / MARK).touch()
        remove_marked(work)
        if not (isinstance(error, OSError) and root.exists()):
            raise


def remove_marked(folder) -> None:
    """Removes a folder that this program made and marked, and never follows a link out of it.

    Raises:
      UserError: it carries no mark.
    """
    folder = pathlib.Path(folder)
    if folder.is_symlink() or not (folder / MARK).is_file():
        raise UserError(f"{folder}: expected a folder that this program made, found no {MARK} in it; it is left alone")
    shutil.rmtree(folder)


def clear_partials(folder) -> None:
    """Removes what dead processes of this machine were writing in a folder. What may still be written is left."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        match = _PARTIAL.fullmatch(path.name)
        if not match or match["host"] != _host() or _alive(int(match["process"])) or path.is_symlink():
            continue
        with contextlib.suppress(OSError, UserError):
            if path.is_dir():
                remove_marked(path)
            else:
                path.unlink()


def _host():
    return re.sub(r"[^A-Za-z0-9_]", "_", socket.gethostname())


def _alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
