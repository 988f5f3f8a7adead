"""Where and when the values of a data cube were measured: its reference system, its evenly spaced coordinates and its dates."""

import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from omnisat_jax.dates import find_date
from omnisat_jax.errors import DataError
from omnisat_jax.rasters.grid import RasterGrid

EVEN = 0.01  # pixels by which coordinates may deviate from even spacing, as those in float32 do
MAPPING = "spatial_ref"  # the variable with the reference system, if no attribute names another
_CODE = re.compile(r"[A-Za-z]+:[A-Za-z0-9.]+")


def cube_error(path: pathlib.Path, expected: str, found: str, advice: str = "") -> DataError:
    """The error to raise if a cube is not what is expected."""
    return DataError(tile="-", path=path, expected=expected, found=found, advice=advice)


def grid_mapping(array: Any) -> str:
    """Name of the variable that holds the reference system of another (CF: "name" or "name: coordinates")."""
    return str(array.attrs.get("grid_mapping", MAPPING)).partition(":")[0].strip()


def cube_grid(path: pathlib.Path, dataset: Any, name: str, y: str, x: str) -> tuple[RasterGrid, bool]:
    """The grid of a variable, north up, and whether its rows run northwards.

    Args:
      path: of the cube.
      dataset: the cube, an xarray.Dataset.
      name: of the variable.
      y, x: names of its dimensions.

    Raises:
      DataError: no reference system, or coordinates that are not evenly spaced.
    """
    first_x, step_x, width = _axis(path, dataset, x)
    first_y, step_y, height = _axis(path, dataset, y)
    if step_x < 0:
        raise cube_error(path, f"{x} from west to east", "x from east to west", f"Sort it (dataset.sortby({x!r})).")
    south_up = step_y > 0
    top = first_y + step_y * (height - 0.5) if south_up else first_y - step_y * 0.5
    transform = Affine(step_x, 0, first_x - step_x * 0.5, 0, -abs(step_y), top)
    return RasterGrid(path, _crs(path, dataset, name), transform, height, width), south_up


def _axis(path: pathlib.Path, dataset: Any, dim: str) -> tuple[float, float, int]:
    """First coordinate, signed step and number of coordinates along a dimension."""
    if dim not in dataset.coords or dataset.coords[dim].dims != (dim,) or dataset.coords[dim].dtype.kind not in "iuf":
        raise cube_error(path, f"coordinates along {dim}, of the centers of pixels", "none that are numbers", "Assign them (assign_coords).")
    values = np.asarray(dataset.coords[dim].values, np.float64)
    if len(values) < 2:
        raise cube_error(path, f"at least two coordinates along {dim}", str(len(values)))
    step = (values[-1] - values[0]) / (len(values) - 1)
    with np.errstate(invalid="ignore"):
        deviation = np.abs(values - (values[0] + step * np.arange(len(values)))).max()
    if not np.isfinite(step) or step == 0 or not deviation <= EVEN * abs(step):
        worst = np.diff(values)
        found = f"steps from {worst.min():.10g} to {worst.max():.10g}"
        raise cube_error(path, f"evenly spaced coordinates along {dim}", found, "Bring the cube onto a regular grid first (interp, or rio.reproject).")
    return float(values[0]), float(step), len(values)


def _crs(path: pathlib.Path, dataset: Any, name: str) -> CRS:
    """The reference system of a variable; all declarations must agree."""
    found = [(where, _parse(path, where, text)) for where, text in _declared(dataset, name)]
    if not found:
        raise cube_error(
            path, f"a coordinate reference system of {name}: a grid mapping with crs_wkt, or the attribute proj:code", "none",
            "Write it (dataset.rio.write_crs).",
        )  # fmt: skip
    for where, crs in found[1:]:
        if crs != found[0][1]:
            raise cube_error(path, f"one coordinate reference system of {name}", f"{found[0][1].to_string()} in {found[0][0]}, {crs.to_string()} in {where}")
    return found[0][1]


def _declared(dataset: Any, name: str) -> Iterator[tuple[str, str]]:
    """Declarations of a reference system: where, and a code or WKT."""
    mapping = grid_mapping(dataset.variables[name])
    if mapping in dataset.variables:
        for key in ("crs_wkt", "spatial_ref"):
            if dataset.variables[mapping].attrs.get(key):
                yield f"{key} of {mapping}", str(dataset.variables[mapping].attrs[key])
                break
    for where, attributes in ((name, dataset.variables[name].attrs), ("the cube", dataset.attrs)):
        for key in ("proj:code", "proj:wkt2"):
            if attributes.get(key):
                yield f"{key} of {where}", str(attributes[key])


def _parse(path: pathlib.Path, where: str, text: str) -> CRS:
    # Other texts would be taken for files or addresses.
    try:
        return CRS.from_string(text) if _CODE.fullmatch(text) else CRS.from_wkt(text)
    except CRSError as error:
        raise cube_error(path, f"{where}: a reference system as WKT, or as a code such as EPSG:32632", repr(text[:80])) from error


def cube_days(path: pathlib.Path, dataset: Any, time: str) -> tuple[str, ...]:
    """YYYYMMDD of each position along time, in UTC.

    Args:
      path: of the cube.
      dataset: the cube, an xarray.Dataset.
      time: name of the dimension.

    Raises:
      DataError: no dates, or dates that are not plausible.
    """
    if time not in dataset.coords:
        raise cube_error(path, f"dates as coordinates along {time}", "none", "Assign them (assign_coords).")
    values = dataset.coords[time].values
    if values.dtype.kind != "M":
        raise cube_error(path, f"dates (datetime64) along {time}", f"values of type {values.dtype}", "Decode them, or assign dates.")
    days = tuple(str(day).replace("-", "") for day in values.astype("datetime64[D]").ravel())
    wrong = [day for day in days if find_date(day) is None]
    if wrong:
        raise cube_error(path, f"plausible dates along {time}", wrong[0])
    return days
