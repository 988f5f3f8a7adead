"""Embeddings as a cloud-optimized GeoTIFF, coded as those of AlphaEarth Foundations, and as a picture of their three main directions.

A vector of length 1 is stored as round(sign(x) * sqrt(|x|) * 127.5), and read as sign(v) * (v / 127.5)**2. Unknown tokens are -128.
Letters: h w tokens of a piece, N known tokens, D width of an embedding.
"""

import pathlib
import warnings

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile

from omnisat_jax.files import atomic
from omnisat_jax.predict.embedding import dequantise
from omnisat_jax.predict.products.embeddings_draft import Draft
from omnisat_jax.predict.products.rasters import TILE, Raster, RasterWriter

NO_DATA, FACTOR, MOST = -128, 127.5, 127
RUN = 2**14  # tokens that are taken in at once
LARGEST, SMALLEST = 2048, 512  # pixels per side of the picture
SPREAD = 2.5  # standard deviations from mid-tone to the end of a color


def encode(vectors: np.ndarray) -> np.ndarray:
    """(...,D) int8 of vectors (...,D), whatever their length; zeros stay zeros."""
    length = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    unit = vectors / np.where(length > 0, length, 1)
    return np.clip(np.rint(np.sign(unit) * np.sqrt(np.abs(unit)) * FACTOR), -MOST, MOST).astype(np.int8)


def decode(values: np.ndarray) -> np.ndarray:
    """(...,D) float32, the inverse of `encode` up to rounding."""
    return (np.sign(values, dtype=np.float32) * (values.astype(np.float32) / np.float32(FACTOR)) ** 2).astype(np.float32)


def interleave() -> str:
    """How bands lie in the file: band after band in every tile, where GDAL can write that, as a reader of one band then reads that band alone."""
    return "TILE" if tuple(map(int, rasterio.__gdal_version__.split(".")[:2])) >= (3, 11) else ""


def write_cog(draft: Draft, path: pathlib.Path, work: pathlib.Path) -> None:
    """Writes embeddings.tif.

    Args:
      draft: the embeddings.
      path: of the file, called embeddings.tif.
      work: folder for unfinished files, on the same disk.
    """
    names = tuple(f"A{number:02d}" for number in range(draft.info.embedding_width))
    tags = {"CODING": f"a number v stands for sign(v) * (v / {FACTOR}) ** 2 of a vector of length 1", "MODEL_CHECKSUM": str(draft.info.model.get("checksum", ""))}
    raster = Raster("embeddings", "int8", NO_DATA, names, "nearest", "Embeddings of length 1", tags=tags, interleave=interleave())
    with RasterWriter(draft.grid, (raster,), work) as writer:
        for block, records in draft.pieces(TILE):
            coded = np.stack([encode(row) for row in records["embedding"]])  # row by row, as it takes many bytes per number
            coded[records["used"] == 0] = NO_DATA
            writer.add(block, {"embeddings": coded.transpose(2, 0, 1)})
        writer.finish(raster, path)


def write_picture(draft: Draft, path: pathlib.Path) -> None:
    """Writes a picture whose red, green and blue are the three directions in which the embeddings vary most; unknown tokens are transparent.

    Args:
      draft: the embeddings.
      path: of the file, a PNG.
    """
    mean, axes = directions(draft)
    step = max(1, -(-max(draft.grid.height, draft.grid.width) // LARGEST))
    records = draft.records[::step, ::step]
    image = np.zeros((*records.shape, 4), np.uint8)
    for number, row in enumerate(records):
        known = row["used"] > 0
        levels = (dequantise(row["embedding"][known], row["scale"][known]) - mean) @ axes
        image[number, known, :3] = np.clip(np.rint(127.5 + 127.5 / SPREAD * levels), 0, 255)
        image[number, known, 3] = 255
    times = max(1, SMALLEST // max(records.shape))
    atomic.write_bytes(path, png(image.repeat(times, 0).repeat(times, 1)))


def directions(draft: Draft) -> tuple[np.ndarray, np.ndarray]:
    """The main directions of the embeddings, from their covariance, which is summed row by row whatever the blocks.

    Returns:
      The mean (D,), and (D,3): the projection of an embedding onto a column has the standard deviation 1. The largest entry of a column is
      positive. A direction without variance is zero.
    """
    width = draft.info.embedding_width
    count, total, square = 0, np.zeros(width), np.zeros((width, width))
    for _, records in draft.runs(RUN):
        vectors = dequantise(records["embedding"], records["scale"]).astype(np.float64)
        count, total, square = count + len(vectors), total + vectors.sum(0), square + vectors.T @ vectors
    mean = total / max(count, 1)
    values, vectors = np.linalg.eigh(square / max(count, 1) - np.outer(mean, mean))
    axes = np.zeros((width, 3))
    for number in range(min(3, width)):
        value, vector = values[-1 - number], vectors[:, -1 - number]
        if value > 1e-9 * max(values[-1], 1e-30):
            axes[:, number] = vector * np.sign(vector[np.abs(vector).argmax()]) / np.sqrt(value)
    return mean, axes


def png(image: np.ndarray) -> bytes:
    """An image (H,W,4) uint8 of red, green, blue and opacity as a PNG."""
    height, width = image.shape[:2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with MemoryFile() as memory:
            with memory.open(driver="PNG", height=height, width=width, count=4, dtype="uint8") as target:
                target.write(image.transpose(2, 0, 1))
            return memory.read()
