"""GeoTIFFs of a region: which files, bands and dates a sensor has, and what the files declare about their values.

Cutting training tiles (`data.tiles`) and predicting maps (`omnisat_jax.predict`) share these rules.
"""
