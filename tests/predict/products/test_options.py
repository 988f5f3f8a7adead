"""The options of the products, from a command line."""

import pathlib

import pytest

from omnisat_jax.cli.arguments import Parser
from omnisat_jax.errors import UserError
from omnisat_jax.predict.products.options import ProductOptions, add_arguments


def parse(*arguments):
    parser = Parser()
    add_arguments(parser)
    return ProductOptions.from_arguments(parser.parse_args(arguments))


def test_options():
    assert parse() == ProductOptions()
    found = parse("--parcels", "a.shp", "--parcels_out", "b.gpkg", "--polygons", "500")
    assert found == ProductOptions(pathlib.Path("a.shp"), pathlib.Path("b.gpkg"), 500.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parcels", "a.shp", "--parcels_out", "b.shp"], "suffix is one of .parquet, .gpkg, found '.shp'"),
        (["--polygons_out", "b.gpkg"], "expected --polygons beside it"),
        (["--polygons", "-1"], "0 m2 or more, found -1"),
        (["--polygons", "nan"], "0 m2 or more, found nan"),
        (["--parcels", "a.gpkg", "--parcels_out", "x/../a.gpkg"], "another file than --parcels"),
        (["--parcels", "a.gpkg", "--parcels_out", "b.gpkg", "--polygons", "1", "--polygons_out", "b.gpkg"], "another file than --parcels_out"),
    ],
)
def test_wrong_options_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        parse(*arguments)
