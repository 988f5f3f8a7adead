"""Reads the GeoTIFFs of a region: the files, bands and dates of each sensor, and what the files declare about their values.

`data.tiles`, which cuts training tiles, and `omnisat_jax.predict`, which makes maps, use the same rules.
"""
