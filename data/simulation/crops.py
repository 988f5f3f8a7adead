"""The crops: phenology, spectra, radar structure and texture of the 18 PASTIS classes.

Assumptions, and which sensor can therefore separate what (days count from 1 September):

- Green leaf area follows a double logistic: emergence, plateau, senescence; each parcel is shifted by about a week and
  scaled by about 15 %, each region by up to ten days. Cut grass and fodder lose leaves at random mowing dates.
- Optical signatures: rapeseed and sunflower flower yellow; winter barley ripens three weeks before wheat; summer crops
  differ in timing. Wheat, durum wheat, triticale and mixed cereal share one phenology: **Sentinel-2 confuses them**,
  as well as corn with sorghum, and soybeans with potatoes and beet.
- Radar (water-cloud model: canopy volume + attenuated soil) sees structure: erect ears attenuate VV by an amount that
  differs between cereals, large leaves scatter VH, ridges brighten VV. **Sentinel-1 separates those groups**,
  but not the pairs of cereals (wheat, mixed cereal), nor woody crops from each other.
- Vines, orchards, and fruit and vegetables are given the same sparse, half-shaded canopy at 10 m in optics and radar:
  **only 1 m texture** (vine rows, crown lattices, beds) **separates them**. Texture also separates meadow from fodder.
"""

import dataclasses
from typing import Any

import numpy as np

NAMES = (
    "background", "meadow", "soft winter wheat", "corn", "winter barley", "winter rapeseed", "spring barley",
    "sunflower", "grapevine", "beet", "winter triticale", "winter durum wheat", "fruits, vegetables, flowers",
    "potatoes", "leguminous fodder", "soybeans", "orchard", "mixed cereal", "sorghum",
)  # fmt: skip

# Share of parcels, long-tailed as in PASTIS but less steep, so that a small demo contains every crop.
MIX = np.array([18, 12, 11, 6.5, 6, 4, 5, 6, 4, 3.5, 4, 5, 3, 4.5, 3.5, 3.5, 2.5, 2.5])
MIX = MIX / MIX.sum()

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
SPECTRA = {
    "soil": (0.080, 0.110, 0.150, 0.180, 0.200, 0.220, 0.240, 0.260, 0.330, 0.290),
    "green": (0.025, 0.060, 0.030, 0.100, 0.320, 0.400, 0.430, 0.450, 0.200, 0.090),
    "dry": (0.075, 0.115, 0.160, 0.200, 0.240, 0.270, 0.300, 0.320, 0.360, 0.240),
    "flower": (0.060, 0.170, 0.150, 0.210, 0.330, 0.380, 0.410, 0.430, 0.240, 0.130),
    "wood": (0.020, 0.040, 0.022, 0.070, 0.210, 0.260, 0.280, 0.300, 0.140, 0.060),
    "built": (0.120, 0.140, 0.160, 0.180, 0.190, 0.200, 0.220, 0.220, 0.260, 0.240),
    "water": (0.050, 0.045, 0.030, 0.022, 0.018, 0.016, 0.014, 0.012, 0.008, 0.006),
}
SPECTRA = {name: np.array(values) for name, values in SPECTRA.items()}


@dataclasses.dataclass(frozen=True)
class Crop:
    """How one cover behaves.

    Attributes:
      rise, fall: days at half emergence and half senescence.
      speed: days of the two transitions.
      peak: maximum leaf area index.
      floor: leaf area index outside the season.
      bloom: day of full flowering; 0 = not visible.
      mowing: mean number of cuts.
      volume: canopy scattering (VV, VH), linear at full cover.
      attenuation: optical depth of the canopy for the echo of the soil (VV, VH) at full cover.
      ridge: dB added to bare-soil VV after planting (ridges, beds).
      texture: name of the 1 m pattern.
    """

    rise: float
    fall: float
    speed: float = 14.0
    peak: float = 4.0
    floor: float = 0.15
    bloom: float = 0.0
    mowing: float = 0.0
    volume: tuple[float, float] = (0.07, 0.014)
    attenuation: tuple[float, float] = (0.9, 0.9)
    ridge: float = 0.0
    texture: str = "drilled"


def _cereal(volume: tuple[float, float], attenuation: tuple[float, float]) -> Crop:
    return Crop(195, 300, peak=4.5, floor=0.5, volume=volume, attenuation=attenuation, texture="tramlines")


_WOODY: dict[str, Any] = dict(rise=230, fall=405, speed=20, peak=1.6, floor=0.6, volume=(0.10, 0.024), attenuation=(0.6, 0.6))

