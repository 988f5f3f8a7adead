"""Original weights are converted to files of this package, which load as the same module."""

import pathlib

import jax
import numpy as np
import pytest

from omnisat_jax.cli.command import run_command
from omnisat_jax.interop import convert
from omnisat_jax.interop.networks import describe
from omnisat_jax.interop.torch_weights import load_omnisat, load_utae

HERE = pathlib.Path(__file__).parent
PATCH = {"s2": 4, "s1-asc": 4, "aerial": 40}


@pytest.mark.parametrize("network", ["utae", "omnisat"])
def test_round_trip(network, tmp_path, capsys):
    weights = HERE / f"{network}_tiny.weights.safetensors"
    if network == "utae":
        module, variables = load_utae(weights, n_head=4, d_model=32, d_k=4)
        options = ["--n_head=4", "--d_model=32", "--d_k=4"]
    else:
        module, variables = load_omnisat(weights, n_head=4, d_k=8, patch=PATCH)
        options = ["--n_head=4", "--d_k=8", "--patch", *(f"{name}={side}" for name, side in PATCH.items())]
    assert convert.main([network, str(weights), str(tmp_path / "out"), *options]) == 0
    assert "parameters written" in capsys.readouterr().out
    again, same = convert.load(tmp_path / "out")
    assert describe(again) == describe(module)
    jax.tree.map(np.testing.assert_array_equal, same, variables)


def test_mistakes_are_one_sentence(tmp_path, capsys):
    assert run_command(convert.main, ["utae", str(tmp_path / "no.safetensors"), str(tmp_path)]) == 1
    assert "expected a file of weights, found no such file" in capsys.readouterr().err
    weights = str(HERE / "omnisat_tiny.weights.safetensors")
    for wrong in ("s2:4", "s2=", "=4", "s2=²", "s2=-4"):
        assert run_command(convert.main, ["omnisat", weights, str(tmp_path), "--patch", wrong]) == 1
        assert f"expected NAME=PX, each name once, found {wrong!r}" in capsys.readouterr().err
    assert run_command(convert.main, ["omnisat", weights, str(tmp_path), "--patch", "s2=4", "s2=4"]) == 1
    assert "each name once" in capsys.readouterr().err


def names(value):
    """Every class of a description with its attributes."""
    if isinstance(value, dict):
        if "class" in value:
            yield value["class"], tuple(sorted(value.keys() - {"class"}))
        value = list(value.values())
    for item in value if isinstance(value, list) else []:
        yield from names(item)


def test_descriptions_keep_their_names_whatever_the_code_calls_its_classes():
    utae = load_utae(HERE / "utae_tiny.weights.safetensors", n_head=4, d_model=32, d_k=4)
    omnisat = load_omnisat(HERE / "omnisat_tiny.weights.safetensors", n_head=4, d_k=8, patch=PATCH)
    ltae = ("LTAE", ("attention_dropout", "dropout", "heads", "key_dim", "period", "width"))
    assert set(names(describe(utae[0]))) == {
        ("UTAESegmenter", ("faithful", "head_width", "ltae", "norm", "num_classes", "settings")),
        ("UTAE", ("border", "decoder_widths", "encoder_widths")),
        ltae,
    }
    assert set(names(describe(omnisat[0]))) == {
        ("PublishedOmniSat", ("encoders", "fusion")),
        ("PublishedSeriesEncoder", ("ltae", "normalise_input", "patch", "settings", "width")),
        ("PublishedImageEncoder", ("patch", "settings", "width")),
        ("PatchLTAE", ("input_widths", "output_widths")),
        ("PatchCNN", ("blocks",)),
        ltae,
    }
