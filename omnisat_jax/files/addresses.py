"""Addresses such as gs://bucket/folder: which ones there are, and the sentence that refuses one, or a ~, where a path of this machine is needed.

`pathlib` turns "gs://bucket/run" into the relative folder "gs:/bucket/run" without a word, so every path that a user can give is checked here while
it is still text. Nothing is imported for paths without a scheme.
"""

import importlib.util
import os
import re
from collections.abc import Collection

from omnisat_jax.errors import UserError, printable
from omnisat_jax.types import StrPath

_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
# Schemes of which pathlib may have dropped a slash before the text came here.
_DROPPED = re.compile(r"(?P<scheme>gs|gcs|s3|s3a|az|abfs|abfss|wasbs|hdfs|file|http|https|ftp|memory):/+(?P<rest>.*)", re.DOTALL)
# {scheme: (module of fsspec that opens it, extra of this package)}
BUCKETS = {"gs": ("gcsfs", "gcs"), "s3": ("s3fs", "s3")}
CHECKPOINTED = ("gs",)  # those in which Orbax marks whether a checkpoint is complete
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,221}[a-z0-9]")
_SHORTEST = 2  # characters of a scheme; one letter and a colon is a drive of Windows


def scheme_of(path: StrPath) -> str:
    """The scheme of an address in lower case, "" of a path of this machine."""
    text = os.fspath(path)
    match = isinstance(text, str) and (_ADDRESS.match(text) or _DROPPED.match(text))
    return match["scheme"].lower() if match and len(match["scheme"]) >= _SHORTEST else ""


def need_local(path: StrPath, argument: str, advice: str = "") -> None:
    """Refuses an address, and a ~ that no shell has replaced.

    Args:
      path: as the user gave it.
      argument: that has this value, for the message; "" = the path names itself.
      advice: what to do; by default, how to copy the files.

    Raises:
      UserError: it has a scheme, or begins with ~.
    """
    _need_expanded(path, argument)
    scheme = scheme_of(path)
    if scheme:
        raise UserError(f"{f'{argument}: ' if argument else ''}expected a path of this machine, found {_shown(path)}; {advice or _copying(scheme)}")


def need_bucket(path: StrPath, argument: str, *, schemes: Collection[str] = BUCKETS, installed: bool = True) -> None:
    """Refuses an address that is not a folder in object storage, and nothing that is a path of this machine.

    Args:
      path: as the user gave it.
      argument: that has this value, for the message.
      schemes: that this argument may have.
      installed: whether the library for its scheme must be there.

    Raises:
      UserError: a ~ that no shell has replaced, another scheme, no bucket or no folder in it, or a library that is not installed; names the extra.
    """
    _need_expanded(path, argument)
    scheme = scheme_of(path)
    if not scheme:
        return
    text = os.fspath(path)
    supported = " or ".join(f"{name}://BUCKET/FOLDER" for name in schemes)
    if scheme not in schemes:
        why = f"; Orbax cannot write the checkpoints of a run to {scheme}://" if scheme in BUCKETS and tuple(schemes) == CHECKPOINTED else ""
        raise UserError(f"{argument}: expected a folder of this machine or {supported}, found {_shown(path)}{why}")
    match = _ADDRESS.fullmatch(text)
    bucket, _, folder = (match["rest"] if match else "").partition("/")
    parts = folder.rstrip("/").split("/")
    if not match or match["scheme"] != scheme or not _BUCKET.fullmatch(bucket) or not all(parts) or {".", ".."} & {*parts} or re.search(r"[\s#?*\[\]\\]", text):
        raise UserError(f"{argument}: expected {scheme}://BUCKET/FOLDER with plain names, found {_shown(path)}")
    module, extra = BUCKETS[scheme]
    if installed and importlib.util.find_spec(module) is None:
        raise UserError(f'{argument}: {_shown(path)} needs {module}, which is not installed: pip install "omnisat-jax[{extra}]"')


def _need_expanded(path: StrPath, argument: str) -> None:
    """Refuses ~, which shells replace at the beginning of a word only: --workdir=~/run would make a folder with the name ~."""
    text = os.fspath(path)
    if isinstance(text, str) and (text == "~" or text.startswith("~/")):
        raise UserError(
            f"{f'{argument}: ' if argument else ''}expected a path, found {_shown(path)}, in which the shell has not replaced ~; write $HOME instead"
        )


def _copying(scheme: str) -> str:
    commands = {"gs": "`gcloud storage cp -r`", "s3": "`aws s3 cp --recursive`"}
    return f"copy it to this machine first{f', by {commands[scheme]}' if scheme in commands else ''}"


def _shown(path: StrPath) -> str:
    return printable(os.fspath(path)).replace("\n", "\\n")
