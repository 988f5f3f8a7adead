"""Model folders of the Hugging Face hub: "hf:ORG/NAME@REVISION" becomes a folder of the local cache. Needs the extra `hub`.

The cache keeps each commit in a folder of its name. Without a network, the commit that a branch or tag was when it was last downloaded is used, and a
warning names it: the branch or tag may have moved since.
"""

import logging
import os
import pathlib
import re

from omnisat_jax import __version__
from omnisat_jax.errors import UserError, printable, reason
from omnisat_jax.files.addresses import need_local
from omnisat_jax.inference.model_folder import CARD, CONFIG, EARLIER_WEIGHTS, STATISTICS, WEIGHTS
from omnisat_jax.types import StrPath

PREFIX = "hf:"
FILES = (CONFIG, STATISTICS, WEIGHTS, EARLIER_WEIGHTS, CARD)  # nothing else of a repository is downloaded, such as pictures of its card
ADDRESS = re.compile(r"hf:(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[A-Za-z0-9](?:[\w./-]*\w)?))?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
MAIN, LIBRARY = "main", "omnisat-jax"
log = logging.getLogger(__name__)


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
    if text.startswith(PREFIX):
        return _download(text)
    need_local(text, "the folder of a model")
    return pathlib.Path(text)


def exact_source(source: StrPath, folder: pathlib.Path) -> str:
    """Where a model was read from: of the hub, the address of its commit, as branches and tags can move.

    Args:
      source: as for `local_folder`.
      folder: what `local_folder` made of it.
    """
    text = os.fspath(source)
    return f"{PREFIX}{check_address(text)[0]}@{folder.name}" if text.startswith(PREFIX) else text


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
    unanswered: Exception | None = None
    if not COMMIT.fullmatch(revision):  # a commit cannot move
        try:
            huggingface_hub.HfApi(library_name=LIBRARY, library_version=__version__).model_info(repository, revision=revision)
        except errors.RevisionNotFoundError as error:
            raise _refused(address, error) from error
        except Exception as error:  # of huggingface_hub, or of its HTTP client
            unanswered = error
    try:
        folder = pathlib.Path(
            huggingface_hub.snapshot_download(
                repository, revision=revision, allow_patterns=list(FILES), local_files_only=unanswered is not None,
                library_name=LIBRARY, library_version=__version__,
            )
        )  # fmt: skip
        _need_model(folder, address)
    except errors.LocalEntryNotFoundError as error:
        raise _refused(address, unanswered or error) from error
    except HubError as error:
        raise (_refused(address, unanswered) if unanswered else error) from error
    except Exception as error:  # of huggingface_hub, of its HTTP client, or of the disk
        raise _refused(address, error) from error
    if unanswered:
        log.warning(
            "%s: the hub could not be asked what %s is now (%s); commit %s is used, which it was when it was downloaded into the cache",
            address, revision, _shown(reason(unanswered)), folder.name,
        )  # fmt: skip
    else:
        log.info("%s: commit %s", address, folder.name)
    return folder


def _refused(address: str, error: Exception) -> HubError:
    """The sentence about an error of the hub, or about no answer and no copy in the cache."""
    from huggingface_hub import errors

    repository, revision = check_address(address)
    if isinstance(error, errors.GatedRepoError):
        return HubError(f"{address}: expected a repository that you may read, found one that grants access on request: ask for it there")
    if isinstance(error, errors.RepositoryNotFoundError):
        return HubError(f"{address}: expected a repository of the hub, found none of this name that you may read; check the name, or run `hf auth login`")
    if isinstance(error, errors.RevisionNotFoundError):
        return HubError(f"{address}: expected a branch, tag or commit of {repository}, found no {revision}")
    if isinstance(error, OSError) and error.errno:
        return HubError(f"{address}: cannot be downloaded ({_shown(reason(error))})")
    return HubError(
        f"{address}: expected the hub, or a complete copy of this model in its cache, found neither ({_shown(reason(error))}); "
        "check the network and HF_HUB_OFFLINE"
    )


def _need_model(folder: pathlib.Path, address: str) -> None:
    """Raises HubError if the folder lacks files of a model."""
    missing = [name for name in (CONFIG, STATISTICS) if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in (WEIGHTS, EARLIER_WEIGHTS)):
        missing.append(WEIGHTS)
    if missing:
        raise HubError(f"{address}: expected a model of omnisat-jax, with {CONFIG}, {STATISTICS} and {WEIGHTS}, found no {' and no '.join(missing)}")


def _shown(text: str) -> str:
    return printable(text, 200).replace("\n", " ")
