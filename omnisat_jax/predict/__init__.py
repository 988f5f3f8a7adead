"""From a trained model to a map: windows of any region are read, predicted and blended, block by block.

`python -m omnisat_jax.predict` is the command, `omnisat_jax.map_region` the same from Python. Imports go down this list:

    command, inputs    the command line, and its options for inputs
    ray_engine         the blocks of a map on processes of Ray
    run                one map from its inputs to its products
    dry_run            what a map would be made of, printed
    plan               what will be done: sensors, dates, day 0, windows, checks of the radiometry
    memory             how much of it a map takes
    blocks             one block of the map as a pure function of its inputs
    embedding          the embeddings of one block
    placing            where a map lies
    radiometry, survey are the numbers those that the model knows?
    bad_files          files whose pixels cannot be read
    reading            the measurements under a row of windows
    region, stac, cube the inputs: GeoTIFFs, files of STAC items, data cubes
    sensors            measurements as the model sees them
    area, vector       the area of interest; polygons in files
    blending, grid     weights of windows; where windows, blocks and pixels lie
    folder             the files of a map: run.json and one file per block
    products           GeoTIFFs, styles, catalog entries and parcels made of finished blocks

Nothing here needs orbax, grain, tensorflow-datasets or clu.
"""
