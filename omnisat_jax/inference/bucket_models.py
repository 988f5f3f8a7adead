"""Model folders in buckets: the files of a model are downloaded, read, and removed again."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator

from omnisat_jax.errors import UserError
from omnisat_jax.files.addresses import need_bucket, scheme_of
from omnisat_jax.files.buckets import Bucket
from omnisat_jax.inference.hub import FILES
from omnisat_jax.inference.model_info import ModelError
from omnisat_jax.types import StrPath


@contextlib.contextmanager
def downloaded(source: StrPath) -> Iterator[StrPath]:
    """Yields a folder with the files of a model in a bucket, which is removed when the body ends; any other source is yielded unchanged.

    Args:
      source: a folder, an address of the hub, or of a bucket such as gs://BUCKET/RUN/model.

    Raises:
      UserError: another address, or the library for it is not installed; errors of the body name the address.
      ModelError: there is no model.
      BucketError: the bucket cannot be read.
    """
    if not scheme_of(source):
        yield source
        return
    need_bucket(source, "the folder of a model")
    bucket = Bucket(os.fspath(source))
    with tempfile.TemporaryDirectory(prefix="omnisat_jax-") as folder:
        found = {name: size for name, (size, _) in bucket.objects().items() if name in FILES}
        if not found:
            raise ModelError(f"{bucket.address}: expected the folder of a trained model, found none of {', '.join(FILES[:3])}")
        for name, size in found.items():
            for _ in bucket.download(name, pathlib.Path(folder, name), size):
                pass
        try:
            yield folder
        except UserError as error:
            error.args = tuple(text.replace(folder, bucket.address) if isinstance(text, str) else text for text in error.args)
            raise
