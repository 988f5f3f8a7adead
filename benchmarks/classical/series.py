"""Series on regular days: screened, smoothed and interpolated, so that a column means the same for every pixel.

Letters: T dates, H W pixels, C bands, G days of the grid.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_dilation, uniform_filter

BLUE, NEAR_INFRARED = "B02", "B08"
POLARISATIONS = ("VV", "VH", "HH", "HV")
# Normalized differences (a - b) / (a + b) of Sentinel-2 bands.
INDICES = {
    "NDVI": ("B08", "B04"),  # greenness (Rouse et al. 1974)
    "NDWI": ("B03", "B08"),  # open water (McFeeters 1996)
    "NDMI": ("B8A", "B11"),  # water in leaves, the NDWI of Gao 1996
    "NDRE": ("B8A", "B05"),  # chlorophyll (Gitelson & Merzlyak 1994)
}
# On the Flanders tiles of docs/results.md these two leave 83.6 % of the pixels, the scene classification of Level-2A 83.5 %; per date their
# shares of clear pixels correlate by 0.87.
BRIGHT = 5.0  # times the usual blue of a pixel: cloud, haze or snow
DARK = 0.5  # times the usual near infrared of a pixel, without more blue: the shadow of a cloud
USUAL = 25  # percentile over the dates of a pixel; below the median, as half of all dates may be clouded


def proportional_to_reflectance(values: np.ndarray, scale: Sequence[float], offset: Sequence[float]) -> np.ndarray:
    """Stored values (...,C) without the offset that the dataset declares, in units of the first band; ratios of others mean nothing.

    Args:
      values: as stored.
      scale, offset: of each band, a physical value is stored * scale + offset; () where they are not declared.
    """
    unit = scale[0] if scale else 1.0
    return values * (np.asarray(scale or unit) / unit) + np.asarray(offset or 0.0) / unit


def clear_pixels(values: np.ndarray, known: np.ndarray, bands: tuple[str, ...]) -> np.ndarray:
    """Screens an optical series for clouds, snow and shadows, without a cloud mask and in whatever unit.

    A pixel is compared with itself on its other dates: it is clouded where it is BRIGHT times as blue as usual, or darker than DARK times its
    usual near infrared without being bluer than usual. Clouds are widened by a pixel, as their edges are haze.

    Args:
      values: (T,H,W,C) proportional to reflectance.
      known: (T,H,W), where all bands are measured.
      bands: names of the C bands.

    Returns:
      (T,H,W) bool. A pixel that is never clear keeps its known dates.
    """
    blue, infrared = (np.where(known, values[..., bands.index(band)], np.nan) for band in (BLUE, NEAR_INFRARED))
    usual_blue, usual_infrared = _usual(blue), _usual(infrared)
    with np.errstate(invalid="ignore"):
        clouded = (blue > BRIGHT * usual_blue) | ((infrared < DARK * usual_infrared) & (blue <= usual_blue))
    clear = known & ~np.asarray(binary_dilation(clouded, np.ones((1, 3, 3), bool)), bool)
    return np.where(clear.any(0), clear, known)


def _usual(values: np.ndarray) -> np.ndarray:
    """(H,W) the USUAL percentile (nearest rank) of (T,H,W) over known dates; nan for a pixel without one."""
    known = np.isfinite(values)
    if not len(values):
        return np.full(values.shape[1:], np.nan)
    rank = np.maximum(np.ceil(USUAL / 100 * known.sum(0)).astype(int) - 1, 0)
    ranked = np.sort(np.where(known, values, np.inf), 0)
    return np.where(known.any(0), np.take_along_axis(ranked, rank[None], 0)[0], np.nan)


def window_mean(values: np.ndarray, known: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the known values in a square window around each pixel, on each date.

    Args:
      values: (T,H,W,C).
      known: (T,H,W).
      side: of the window in pixels, odd; beyond the border of the tile nothing is known.

    Returns:
      mean: (T,H,W,C) float64, 0 where the window holds no known value.
      known: (T,H,W), whether it holds one.
    """

    def box(image: np.ndarray) -> np.ndarray:
        return uniform_filter(image, side, mode="constant", axes=(1, 2)) * side**2

    count = np.rint(box(known.astype(np.float64)))
    total = np.stack([box(np.where(known, values[..., band], 0.0)) for band in range(values.shape[-1])], -1)
    some = count > 0
    return np.where(some[..., None], total / np.maximum(count, 1)[..., None], 0.0), some


