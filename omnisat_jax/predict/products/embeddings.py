"""The embeddings of a map, one per token, as the products that were asked for: `zarr`, `cog`, `parquet`, and always a picture.

Blocks are first laid side by side in one file. Products are made of that file in pieces of a fixed size, so that they do not depend on the blocks.
Letters: h w tokens of a block or a piece, D width of an embedding.
"""

import pathlib
from collections.abc import Mapping

import numpy as np

from omnisat_jax.errors import UserError
from omnisat_jax.predict.folder import MapFolder, MapInfo
from omnisat_jax.predict.grid import Block
from omnisat_jax.predict.products import embeddings_raster, embeddings_table, embeddings_zarr
from omnisat_jax.predict.products.embeddings_draft import Draft, Season
from omnisat_jax.predict.products.options import ProductOptions
from omnisat_jax.predict.products.parcels import Parcels
from omnisat_jax.predict.products.writing import written

PICTURE = "embedding.png"
FILES = {"zarr": "embeddings.zarr", "cog": "embeddings.tif", "parquet": "embeddings.parquet"}
OF_PARCELS = "parcels_embeddings.parquet"


def need_packages(options: ProductOptions) -> None:
    """Checks that the formats can be written, before hours of work.

    Raises:
      UserError: a package of an extra is not installed.
    """
    if "zarr" in options.embeddings:
        embeddings_zarr.need_zarr()
    if "parquet" in options.embeddings:
        embeddings_table.need_tables()


class Embeddings:
    """Collects the embeddings of a map. Use it as a context."""

    def __init__(self, folder: MapFolder, options: ProductOptions, parcels: Parcels | None, work: pathlib.Path):
        """Prepares the products.

        Args:
          folder: of the map.
          options: with at least one format of embeddings.
          parcels: whose mean embeddings are wanted, for the format parquet.
          work: folder for unfinished files, on the disk of the finished ones.

        Raises:
          UserError: the map has no embeddings, the disk is full, or a package of an extra is not installed.
        """
        if not folder.info.embedding_width:
            raise UserError(f"{folder.path}: expected a map with embeddings, found one without; make it again with --embeddings, in another folder")
        need_packages(options)
        self._folder, self._formats, self._work = folder, options.embeddings, work
        self._draft = Draft(folder.info, work / "draft_embeddings")
        self._means = None
        if parcels is not None and options.parcels is not None and "parquet" in options.embeddings:
            self._means = embeddings_table.ParcelMeans(folder.info, parcels)

    def __enter__(self) -> "Embeddings":
        self._draft.open()
        return self

    def __exit__(self, *failure: object) -> None:
        self._draft.close()

    def add(self, block: Block, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes in one block; see `Part`."""
        with written(self._folder.path / "embeddings"):
            self._draft.add(self._folder.info.grid.tokens_of(block), arrays)
        if self._means is not None:
            self._means.add(block, arrays)

    def write(self, created: str) -> dict[str, pathlib.Path]:
        """Makes the products of all blocks, which must have been added.

        Args:
          created: when the map was made, in UTC, which is the date of embeddings of images without one.

        Returns:
          {name: path} of the products.

        Raises:
          UserError: the disk is full, or a file cannot be written.
        """
        with written(self._folder.path / "embeddings"):
            self._draft.close()
        folder, draft, season = self._folder.path, self._draft, Season.of(self._folder.info, created)
        found = {FILES[name]: folder / FILES[name] for name in FILES if name in self._formats}
        for name, path in found.items():
            with written(path):
                if name == FILES["zarr"]:
                    embeddings_zarr.write_zarr(draft, season, path, self._work)
                elif name == FILES["cog"]:
                    embeddings_raster.write_cog(draft, path, self._work)
                else:
                    embeddings_table.write_table(draft, season, path, self._work)
        if self._means is not None:
            found[OF_PARCELS] = folder / OF_PARCELS
            self._means.write(season, found[OF_PARCELS], self._work)
        found[PICTURE] = folder / PICTURE
        with written(found[PICTURE]):
            embeddings_raster.write_picture(draft, found[PICTURE])
        return found


def is_embedding(name: str) -> bool:
    """Whether a product is one of embeddings."""
    return name in (*FILES.values(), PICTURE, OF_PARCELS)


def check_shapes(info: MapInfo, block: Block) -> dict[str, tuple[tuple[int, ...], str]]:
    """{name: (shape, dtype)} of the arrays about tokens that a block of a map has."""
    if not info.embedding_width:
        return {}
    tokens = info.grid.tokens_of(block)
    size = tokens.height, tokens.width
    return {"embeddings": ((*size, info.embedding_width), "int8"), "scales": (size, "float32"), "token_used": (size, "uint32")}
