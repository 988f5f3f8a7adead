"""Everything that is read from outside comes through here: names, folders, JSON, NumPy, GeoTIFF and HDF5 files, and what is written beside them.

Nothing in a file is believed: names are checked before they become paths, declared shapes are compared with expected ones before a number is read,
and whatever is wrong ends as a `DataError` that says where, expected, found and what to do.
"""
