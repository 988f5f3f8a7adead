"""The crops: phenology, leaves, radar behavior and 1 m texture of the 18 PASTIS classes and of everything between the fields.

Days count from 1 September of the year before harvest: 122 is 1 January, 242 is 1 May, 365 is the next 1 September. All values are
assumed unless a source is given; `targets.py` says what they were fitted to, `data/pastis/README.md` how well.

What is known about the sensors, and followed here:

- Green leaf area rises and falls with the calendar of each crop (days assumed, for central France).
  Winter cereals differ by one or two weeks, parcels of one crop as much: optics and radar confuse the same cereals.
- C-band VV of cereals falls in spring, as erect stems and, from heading on, ears attenuate the echo of the soil; VH rises with the broad
  leaves of rapeseed, corn and beet (Veloso et al. 2017; Vreugdenhil et al. 2018; Harfenmeister et al. 2019; Khabbazan et al. 2019).
  All cereals therefore share one radar behavior up to 0.4 dB.
- At 1.5 m, only trees, vegetable plots, tramlines and mown swaths show; rows of vines, 2 to 2.5 m apart, are hardly resolved.
"""

import dataclasses

import numpy as np

NAMES = (
    "background", "meadow", "soft winter wheat", "corn", "winter barley", "winter rapeseed", "spring barley",
    "sunflower", "grapevine", "beet", "winter triticale", "winter durum wheat", "fruits, vegetables, flowers",
    "potatoes", "leguminous fodder", "soybeans", "orchard", "mixed cereal", "sorghum",
)  # fmt: skip

# Share of parcels of classes 1 to 18, long-tailed as in PASTIS but less steep, so that a small demo contains every crop.
MIX = np.array([18, 13, 13, 6.5, 6, 4, 5, 6, 4, 3.5, 4, 5, 3, 4.5, 3.5, 3.5, 2.5, 2.5])
MIX = MIX / MIX.sum()


@dataclasses.dataclass(frozen=True)
class Radar:
    """C-band behavior of a canopy at full cover.

    Attributes:
      volume: its own scattering (VV, VH), linear sigma nought.
      attenuation: of the echo of the soil (VV, VH), dB, both ways.
      heading: additional attenuation by stems and ears after heading (VV, VH), dB.
      ridge: brighter VV of the soil between planting and harvest, dB.
    """

    volume: tuple[float, float]
    attenuation: tuple[float, float]
    heading: tuple[float, float] = (0.0, 0.0)
    ridge: float = 0.0


@dataclasses.dataclass(frozen=True)
class Crop:
    """How one cover behaves.

    Attributes:
      kind: "winter" (sown in autumn), "spring" (sown in spring), "cycles" (vegetables), "perennial" or "static".
      rise, fall: days at half of the spring growth and at half of the senescence.
      peak: maximum leaf area index.
      floor: leaf area index of perennials out of season, and of winter crops before spring growth.
      speed: days of the two transitions.
      emerge: day at which a winter crop appears.
      spread: standard deviation of the season between parcels, days.
      harvest: days from `fall` to harvest.
      straw: ripens to straw.
      bloom: day of full flowering; 0 = not visible.
      mowing: mean number of cuts.
      leaves: factors on `spectra.GREEN` in the visible, the near infrared and the short-wave infrared.
      radar: C-band behavior.
      texture: name of the 1 m pattern (`spot.py`).
    """

    kind: str
    rise: float = 0.0
    fall: float = 0.0
    peak: float = 0.0
    floor: float = 0.0
    speed: float = 14.0
    emerge: float = 0.0
    spread: float = 7.0
    harvest: float = 12.0
    straw: bool = False
    bloom: float = 0.0
    mowing: float = 0.0
    leaves: tuple[float, float, float] = (1.0, 1.0, 1.0)
    radar: Radar = Radar((0.0, 0.0), (0.0, 0.0))
    texture: str = "drilled"


def _cereal(rise: float, fall: float, peak: float, volume_db: float = 0.0, leaves: tuple[float, float, float] = (1.0, 0.94, 0.96)) -> Crop:
    """A winter cereal; volume_db is its departure from the volume scattering that all cereals share."""
    factor = 10 ** (volume_db / 10)
    radar = Radar((0.019 * factor, 0.0052 * factor), (8.5, 5.5), heading=(4.0, 2.0))
    emerge = 65 + 0.5 * (rise - 196)  # those that rise earlier were sown earlier
    return Crop("winter", rise, fall, peak, 0.65, emerge=emerge, harvest=16, straw=True, leaves=leaves, radar=radar, texture="tramlines")


BROAD = Radar((0.140, 0.030), (4.5, 5.5))
GRASS = Radar((0.054, 0.0110), (3.4, 2.4))
TREES = Radar((0.102, 0.0235), (2.5, 2.5))

