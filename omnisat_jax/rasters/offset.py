"""The offset of 1,000 in Sentinel-2 Level-2A values: which files have it, from their tags, names and dates, and from what the user states."""

import datetime
import re
from collections.abc import Sequence

import numpy as np

from omnisat_jax.rasters.grid import RasterError
from omnisat_jax.rasters.sources import Layer, Source, sensing_date

# Level-2A values of processing baseline 04.00 and later are 1,000 higher (ESA, "Copernicus Sentinel-2 Processing Baseline 04.00", January 2022).
BASELINE_WITH_OFFSET = 400
BASELINE_OFFSET = 1_000
OWN_BASELINE = 9999  # of products that users made with Sen2Cor: says nothing about the offset
S2_OPTIONS = ("subtract", "from_2022", "none")
_S2_PRODUCT = re.compile(r"(?<![A-Za-z0-9])(S2[A-D]?|Sentinel-?2[A-D]?)(?![A-Za-z0-9])", re.IGNORECASE)
_S2_OFFSET_BEGAN = datetime.date(2022, 1, 25)  # since then, ESA processes with baseline 04.00 or later


def product_baseline(product: str) -> int | None:
    """Processing baseline in the name of a Sentinel-2 product, 509 for N0509; None if the name has none, or one that says nothing."""
    match = re.search(r"(?<![A-Za-z0-9])N([0-9]{4})(?![0-9A-Za-z])", product.replace("_", " "))
    return int(match[1]) if match and int(match[1]) != OWN_BASELINE else None


def added_by_esa(source: Source, option: str = "") -> tuple[tuple[int, ...], str]:
    """Finds the offset in Sentinel-2 values, file by file.

    Args:
      source: a sensor, of Sentinel-2 or not.
      option: the user's statement about files that do not declare it, one of S2_OPTIONS, or "".

    Returns:
      Per file, the offset that ESA added (baseline 04.00 and later) and that no tag of the file removes, or 0; and the baselines in words.

    Raises:
      RasterError: files that may or may not have the offset.
    """
    layers = source.layers
    products = [_is_product(layer) and layer.dtype != np.uint8 for layer in layers]
    baselines = [_baseline(layer) if is_product else None for layer, is_product in zip(layers, products, strict=True)]
    nothing = (0,) * len(layers)
    if option == "none" or not (option or any(products)):
        return nothing, _words(products, baselines, nothing)
    with_offset = [baseline is not None and baseline >= BASELINE_WITH_OFFSET for baseline in baselines]
    if option == "from_2022":
        days = [day for layer in layers if (day := sensing_date(layer))]
        if len(days) < len(layers):
            raise RasterError(f"{layers[0].path}: expected a date in the file's name for --s2_offset {source.name}=from_2022, found none")
        with_offset = [
            day >= _S2_OFFSET_BEGAN if baseline is None else later
            for day, baseline, later in zip(days, baselines, with_offset, strict=True)
        ]
    elif option == "subtract":
        with_offset = [baseline is None or later for baseline, later in zip(baselines, with_offset, strict=True)]
    else:
        _refuse_unclear(source, products, baselines, with_offset)
    # The offset in the tags of a file takes precedence.
    subtracted = tuple(
        BASELINE_OFFSET * (later and not any(layer.offsets) and not _is_harmonised(layer)) for layer, later in zip(layers, with_offset, strict=True)
    )
    return subtracted, _words(products, baselines, subtracted)


def is_sentinel_2(name: str) -> bool:
    """Whether the name of a product or collection is one of Sentinel-2."""
    return bool(_S2_PRODUCT.search(name))


def _is_product(layer: Layer) -> bool:
    return layer.product.sentinel_2 if layer.product else is_sentinel_2(layer.path.stem)


def _baseline(layer: Layer) -> int | None:
    return layer.product.baseline if layer.product else product_baseline(layer.path.stem)


def _is_harmonised(layer: Layer) -> bool:
    return bool(layer.product) and layer.product.harmonised


def _refuse_unclear(
    source: Source, products: Sequence[bool], baselines: Sequence[int | None], with_offset: Sequence[bool]
) -> None:
    """Refuses Sentinel-2 files that may or may not have the offset, beside files for which this is known."""
    advice = (
        f"state it with --s2_offset {source.name}=subtract (all but those of earlier baselines have it), "
        f"={S2_OPTIONS[1]} (those sensed from 25 January 2022 on have it) or =none (the values are harmonized already)"
    )
    rows = [row for row in zip(source.layers, baselines, with_offset, strict=True) if not _is_harmonised(row[0])]
    later = [layer for layer, _, has in rows if has]
    scaled = [layer for layer in later if not any(layer.offsets) and any(scale != 1 for scale in layer.scales)]
    if scaled:
        raise RasterError(
            f"{scaled[0].text}: expected an offset beside the scale {scaled[0].scales[0]:g}, as values of baseline 04.00 and later are "
            f"{BASELINE_OFFSET:,} higher, found none; {advice}"
        )
    unclear = [layer for layer, baseline, _ in rows if baseline is None and not layer.is_scaled]
    if later and unclear:
        raise RasterError(
            f"{unclear[0].text}: expected a processing baseline in the name (N0301), as {later[0].path.name} is of 04.00 or later and "
            f"its values are {BASELINE_OFFSET:,} higher, found none; {advice}"
        )
    if not all(products) or any(layer.is_scaled for layer in source.layers) or any(layer.dtype.kind == "f" for layer in source.layers):
        return
    ages = {day >= _S2_OFFSET_BEGAN for layer in unclear if (day := sensing_date(layer))}
    if len(ages) == 2:
        raise RasterError(
            f"{unclear[-1].text}: expected a processing baseline in the name (N0400) or an offset in the tags, as ESA's values are "
            f"{BASELINE_OFFSET:,} higher from 25 January 2022 on and the series has dates before and after, found none; {advice}"
        )


def _words(products: Sequence[bool], baselines: Sequence[int | None], subtracted: Sequence[int]) -> str:
    if not any(products) and not any(subtracted):
        return "-"
    counts = {}
    for baseline, less in zip(baselines, subtracted, strict=True):
        name = f"N{baseline:04d}" if baseline is not None else "unknown"
        key = f"{name} -{less:,}" if less else name
        counts[key] = counts.get(key, 0) + 1
    return ", ".join(f"{key}: {count}" for key, count in sorted(counts.items()))
