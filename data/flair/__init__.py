"""FLAIR #1 and #2: layout of the folders, reader and simulation."""