CROPS = {
    1: Crop("perennial", 185, 425, 3.6, 1.9, 28, spread=10, mowing=1.6, leaves=(1.05, 0.95, 1.00), radar=GRASS, texture="grass"),
    2: _cereal(196, 303, 4.8),
    3: Crop("spring", 285, 385, 4.8, spread=11, harvest=14, leaves=(1.00, 0.90, 0.92), radar=Radar((0.115, 0.028), (4.0, 5.0)), texture="rows"),
    4: dataclasses.replace(_cereal(178, 274, 4.5, 0.2), emerge=50, floor=0.8),
    5: Crop("winter", 168, 290, 4.8, 1.3, emerge=36, harvest=14, straw=True, bloom=228, leaves=(0.95, 1.06, 0.95), radar=Radar((0.12, 0.036), (4.0, 5.0)),
            texture="tramlines"),
    6: dataclasses.replace(_cereal(219, 305, 4.2, -0.1), kind="spring", floor=0.0),
    7: Crop("spring", 272, 350, 3.4, spread=11, harvest=18, straw=True, bloom=312, leaves=(1.06, 1.02, 1.04), radar=Radar((0.165, 0.0255), (4.5, 4.5)),
            texture="rows"),
    8: Crop("perennial", 243, 415, 1.5, 0.35, 20, spread=12, leaves=(1.02, 0.95, 1.01), radar=Radar((0.100, 0.0220), (2.3, 2.3)), texture="vines"),
    9: Crop("spring", 268, 432, 4.4, spread=11, harvest=6, leaves=(0.92, 1.10, 0.88), radar=Radar((0.210, 0.037), (5.0, 6.0)), texture="rows"),
    10: _cereal(190, 299, 4.6, 0.2, (0.95, 0.97, 0.92)),
    11: _cereal(183, 288, 4.3, -0.2, (1.08, 0.90, 1.00)),
    12: Crop("cycles", 0, 0, 2.6, 0.15, spread=11, leaves=(1.00, 1.00, 0.97), radar=BROAD, texture="beds"),
    13: Crop("spring", 270, 368, 4.2, speed=11, spread=11, harvest=22, leaves=(0.93, 1.03, 0.84),
             radar=dataclasses.replace(BROAD, ridge=1.0), texture="rows"),
    14: Crop("perennial", 190, 425, 3.6, 1.2, 26, spread=10, mowing=2.8, leaves=(0.94, 1.06, 0.96), radar=Radar((0.080, 0.0170), (3.6, 3.4)),
             texture="swaths"),
    15: Crop("spring", 278, 380, 4.4, spread=11, harvest=14, straw=True, leaves=(0.96, 1.17, 1.02), radar=Radar((0.095, 0.0200), (4.2, 4.5)),
             texture="drilled"),
    16: Crop("perennial", 225, 420, 2.6, 1.1, 20, spread=14, leaves=(0.98, 0.94, 0.97), radar=TREES, texture="crowns"),
    17: _cereal(192, 300, 4.4, 0.1),
    18: Crop("spring", 299, 394, 4.3, spread=11, harvest=14, leaves=(1.02, 0.91, 0.95), radar=Radar((0.105, 0.026), (4.0, 4.8)), texture="drilled"),
}  # fmt: skip

# What grows between two crops: mustard, phacelia, volunteers of the last crop.
CATCH = Crop("spring", peak=3.2, leaves=(1.0, 1.02, 0.97), radar=Radar((0.10, 0.026), (3.0, 3.5)))

OTHER = {
    "wood": Crop("perennial", 222, 425, 4.8, 2.2, 20, leaves=(1.0, 1.0, 1.0), radar=Radar((0.13, 0.040), (12.0, 12.0)), texture="canopy"),
    "hedge": Crop("perennial", 215, 422, 3.4, 1.5, 22, radar=Radar((0.11, 0.030), (6.0, 6.0)), texture="canopy"),
    "verge": Crop("perennial", 195, 415, 2.4, 1.4, 28, radar=GRASS, texture="grass"),
    "fallow": Crop("perennial", 195, 385, 2.6, 1.0, 35, spread=14, radar=GRASS, texture="grass"),
    "garden": Crop("perennial", 205, 420, 2.8, 1.4, 25, radar=Radar((0.15, 0.032), (3.0, 3.0)), texture="canopy"),
    "roof": Crop("static", radar=Radar((0.50, 0.055), (0.0, 0.0)), texture="roofs"),
    "road": Crop("static", radar=Radar((0.010, 0.0012), (0.0, 0.0)), texture="flat"),
    "water": Crop("static", radar=Radar((0.006, 0.0006), (0.0, 0.0)), texture="flat"),
}
WOODY = ("wood", "hedge", "garden")  # covers with the spectrum of trees


def crop_of(cover: str) -> Crop:
    """The behavior of a land cover by name."""
    return OTHER[cover] if cover in OTHER else CROPS[NAMES.index(cover)]
