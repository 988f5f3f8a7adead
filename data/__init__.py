"""What knows a dataset: readers, simulations, preparation, verification, pictures, and the commands `python -m data.*`.

The rooms build on each other in one direction (tests/data/test_rooms.py):

reading                                      one interface for every raw dataset, and tools that all readers share
simulation                                   the generative model behind the simulated datasets
pastis, treesat, flair, tiles                one room per dataset: its reader and, where there is one, its simulation
preparation, verification                    raw folder -> records; checks and contents of raw folders and records
figures                                      a tile as a picture
prepare, verify, show, tiles.cut             the commands
"""

import omnisat_jax  # noqa: F401  first: `python -m` of a module here then ends in one sentence even if it is interrupted while importing
