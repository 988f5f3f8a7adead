"""Named grids of runs: rows x seeds x folds x label shares, and what they say together."""
