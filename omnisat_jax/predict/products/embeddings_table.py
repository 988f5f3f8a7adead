"""Embeddings as tables with geometries: one row per token as GeoParquet, and the mean embedding of each parcel.

Letters: N parcels, D width of an embedding.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import rasterio

from omnisat_jax.files.atomic import publish
from omnisat_jax.predict import vector
from omnisat_jax.predict.embedding import dequantise
from omnisat_jax.predict.folder import MapInfo
from omnisat_jax.predict.grid import Block
from omnisat_jax.predict.products.embeddings_draft import Draft, Season, token_bounds
from omnisat_jax.predict.products.parcels import Parcels, find_runs, need_free

RUN = 2**14  # tokens per row group, unknown ones included, which are left out
COLUMNS = ("embedding", "tokens", "used", "start", "end")  # that the table of parcels adds


def need_tables() -> tuple[Any, Any]:
    """Returns the modules geopandas and shapely.

    Raises:
      UserError: a package of the extra `vector` is not installed.
    """
    return vector.need_packages()


def write_table(draft: Draft, season: Season, path: pathlib.Path, work: pathlib.Path) -> None:
    """Writes a row for every known token, from north to south and from west to east.

    id: row * columns of the map in tokens + column; geometry: the square of the token; start, end: of the season; embedding: D float32; used: names of
    the sensors with a known value under the token, joined by commas.

    Args:
      draft: the embeddings.
      season: of the map.
      path: of the file.
      work: folder for the unfinished file, on the same disk.
    """
    _, shapely = need_tables()
    import pyarrow
    import pyarrow.parquet

    grid, width, done = draft.grid, draft.info.embedding_width, work / path.name
    fields = [
        ("id", pyarrow.int64()), ("geometry", pyarrow.binary()), ("start", pyarrow.date32()), ("end", pyarrow.date32()),
        ("embedding", pyarrow.list_(pyarrow.float32(), width)), ("used", pyarrow.string()),
    ]  # fmt: skip
    schema = pyarrow.schema(fields, metadata={"geo": _geo(draft.info)})
    with pyarrow.parquet.ParquetWriter(done, schema, compression="zstd") as writer:
        for numbers, records in draft.runs(RUN):
            if not len(numbers):
                continue
            left, bottom, right, top = token_bounds(grid, numbers // grid.width, numbers % grid.width)
            values = dequantise(records["embedding"], records["scale"]).ravel()
            columns = [
                pyarrow.array(numbers, pyarrow.int64()),
                pyarrow.array(shapely.to_wkb(shapely.box(left, bottom, right, top)), pyarrow.binary()),
                pyarrow.array([season.start] * len(numbers), pyarrow.date32()),
                pyarrow.array([season.end] * len(numbers), pyarrow.date32()),
                pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values, pyarrow.float32()), width),
                pyarrow.array(draft.info.used_names(records["used"]), pyarrow.string()),
            ]
            writer.write_table(pyarrow.table(columns, schema=schema))
    publish(done, path)


def _geo(info: MapInfo) -> str:
    """The metadata of GeoParquet 1.1."""
    crs = rasterio.CRS.from_wkt(info.grid.crs).to_dict(projjson=True)
    column = {"encoding": "WKB", "geometry_types": ["Polygon"], "crs": crs, "bbox": list(info.grid.bounds)}
    return json.dumps({"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}})


class ParcelMeans:
    """The mean embedding of each parcel. Each label pixel whose center lies in the parcel counts with the embedding of its token."""

    def __init__(self, info: MapInfo, parcels: Parcels):
        """Prepares the sums.

        Args:
          info: the map.
          parcels: that are counted.

        Raises:
          UserError: the parcels have a column that the result adds.
        """
        need_free(parcels.source, COLUMNS)
        self._info, self._parcels, count = info, parcels, len(parcels.frame)
        # Scales have 24 bits and embeddings 7, so that sums of float64 are exact, in any order of the blocks, up to about a million pixels.
        self._sum, self._pixels = np.zeros((count, info.embedding_width)), np.zeros(count, np.int64)
        self._tokens, self._used = np.zeros(count, np.int64), np.zeros(count, np.uint32)

    def add(self, block: Block, arrays: Mapping[str, np.ndarray]) -> None:
        """Adds the tokens of one block."""
        grid = self._info.grid
        place = grid.under(grid.tokens_of(block))
        found = self._parcels.near(place)
        if not len(found) or not arrays["scales"].size:
            return
        runs = find_runs(self._parcels.shapely, self._parcels.shapes[found], place)
        which, row, column = runs.pixels()
        token, parcel = row // grid.pixels * arrays["scales"].shape[1] + column // grid.pixels, found[which]
        pairs, pixels = np.unique(parcel * arrays["scales"].size + token, return_counts=True)
        parcel, token = pairs // arrays["scales"].size, pairs % arrays["scales"].size
        used = arrays["token_used"].ravel()[token]
        known = used > 0
        np.add.at(self._tokens, parcel[known], 1)
        np.bitwise_or.at(self._used, parcel[known], used[known])
        for first in range(0, len(parcel), RUN):
            part = np.flatnonzero(known[first : first + RUN]) + first
            self._add(parcel[part], pixels[part], arrays, token[part])

    def _add(self, parcel: np.ndarray, pixels: np.ndarray, arrays: Mapping[str, np.ndarray], token: np.ndarray) -> None:
        """Adds tokens, whose parcels ascend."""
        if not len(parcel):
            return
        embeddings, scales = arrays["embeddings"].reshape(-1, self._sum.shape[1]), arrays["scales"].ravel()
        weights = scales[token].astype(np.float64) * pixels
        starts = np.flatnonzero(np.diff(parcel, prepend=-1))
        self._sum[parcel[starts]] += np.add.reduceat(embeddings[token] * weights[:, None], starts)
        self._pixels[parcel[starts]] += np.add.reduceat(pixels, starts)

    def write(self, season: Season, path: pathlib.Path, work: pathlib.Path) -> None:
        """Writes the columns of the parcels and: embedding, D float32, null without a known token; tokens, how many count; used, start and end.

        Args:
          season: of the map.
          path: of the file, GeoParquet.
          work: folder for the unfinished file, on the same disk.
        """
        import pandas

        frame, seen = self._parcels.frame, self._pixels > 0
        means = (self._sum / np.maximum(self._pixels, 1)[:, None]).astype(np.float32)
        used = self._info.used_names(self._used)
        columns = {
            "embedding": [mean if known else None for mean, known in zip(means, seen, strict=True)],
            "tokens": self._tokens,
            "used": pandas.array([name if known else None for name, known in zip(used, seen, strict=True)], dtype="string"),
            "start": [season.start] * len(seen),
            "end": [season.end] * len(seen),
        }
        result = frame.drop(columns=frame.geometry.name).join(pandas.DataFrame(columns, index=frame.index))
        vector.write_polygons(type(frame)(result, geometry=frame.geometry), path, work)