CROPS = {
    1: Crop(170, 420, 30, 3.2, 1.2, mowing=1.6, volume=(0.065, 0.012), attenuation=(0.5, 0.5), texture="grass"),
    2: _cereal((0.028, 0.0060), (1.9, 0.9)),
    3: Crop(285, 380, peak=4.8, volume=(0.120, 0.030), attenuation=(1.0, 1.2), texture="rows"),
    4: Crop(185, 277, peak=4.2, floor=0.5, volume=(0.030, 0.0095), attenuation=(1.6, 0.8), texture="tramlines"),
    5: Crop(165, 290, peak=4.6, floor=0.9, bloom=230, volume=(0.130, 0.034), attenuation=(0.8, 1.0), texture="tramlines"),
    6: Crop(222, 305, peak=4.0, volume=(0.032, 0.0085), attenuation=(1.6, 0.8), texture="tramlines"),
    7: Crop(272, 350, peak=3.4, bloom=312, volume=(0.140, 0.026), attenuation=(0.9, 0.9), texture="rows"),
    8: Crop(**_WOODY, texture="vines"),
    9: Crop(268, 415, peak=4.4, volume=(0.150, 0.034), attenuation=(0.9, 1.2), texture="rows"),
    10: _cereal((0.048, 0.0105), (1.2, 0.8)),
    11: _cereal((0.036, 0.0120), (0.8, 0.5)),
    12: Crop(**_WOODY, texture="beds"),
    13: Crop(270, 395, peak=4.2, volume=(0.115, 0.024), attenuation=(0.8, 0.9), ridge=3.5, texture="rows"),
    14: Crop(175, 420, 28, 3.3, 1.0, mowing=2.6, volume=(0.075, 0.015), attenuation=(0.5, 0.6), texture="swaths"),
    15: Crop(272, 395, peak=4.3, volume=(0.080, 0.016), attenuation=(0.7, 0.8), texture="drilled"),
    16: Crop(**_WOODY, texture="crowns"),
    17: _cereal((0.030, 0.0068), (1.7, 0.9)),
    18: Crop(288, 384, peak=4.5, volume=(0.085, 0.018), attenuation=(0.8, 0.9), texture="drilled"),
}  # fmt: skip

OTHER = {
    "wood": Crop(215, 420, 20, 4.8, 2.2, volume=(0.16, 0.045), attenuation=(2.5, 2.5), texture="canopy"),
    "built": Crop(0, 1, peak=0.2, floor=0.2, volume=(0.45, 0.05), attenuation=(0.1, 0.1), texture="roofs"),
    "water": Crop(0, 1, peak=0.0, floor=0.0, texture="flat"),
    "fallow": Crop(190, 380, 35, 2.0, 0.8, texture="grass"),
    "border": Crop(200, 415, 25, 2.6, 1.1, volume=(0.10, 0.025), texture="canopy"),
}


def crop_of(cover: str) -> Crop:
    """The behaviour of a land cover by name."""
    return OTHER[cover] if cover in OTHER else CROPS[NAMES.index(cover)]


@dataclasses.dataclass(frozen=True)
class Growth:
    """The season of one parcel: everything random about it, drawn once and seen by every sensor.

    Attributes:
      crop: its behaviour.
      cover: name of the land cover.
      shift: of the season, days.
      vigour: factor on the leaf area.
      cuts: days of mowing.
      soil: factor on the brightness of the soil.
      wet: how strongly the soil follows moisture.
      structure: factor on canopy scattering.
    """

    crop: Crop
    cover: str
    shift: float
    vigour: float
    cuts: tuple[float, ...]
    soil: float
    wet: float
    structure: float

    def leaf_area(self, day: np.ndarray) -> np.ndarray:
        """Green leaf area index (T,) on days (T,)."""
        crop = self.crop
        day = np.asarray(day, float) - self.shift

        def rise(at: float) -> np.ndarray:
            return 1 / (1 + np.exp(-(day - at) / (crop.speed / 2)))

        # Late crops of the previous year are still standing in autumn.
        season = rise(crop.rise) - rise(crop.fall)
        before = rise(crop.rise - 365) - rise(crop.fall - 365)
        area = crop.floor + (crop.peak * self.vigour - crop.floor) * np.clip(season + before, 0, 1)
        for cut in self.cuts:
            since = day - cut
            area = area * np.where(since > 0, 1 - 0.75 * np.exp(-np.maximum(since, 0) / 22), 1)
        return np.maximum(area, 0)

    def dryness(self, day: np.ndarray) -> np.ndarray:
        """Share of the canopy that is ripe straw (T,) on days (T,): stays about three weeks after senescence, then harvest."""
        crop = self.crop
        if crop.fall > 400 or crop.peak < 0.5:
            return np.zeros(len(day))
        since = np.asarray(day, float) - self.shift - crop.fall
        return np.exp(-0.5 * ((since - 8) / 12) ** 2) * 0.8

    def bloom(self, day: np.ndarray) -> np.ndarray:
        """Flower cover (T,) on days (T,)."""
        if not self.crop.bloom:
            return np.zeros(len(day))
        return 0.7 * np.exp(-0.5 * ((np.asarray(day, float) - self.shift - self.crop.bloom) / 9) ** 2)


def grow(rng: np.random.Generator, cover: str, region_shift: float) -> Growth:
    """Draws the season of one parcel.

    Args:
      rng: of the tile.
      cover: name of the land cover.
      region_shift: shift of the season of the region, days.
    """
    crop = crop_of(cover)
    cuts = tuple(np.sort(rng.uniform(235, 390, rng.poisson(crop.mowing)))) if crop.mowing else ()
    return Growth(
        crop,
        cover,
        shift=region_shift + rng.normal(0, 7),
        vigour=float(np.exp(rng.normal(0, 0.15))),
        cuts=cuts,
        soil=float(np.exp(rng.normal(0, 0.13))),
        wet=float(rng.uniform(0.6, 1.4)),
        structure=float(np.exp(rng.normal(0, 0.10))),
    )
