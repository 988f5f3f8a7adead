"""From a trained model to a map: windows of any region are read, predicted and blended, block by block.

`python -m omnisat_jax.predict` is the command, `Model.map` the same from Python. Imports go down this list:

    command            the command line
    ray_engine         the blocks of a map on processes of Ray
    run                one map from its inputs to its products
    plan               what will be done: sensors, dates, day 0, windows, checks of the radiometry
    memory             how much of it a map takes
    blocks             one block of the map as a pure function of its inputs
    embedding          the embeddings of one block
    reading            the measurements under a row of windows
    blending, grid     weights of windows; where windows, blocks and pixels lie
    folder             the files of a map: run.json and one file per block
    products           GeoTIFFs, styles, catalogue entries and parcels made of finished blocks

Nothing here needs orbax, grain, tensorflow-datasets or clu.
"""
