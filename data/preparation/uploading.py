"""Records that are written to a bucket: each part is uploaded as soon as it is finished, and only what is being written takes room on this machine.

As in a folder, preparing.json comes first, the summary of a part after its other files, and dataset.json last. Nothing is locked: the first
preparing.json and the first summary of a part stay, and a part that is written twice has the same bytes both times.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterable, Iterator

from data.preparation.claim import ForeignFolder, claim_folder
from omnisat_jax.errors import DataError, UserError
from omnisat_jax.files import atomic
from omnisat_jax.files.addresses import scheme_of
from omnisat_jax.files.buckets import Bucket
from omnisat_jax.records.description import CLAIM, DESCRIPTION, summary_path
from omnisat_jax.types import StrPath

_open: dict[pathlib.Path, Bucket] = {}  # of this process, by folder


@contextlib.contextmanager
def opened(out: StrPath, scratch: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields the folder of this machine in which records are written: for an address one that holds what `claim_folder` and summaries need.

    Args:
      out: a folder or an address.
      scratch: folder in which that of an address is made.

    Raises:
      ForeignFolder: there are other objects at the address.
      BucketError: the bucket cannot be read or written.
    """
    if not scheme_of(out):
        yield pathlib.Path(out)
        return
    bucket = Bucket(os.fspath(out), "--out")
    found = bucket.objects()
    if found and CLAIM not in found:
        raise ForeignFolder(
            f"{bucket.address}: expected nothing or an interrupted preparation, found other objects ({min(found)}{', ...' if len(found) > 1 else ''}). "
            "Choose another folder."
        )
    scratch.mkdir(parents=True, exist_ok=True)
    name = bucket.address.rpartition("/")[2]
    with atomic.scratch_folder(scratch / name) as made:
        folder = made / name
        folder.mkdir()
        for each in found:
            if "/" not in each and each.endswith(".json"):
                _download(bucket, folder / each)
        _open[folder] = bucket
        try:
            yield folder
        except UserError as error:
            raise _renamed(error, str(folder), bucket.address) from error.__cause__
        finally:
            del _open[folder]


def claimed(folder: pathlib.Path, content: dict) -> None:
    """Uploads preparing.json, unless another process did: then it must be the same. Does nothing for other folders.

    Raises:
      ForeignFolder: see `claim_folder`.
    """
    bucket = _open.get(folder)
    if bucket and not bucket.create(CLAIM, (folder / CLAIM).read_bytes()):
        _download(bucket, folder / CLAIM)
        claim_folder(folder, content)


def finished_part(folder: pathlib.Path, part: str, files: Iterable[str]) -> None:
    """Uploads a part and removes it from this machine, except for its summary. Does nothing for other folders.

    Args:
      folder: of the records.
      part: its name.
      files: that belong to it, below the folder.
    """
    bucket = _open.get(folder)
    if bucket is None:
        return
    for name in files:
        bucket.upload(name, folder / name)
    summary = summary_path(folder, part)
    if not bucket.create(summary.name, summary.read_bytes()):
        _download(bucket, summary)
    for name in files:
        (folder / name).unlink()


def finished(folder: pathlib.Path) -> None:
    """Uploads dataset.json. Does nothing for other folders."""
    bucket = _open.get(folder)
    if bucket:
        bucket.write(DESCRIPTION, (folder / DESCRIPTION).read_bytes())


def place_of(folder: StrPath) -> str:
    """The address of a folder whose records are uploaded; any other path as it is."""
    bucket = _open.get(pathlib.Path(folder))
    return bucket.address if bucket else os.fspath(folder)


def _download(bucket: Bucket, path: pathlib.Path) -> None:
    content = bucket.read(path.name)
    if content is not None:
        atomic.write_bytes(path, content)


def _renamed(error: UserError, folder: str, address: str) -> UserError:
    if isinstance(error, DataError):
        return DataError(**{key: text.replace(folder, address) for key, text in vars(error.finding).items()})
    error.args = tuple(text.replace(folder, address) if isinstance(text, str) else text for text in error.args)
    return error
