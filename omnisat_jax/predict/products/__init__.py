"""What a finished map is delivered as.

Imports go down this list:

    finishing       `finish`: from the blocks of a map to all products, in one pass over the blocks
    embeddings      the embedding of each token (extra `cube` for Zarr, `vector` for GeoParquet), with the modules
                    embeddings_zarr, _table, _raster and _draft: one per format, and the file that they are made of
    parcels         the crop of each parcel
    polygons        the fields of the map as polygons
    catalog       STAC items of the map and its model
    rasters         cloud-optimized GeoTIFFs
    styles          QGIS styles
    writing         failures to write, as one sentence
    record          what run.json says about the products
    options         which products are made, and their command-line options
"""
