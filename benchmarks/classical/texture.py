"""Texture of a very high resolution image for each coarser label pixel.

Letters: H W label pixels, h w image pixels, C bands, S scales, O orientations.
"""

import numpy as np
from scipy import fft
from scipy.ndimage import sobel, uniform_filter

WAVELENGTHS = (2.5, 4.0, 7.0, 12.0)  # image pixels; at 1 m: rows of vines and vegetables, tree rows, orchards
ORIENTATIONS = 6  # over 180 degrees
BANDWIDTH = 0.55  # of a log-Gabor filter: the ratio of its deviation to its center, about two octaves
WINDOW = 3  # label pixels per side of the wider of two windows
_SMALL = 1e-6  # against the logarithm of 0


def texture_features(image: np.ndarray, side: int) -> np.ndarray:
    """Describes brightness and texture around each label pixel, in the pixel itself and in a window of WINDOW pixels.

    Args:
      image: (h,w,C), h a multiple of `side` and w = h, without unknown values.
      side: of the label pixels, H = W.

    Returns:
      (H,W,F) float32: mean and standard deviation of each band; logarithms of the gradient energy and of the energy of log-Gabor filters per
      scale (the strongest, mean and weakest orientation); the coherence of the gradients, 0 without a direction, 1 for parallel rows.
    """
    image = image.astype(np.float64)
    block = image.shape[0] // side
    grey = image.mean(-1)
    across, down = sobel(grey, 1) / 8, sobel(grey, 0) / 8
    tensor = np.stack([across**2, down**2, across * down], -1)
    maps = np.concatenate([image, image**2, tensor, gabor_energies(grey)], -1)
    per_pixel = maps.reshape(side, block, side, block, -1).mean((1, 3))
    wider = uniform_filter(per_pixel, WINDOW, mode="nearest", axes=(0, 1)) if side >= WINDOW else per_pixel
    return np.concatenate([_describe(means, image.shape[-1]) for means in (per_pixel, wider)], -1).astype(np.float32)


def _describe(means: np.ndarray, bands: int) -> np.ndarray:
    """Features (H,W,F) from window means of the maps of `texture_features`."""
    level, square, tensor, energies = np.split(means, [bands, 2 * bands, 2 * bands + 3], -1)
    deviation = np.sqrt(np.maximum(square - level**2, 0))
    xx, yy, xy = np.moveaxis(tensor, -1, 0)
    energy = xx + yy
    coherence = np.sqrt((xx - yy) ** 2 + 4 * xy**2) / np.maximum(energy, _SMALL)
    by_scale = energies.reshape(*energies.shape[:-1], len(WAVELENGTHS), ORIENTATIONS)
    ordered = np.concatenate([by_scale.max(-1), by_scale.mean(-1), by_scale.min(-1)], -1)
    return np.concatenate([level, deviation, np.log(np.concatenate([energy[..., None], ordered], -1) + _SMALL), coherence[..., None]], -1)


def gabor_energies(grey: np.ndarray) -> np.ndarray:
    """Squared magnitudes of log-Gabor filters (Field, 1987) of each wavelength and orientation; even and odd phase together.

    Args:
      grey: (h,w). It is continued as a mirror image by the longest wavelength, so that opposite borders do not meet.

    Returns:
      (h,w,S*O), scales outermost.
    """
    margin = min(2 * int(max(WAVELENGTHS)), *(length - 1 for length in grey.shape))
    padded = np.pad(grey - grey.mean(), margin, mode="reflect")
    spectrum = fft.fft2(padded)
    v, u = np.meshgrid(*(fft.fftfreq(length) for length in padded.shape), indexing="ij")
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    radius[0, 0] = 1.0
    inside = tuple(slice(margin, margin + length) for length in grey.shape)
    found = []
    for wavelength in WAVELENGTHS:
        radial = np.exp(-(np.log(radius * wavelength) ** 2) / (2 * np.log(BANDWIDTH) ** 2))
        radial[0, 0] = 0.0
        for index in range(ORIENTATIONS):
            distance = angle - np.pi * index / ORIENTATIONS
            distance = np.abs(np.arctan2(np.sin(distance), np.cos(distance)))
            # Half a plane of frequencies, so that the response is complex: its magnitude is that of both phases.
            angular = np.exp(-(distance**2) / (2 * (np.pi / ORIENTATIONS / 1.5) ** 2))
            found.append(np.abs(np.asarray(fft.ifft2(spectrum * radial * angular))[inside]) ** 2)
    return np.stack(found, -1)
