"""Reading and writing of external files: names, folders, JSON, NumPy, GeoTIFF, HDF5 and safetensors.

File contents are never trusted. Names are checked before they become paths, and declared shapes are compared with the expected ones before any
number is read. Every problem ends as a `DataError` that says where it is, what was expected, what was found and what to do.
"""
