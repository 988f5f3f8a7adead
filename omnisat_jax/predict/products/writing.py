"""Failures to write a product, as one sentence."""

import contextlib
import pathlib
from collections.abc import Iterator

from omnisat_jax.errors import UserError, reason


@contextlib.contextmanager
def written(path: str | pathlib.Path, failures: type[Exception] | tuple[type[Exception], ...] = Exception) -> Iterator[None]:
    """Turns failures of libraries while the body runs into one sentence; a `UserError` stays as it is.

    Args:
      path: of the product, for the message.
      failures: what counts as a failure to write.

    Raises:
      UserError: one of them was raised.
    """
    try:
        yield
    except UserError:
        raise
    except failures as error:
        raise UserError(f"{path}: cannot be written ({reason(error)}); see whether the disk is full") from error
