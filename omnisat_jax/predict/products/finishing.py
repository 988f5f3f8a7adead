"""From the blocks of a map to its products, in one pass over the blocks."""

import contextlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import xxhash

from omnisat_jax.colours import class_colours
from omnisat_jax.errors import DataError
from omnisat_jax.files import atomic
from omnisat_jax.files.hashing import file_hash
from omnisat_jax.predict.folder import AGAIN, NO_DATA, MapFolder, MapInfo
from omnisat_jax.predict.grid import Block
from omnisat_jax.predict.products import catalogue, embeddings_table, record, styles
from omnisat_jax.predict.products.embeddings import Embeddings, check_shapes, is_embedding, need_packages
from omnisat_jax.predict.products.options import ProductOptions
from omnisat_jax.predict.products.parcels import COLUMNS, Parcels, read_parcels
from omnisat_jax.predict.products.polygons import Polygons
from omnisat_jax.predict.products.rasters import RasterWriter, rasters_of
from omnisat_jax.words import number_of

Progress = Callable[[int, int], None]


class Part(Protocol):
    """Something that is made of the blocks, one after the other."""

    def add(self, block: Block, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes in one block, whose arrays are those of `omnisat_jax.predict.folder`."""


def check(options: ProductOptions) -> None:
    """Checks what products need besides the map, before hours of work.

    Raises:
      UserError: a package of an extra is not installed, or parcels that cannot be used.
    """
    need_packages(options)
    if options.parcels is not None:
        more = embeddings_table.COLUMNS if "parquet" in options.embeddings else ()
        read_parcels(options.parcels, options.on_bad, added=(*COLUMNS, *more))


def finish(folder: MapFolder, options: ProductOptions, progress: Progress | None = None) -> dict[str, pathlib.Path]:
    """Makes all products of a map whose blocks are finished. It can be repeated: equal blocks make equal rasters.

    Memory holds one block, the caches of GDAL, and the polygons if some are asked for.

    Args:
      folder: of the map.
      options: which products to make beside the rasters.
      progress: called after each step with the number of steps done and of all steps.

    Returns:
      {name: path} of the products, such as "class.tif".

    Raises:
      UserError: blocks are missing or damaged, a table of other parcels would be overwritten, files that cannot be read or written, or an extra that is not installed.
    """
    info, tally = folder.info, record.Tally(len(folder.info.classes))
    colours = class_colours(len(info.classes), info.colours)
    rasters = rasters_of(info, colours)
    if options.parcels is not None:
        record.need_same_parcels(folder, options.parcels, options.parcels_out)
    parcels = Parcels(info, options.parcels, options.on_bad) if options.parcels is not None else None
    polygons = Polygons(info, options.polygons) if options.polygons is not None else None
    products: dict[str, pathlib.Path] = {}
    created = record.created(folder)
    with atomic.scratch_folder(folder.path / "products") as work, RasterWriter(info.grid, rasters, work) as writer, contextlib.ExitStack() as stack:
        embeddings = stack.enter_context(Embeddings(folder, options, parcels, work)) if options.embeddings else None
        parts: Sequence[Part] = [part for part in (tally, writer, parcels, polygons, embeddings) if part is not None]
        steps, done = _count_blocks(info) + len(rasters), 0
        for block, arrays in folder.blocks():
            _check_block(folder, block, arrays)
            for part in parts:
                part.add(block, arrays)
            done = _advance(done, steps, progress)
        for raster in rasters:
            products[raster.file] = folder.path / raster.file
            writer.finish(raster, products[raster.file])
            done = _advance(done, steps, progress)
        for name, part, out in (("parcels", parcels, options.parcels_out), ("polygons", polygons, options.polygons_out)):
            if part is not None:
                path = out or folder.path / record.default_file(name)
                part.write(path, work)
                products[f"{name}{path.suffix.lower()}"] = path
        if embeddings is not None:
            products |= embeddings.write(created)
    for name, text in (("class.qml", styles.class_style(info, colours)), ("confidence.qml", styles.confidence_style())):
        products[name] = folder.path / name
        atomic.write_text(products[name], text)
    others = {name: path for name, path in products.items() if not name.endswith(".tif") or is_embedding(name)}
    items = {catalogue.MAP: catalogue.map_item(folder, rasters, others, created), catalogue.MODEL: catalogue.model_item(folder, created)}
    for name, item in items.items():
        products[name] = folder.path / name
        atomic.write_json(products[name], item)
    if parcels is not None and options.parcels is not None:
        tables = record.parcel_tables(folder, options.parcels, options.parcels_out)
        record.update(folder, {"parcels": record.of_parcels(str(options.parcels), parcels), "parcel_tables": tables})
    if polygons is not None:
        record.update(folder, {"polygons": {"minimum_m2": polygons.minimum, "count": polygons.count}})
    record.update(folder, _summary(folder, tally, products) | {"created": created})
    return products


def _summary(folder: MapFolder, tally: record.Tally, products: Mapping[str, pathlib.Path]) -> dict[str, Any]:
    """What run.json says about a finished map."""
    return {
        "finished": True,
        "seam_index": tally.seam_index,
        "pixels": {name: int(count) for name, count in zip(folder.info.classes, tally.pixels, strict=True)},
        "share_unknown": tally.share_unknown,
        "products": record.products(folder) | {name: _identity(path) for name, path in products.items()},
    }


def _identity(path: pathlib.Path) -> dict[str, Any]:
    """Size and hash of a file, or of all files of a folder."""
    if path.is_file():
        return {"bytes": path.stat().st_size, "xxh3": file_hash(path)}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    text = "".join(f"{file.relative_to(path).as_posix()} {file_hash(file)}\n" for file in files)
    return {"bytes": sum(file.stat().st_size for file in files), "xxh3": xxhash.xxh3_128_hexdigest(text.encode())}


def _count_blocks(info: MapInfo) -> int:
    return sum(1 for _ in info.grid.blocks())


def _advance(done: int, steps: int, progress: Progress | None) -> int:
    if progress is not None:
        progress(done + 1, steps)
    return done + 1


def _check_block(folder: MapFolder, block: Block, arrays: Mapping[str, np.ndarray]) -> None:
    """Raises DataError if a block does not have the arrays of this map."""
    info, size = folder.info, (block.height, block.width)
    wanted: dict[str, tuple[tuple[int, ...], str]] = {
        "class": (size, "uint8"), "confidence": (size, "uint8"), "used": (size, "uint32"),
        "dates": ((len(info.series), *size), "uint16"), "seam": ((2,), "float64"),
    }  # fmt: skip
    if info.probabilities:
        wanted["probabilities"] = ((len(info.classes), *size), "uint8")
    wanted |= check_shapes(info, block)
    path = folder.file(block)
    for name, (shape, dtype) in wanted.items():
        found = arrays.get(name)
        if found is None or found.shape != shape or found.dtype != dtype:
            text = "none" if found is None else f"{found.shape} {found.dtype}"
            raise DataError(tile="-", path=path, expected=f"an array {name!r}, {shape} {dtype}", found=text, advice=AGAIN)
    classes, confidence, used = arrays["class"], arrays["confidence"], arrays["used"]
    unknown = classes == NO_DATA
    wrong = (
        ("classes", (classes >= len(info.classes)) & ~unknown, classes, f"0 to {len(info.classes) - 1}, or {NO_DATA}"),
        ("confidence", np.where(unknown, confidence != NO_DATA, confidence > 100), confidence, f"0 to 100, or {NO_DATA} where the class is unknown"),
        ("used sensors", used >> np.uint32(len(info.sensors)) if len(info.sensors) < 32 else used & 0, used, f"the bits of {number_of(len(info.sensors), 'sensor')}"),
    )
    if info.embedding_width:
        scales, seen = arrays["scales"], arrays["token_used"] > 0
        places = np.where(seen, ~(np.isfinite(scales) & (scales >= 0)), ~np.isnan(scales))
        wrong += (("scales", places, scales, "finite ones of at least 0, or NaN where no sensor is used"),)
    for what, places, values, expected in wrong:
        if places.any():
            raise DataError(tile="-", path=path, expected=f"{what}: {expected}", found=str(values[places.astype(bool)][0]), advice=AGAIN)
