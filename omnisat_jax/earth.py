"""The shape of the Earth, as far as distances of a few kilometers need it."""

EARTH_RADIUS = 6_371_000.0  # m, the mean radius
