"""Studies: named grids of runs (rows x seeds x folds x label shares), how they are run, and what their results show together."""
