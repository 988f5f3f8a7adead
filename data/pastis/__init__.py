"""PASTIS, PASTIS-R and PASTIS-HD: reader and simulation."""