def interpolate(dates: np.ndarray, values: np.ndarray, known: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Interpolates every pixel linearly between its known dates, and continues it constantly before the first and after the last.

    `numpy.interp` for pixels that are known on different dates.

    Args:
      dates: (T,) days, ascending.
      values: (T,H,W,C).
      known: (T,H,W).
      grid: (G,) days, ascending.

    Returns:
      (G,H,W,C) float32; nan for a pixel without a known date.
    """
    if not known.any():
        return np.full((len(grid), *values.shape[1:]), np.nan, np.float32)
    position = np.arange(len(dates))[:, None, None]
    before = np.maximum.accumulate(np.where(known, position, -1), 0)  # the last known date until each one
    after = np.minimum.accumulate(np.where(known, position, len(dates))[::-1], 0)[::-1]  # the first known date from each one
    found = np.empty((len(grid), *values.shape[1:]), np.float32)
    for index, day in enumerate(grid):
        start = int(np.searchsorted(dates, day, "right"))  # dates before it are not after the day
        left = before[start - 1] if start else np.full(known.shape[1:], -1)
        right = after[start] if start < len(dates) else np.full(known.shape[1:], len(dates))
        left, right = np.where(left < 0, right, left), np.where(right == len(dates), left, right)
        first, last = dates[left % len(dates)], dates[right % len(dates)]
        share = np.clip((day - first) / np.maximum(last - first, 1), 0, 1)[..., None]
        a, b = (np.take_along_axis(values, (at % len(dates))[None, ..., None], 0)[0] for at in (left, right))
        found[index] = (1 - share) * a + share * b
    return np.where(np.asarray(known.any(0))[..., None], found, np.nan)


def period_statistics(dates: np.ndarray, values: np.ndarray, known: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every pixel over the known dates of each period.

    A period without a known date has the mean that is interpolated between the middles of its neighbors, and the spread over all dates.

    Args:
      dates: (T,) days, ascending.
      values: (T,H,W,C).
      known: (T,H,W).
      edges: (G+1,) first day of each period, and the end of the last.

    Returns:
      mean and deviation, each (G,H,W,C) float32; nan for a pixel without a known date in any period.
    """
    periods = len(edges) - 1
    mean, deviation = (np.zeros((periods, *values.shape[1:])) for _ in range(2))
    some = np.zeros((periods, *known.shape[1:]), bool)
    for index, (start, end) in enumerate(zip(edges, edges[1:])):
        chosen = (dates >= start) & (dates < end)
        mean[index], deviation[index], some[index] = _moments(values[chosen], known[chosen])
    middles = (edges[:-1] + edges[1:]) / 2
    _, overall, _ = _moments(values, known)
    filled = interpolate(middles, mean, some, middles)
    spread = np.where(some[..., None], deviation, overall)
    return filled, np.where(np.isfinite(filled), spread, np.nan).astype(np.float32)


def _moments(values, known):
    """Mean and standard deviation (H,W,C) over known dates, 0 without one, and whether there is one (H,W)."""
    count = np.maximum(known.sum(0), 1)[..., None]
    mask = known[..., None]
    mean = np.where(mask, values, 0).sum(0) / count
    variance = np.where(mask, (values - mean) ** 2, 0).sum(0) / count
    return mean, np.sqrt(variance), known.any(0)


def normalised_differences(values: np.ndarray, bands: tuple[str, ...]) -> np.ndarray:
    """The INDICES of Sentinel-2 reflectance.

    Args:
      values: (...,C) proportional to reflectance, maybe nan.
      bands: names of the C bands.

    Returns:
      (...,4), from -1 to 1 where both bands are positive; 0 where their sum is not positive, as for noise around 0; nan where a band is nan.
    """
    found = []
    for first, second in INDICES.values():
        a, b = values[..., bands.index(first)], values[..., bands.index(second)]
        found.append(np.where(a + b > 0, (a - b) / np.where(a + b > 0, a + b, 1), np.where(np.isnan(a + b), np.nan, 0)))
    return np.clip(np.stack(found, -1), -1, 1)  # a negative band, which is noise, would give an index beyond its range
