"""What a finished map is delivered as.

Imports go down this list:

    finishing       `finish`: from the blocks of a map to all products, in one pass over the blocks
    parcels         the crop of each parcel
    polygons        the fields of the map as polygons
    vector          reading and writing of polygons (extra `vector`)
    catalogue       STAC items of the map and its model
    rasters         cloud-optimised GeoTIFFs
    styles          QGIS styles
    record          what run.json says about the products
    options         which products are made, and their command-line options
"""
