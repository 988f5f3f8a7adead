"""The panoptic annotations of PASTIS, from labels and parcel numbers: INSTANCES, ZONES and HEATMAP.

Every parcel with a label, void ones included, is an instance. Its heat is a Gaussian around the center of its bounding box whose standard
deviations are a fraction of the height and width of the box (Garnot & Landrieu 2021, equation 6); a zone is the set of pixels at
which an instance is the hottest.
"""

import numpy as np
from scipy import ndimage

SPREAD = 0.3 / 1.7 / 3  # of a Gaussian, relative to a side of the box: the constant of the authors' code


def annotate_instances(labels: np.ndarray, parcels: np.ndarray) -> dict[str, np.ndarray]:
    """The panoptic annotations of one tile.

    Args:
      labels: (H, W) classes.
      parcels: (H, W) parcel numbers, 0 outside parcels.

    Returns:
      "INSTANCES" (H, W) int32, 1 to N in the order of the parcel numbers and 0 outside parcels; "ZONES" (H, W) int32, the number of
      the instance of each pixel, 0 without any; "HEATMAP" (H, W) float64 in [0, 1].
    """
    numbers, instances = np.unique(np.where(labels > 0, parcels, 0), return_inverse=True)
    instances = instances.reshape(labels.shape).astype(np.int32) + int(numbers[0] != 0)
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    nearest, zones = np.full(labels.shape, np.inf), np.zeros(labels.shape, np.int32)  # distances in standard deviations, squared and halved
    for number, box in enumerate(ndimage.find_objects(instances), 1):
        ends = [_sides(part, length) for part, length in zip(box, labels.shape)]
        (row, height), (column, width) = ((first + (last - first) // 2, last - first) for first, last in ends)
        distance = ((rows - row) / height) ** 2 / (2 * SPREAD**2) + ((columns - column) / width) ** 2 / (2 * SPREAD**2)
        zones[distance < nearest] = number
        nearest = np.minimum(nearest, distance)
    return {"INSTANCES": instances, "ZONES": zones, "HEATMAP": np.exp(-nearest)}


def _sides(part: slice, length: int) -> tuple[int, int]:
    """First and last pixel of a box along one axis, a pixel wider on both sides where the tile allows it."""
    return max(part.start - 1, 0), min(part.stop, length - 1)
