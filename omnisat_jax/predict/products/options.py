"""Which products of a map are made beside its rasters."""

import argparse
import dataclasses
import math
import pathlib
from typing import Any

from omnisat_jax.errors import UserError
from omnisat_jax.predict.options import ON_BAD, need_on_bad
from omnisat_jax.predict.vector import split_layer

EMBEDDINGS = ("zarr", "cog", "parquet")
SUFFIXES = (".parquet", ".gpkg")  # of files of polygons that are written
_SUFFIX = f"its suffix is one of {', '.join(SUFFIXES)}"


@dataclasses.dataclass(frozen=True)
class ProductOptions:
    """Which products are made beside the rasters.

    Attributes:
      parcels: file of polygons whose crops are wanted, FILE:LAYER if it has several layers; None for none.
      parcels_out: file of the result; None for parcels.parquet in the folder of the map.
      polygons: smallest area in m2 of a polygon of equal class; None for no polygons.
      polygons_out: file of the polygons; None for polygons.parquet in the folder of the map.
      embeddings: formats of EMBEDDINGS in which embeddings are wanted; () for none.
      on_bad: "raise" refuses parcels without a valid polygon, "mask" leaves them without a result and counts them.

    Raises:
      UserError: an option out of range, or a file of an unknown format.
    """

    parcels: pathlib.Path | None = None
    parcels_out: pathlib.Path | None = None
    polygons: float | None = None
    polygons_out: pathlib.Path | None = None
    embeddings: tuple[str, ...] = ()
    on_bad: str = ON_BAD[0]

    def __post_init__(self) -> None:
        for name in ("parcels", "polygons"):
            out = getattr(self, f"{name}_out")
            if out is None:
                continue
            if getattr(self, name) is None:
                raise UserError(f"--{name}_out {out}: expected --{name} beside it, found none")
            if out.suffix.lower() not in SUFFIXES:
                raise UserError(f"--{name}_out {out}: expected a file whose suffix is one of {', '.join(SUFFIXES)}, found {out.suffix or 'none'!r}")
        if self.polygons is not None and not (math.isfinite(self.polygons) and self.polygons >= 0):
            raise UserError(f"--polygons: expected a smallest area of 0 m2 or more, found {self.polygons}")
        if self.parcels_out is not None and self.parcels is not None and self.parcels_out.resolve() == split_layer(self.parcels)[0].resolve():
            raise UserError(f"--parcels_out {self.parcels_out}: expected another file than --parcels, which would be overwritten; choose another name")

        if self.parcels_out is not None and self.polygons_out is not None and self.parcels_out.resolve() == self.polygons_out.resolve():
            raise UserError(f"--polygons_out {self.polygons_out}: expected another file than --parcels_out; choose another name")
        unknown = [name for name in self.embeddings if name not in EMBEDDINGS]
        if unknown:
            raise UserError(f"--embeddings: expected {', '.join(EMBEDDINGS)}, found {', '.join(unknown)}")
        need_on_bad(self.on_bad)

    @classmethod
    def from_arguments(cls, namespace: argparse.Namespace) -> "ProductOptions":
        """The options of a command line that was parsed with `add_arguments`.

        Raises:
          UserError: see `ProductOptions`.
        """
        values: dict[str, Any] = {field.name: getattr(namespace, field.name) for field in dataclasses.fields(cls)}
        values["embeddings"] = tuple(dict.fromkeys(namespace.embeddings))
        return cls(**values)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the products to a command, and how it treats bad files."""
    parser.add_argument(
        "--on_bad", choices=ON_BAD, default=ON_BAD[0],
        help="files that cannot be read, and parcels without a valid polygon: stop, or leave them out and list them (a sensor without any readable file stops in any case); default: raise",
    )  # fmt: skip
    group = parser.add_argument_group("products")
    group.add_argument("--parcels", type=pathlib.Path, metavar="FILE[:LAYER]", help="polygons (GeoPackage, GeoJSON, GeoParquet, shapefile): adds the crop of each")
    group.add_argument("--parcels_out", type=pathlib.Path, metavar="FILE", help=f"where the crops go, {_SUFFIX}; default: parcels.parquet in --out")
    group.add_argument("--polygons", type=float, metavar="M2", help="makes polygons of equal class, of at least so many square meters")
    group.add_argument("--polygons_out", type=pathlib.Path, metavar="FILE", help=f"where they go, {_SUFFIX}; default: polygons.parquet in --out")
    group.add_argument(
        "--embeddings", action="append", default=[], choices=EMBEDDINGS, help="adds the embedding of every patch; may be given once per format"
    )
