"""Writing of small GeoTIFFs, such as tiles."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from rasterio._err import CPLE_BaseError  # GDAL's own errors, some of which rasterio does not convert
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from omnisat_jax.errors import UserError, reason, system_reason
from omnisat_jax.types import StrPath


@contextlib.contextmanager
def new_geotiff(path: StrPath, **profile: Any) -> Iterator[Any]:
    """Yields a rasterio dataset to write, and writes it to `path` when the body ends.

    The file is made in memory first, as GDAL does not report a full disk.

    Args:
      path: of the file; its folder exists.
      profile: of the dataset, see `rasterio.open`.

    Raises:
      UserError: the file cannot be written.
    """
    path = pathlib.Path(path)
    try:
        with MemoryFile() as memory:
            with memory.open(driver="GTiff", **profile) as target:
                yield target
            path.write_bytes(memory.read())
    except UserError:
        raise
    except (RasterioError, CPLE_BaseError, OSError) as error:
        text = system_reason(error) if isinstance(error, OSError) and error.errno else reason(error)
        raise UserError(f"{path}: cannot be written ({text})") from error
