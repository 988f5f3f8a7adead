"""Model folders of the Hugging Face hub: "hf:ORG/NAME@REVISION" becomes a folder of the local cache. Needs the extra `hub`."""

import os
import pathlib
import re

from omnisat_jax import __version__
from omnisat_jax.errors import UserError, printable, reason
from omnisat_jax.inference.model_folder import CARD, CONFIG, EARLIER_WEIGHTS, STATISTICS, WEIGHTS
from omnisat_jax.types import StrPath

PREFIX = "hf:"
FILES = (CONFIG, STATISTICS, WEIGHTS, EARLIER_WEIGHTS, CARD)  # nothing else of a repository is downloaded
ADDRESS = re.compile(r"hf:(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[A-Za-z0-9](?:[\w./-]*\w)?))?", re.ASCII)
MAIN = "main"


class HubError(UserError):
    """A model of a hub that cannot be had. The message is one sentence."""


def local_folder(source: StrPath) -> pathlib.Path:
    """Returns the folder of a model, downloaded if it is an address of the hub and not in the cache.

    Args:
      source: a folder, or "hf:ORG/NAME" or "hf:ORG/NAME@REVISION", a branch, tag or commit.

    Raises:
      HubError: an address of another form, the extra `hub` is not installed, no such repository or revision, no access, no network and no
        copy in the cache, or a repository without the files of a model.
    """
    text = os.fspath(source)
    return _download(text) if text.startswith(PREFIX) else pathlib.Path(text)


def check_address(address: str) -> tuple[str, str]:
    """Splits "hf:ORG/NAME@REVISION" into "ORG/NAME" and the revision, "main" where there is none.

    Raises:
      HubError: an address of another form.
    """
    match = ADDRESS.fullmatch(address)
    if not match or ".." in address:
        raise HubError(f"expected a model of the hub as hf:ORG/NAME or hf:ORG/NAME@REVISION, found {_shown(address)}")
    return match["repository"], match["revision"] or MAIN


def _download(address: str) -> pathlib.Path:
    repository, revision = check_address(address)
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise HubError(f'{address}: models of the hub need huggingface_hub: pip install "omnisat-jax[hub]"') from error
    try:
        folder = huggingface_hub.snapshot_download(
            repository, revision=revision, allow_patterns=list(FILES), library_name="omnisat-jax", library_version=__version__
        )
    except errors.GatedRepoError as error:
        raise HubError(f"{address}: expected a repository that you may read, found one that grants access on request: ask for it there") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{address}: expected a repository of the hub, found none of this name that you may read; check the name, or run `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{address}: expected a branch, tag or commit of {repository}, found no {revision}") from error
    except errors.LocalEntryNotFoundError as error:
        raise HubError(
            f"{address}: expected the hub, or a complete copy of this model in its cache, found neither ({_shown(reason(error))}); "
            "check the network and HF_HUB_OFFLINE"
        ) from error
    except Exception as error:  # of huggingface_hub, of its HTTP client, or of the disk
        raise HubError(f"{address}: cannot be downloaded ({_shown(reason(error))})") from error
    return _need_model(pathlib.Path(folder), address)


def _need_model(folder: pathlib.Path, address: str) -> pathlib.Path:
    """The folder, if it has the files of a model."""
    missing = [name for name in (CONFIG, STATISTICS) if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in (WEIGHTS, EARLIER_WEIGHTS)):
        missing.append(WEIGHTS)
    if missing:
        raise HubError(f"{address}: expected a model of omnisat-jax, with {CONFIG}, {STATISTICS} and {WEIGHTS}, found no {' and no '.join(missing)}")
    return folder


def _shown(text: str) -> str:
    return printable(text, 200).replace("\n", " ")
