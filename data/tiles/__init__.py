"""Tiles of your own: cut from rasters of a region (`cutting`), or written by any program in the form of README.md (`reader`)."""
