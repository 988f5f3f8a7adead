"""Reflectance of pure materials in the ten Sentinel-2 bands of 10 and 20 m.

Order of the bands: B02 B03 B04 B05 B06 B07 B08 B8A B11 B12. The values are assumed, of the size that PROSAIL (Jacquemoud et al. 2009)
gives for closed canopies and that bare soils, roofs and water have in the clear frames of the real tiles named in `targets.py`.
"""

import numpy as np

# A closed canopy of healthy leaves; `crops.Crop.leaves` scales it.
GREEN = np.array([0.022, 0.055, 0.024, 0.095, 0.320, 0.410, 0.440, 0.460, 0.195, 0.085])
DRY = np.array([0.075, 0.115, 0.160, 0.200, 0.240, 0.270, 0.300, 0.320, 0.360, 0.240])  # ripe straw
FLOWER = np.array([0.050, 0.170, 0.150, 0.210, 0.330, 0.380, 0.410, 0.430, 0.240, 0.130])  # rapeseed and sunflower in bloom
WOOD = np.array([0.018, 0.038, 0.020, 0.070, 0.220, 0.270, 0.290, 0.310, 0.140, 0.060])

# Dry bare soils: chalky, brown loam, dark clay. Regions have their own shares of them.
SOILS = np.array([
    [0.120, 0.165, 0.225, 0.250, 0.270, 0.290, 0.310, 0.325, 0.385, 0.340],
    [0.076, 0.113, 0.163, 0.188, 0.208, 0.228, 0.248, 0.263, 0.330, 0.285],
    [0.062, 0.087, 0.120, 0.140, 0.155, 0.170, 0.187, 0.202, 0.258, 0.225],
])  # fmt: skip
STATIC = {
    "roof": np.array([0.090, 0.110, 0.150, 0.165, 0.180, 0.195, 0.210, 0.215, 0.250, 0.230]),
    "road": np.array([0.095, 0.105, 0.115, 0.125, 0.130, 0.140, 0.150, 0.155, 0.180, 0.165]),
    "water": np.array([0.042, 0.046, 0.032, 0.022, 0.018, 0.016, 0.014, 0.012, 0.008, 0.006]),
}
CLOUD = np.array([0.72, 0.70, 0.69, 0.69, 0.70, 0.71, 0.72, 0.72, 0.50, 0.38])
# Thin haze scatters short waves most.
HAZE = np.array([1.00, 0.80, 0.62, 0.56, 0.50, 0.45, 0.40, 0.38, 0.12, 0.07])

# What differs between the leaves of two parcels of one crop: pigments (visible), cell structure (near infrared), water (short-wave infrared).
LEAF_GROUPS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
