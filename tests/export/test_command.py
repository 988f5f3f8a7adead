"""The command: what it writes and says, and how it refuses."""

import sys
import zipfile

import pytest

from omnisat_jax.cli.command import run_command
from omnisat_jax.export import __main__ as command, onnx_file
from tests.export.tiles import save_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"), "published")


def export(*arguments):
    return run_command(command.main, [str(argument) for argument in arguments])


def refusal(capsys, *arguments):
    """The one line on stderr of a command that fails."""
    assert export(*arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_it_writes_one_file_and_says_what_it_takes(folder, tmp_path, capsys):
    out = tmp_path / "model.zip"
    assert export(folder, "--format", "jax", "--out", out) == 0
    assert zipfile.is_zipfile(out) and [path.name for path in tmp_path.iterdir()] == ["model.zip"]
    said = capsys.readouterr().out
    assert f"written to {out}: {out.stat().st_size:,} bytes, 2 x 2 tokens per tile, any batch" in said


def test_no_such_model(tmp_path, capsys):
    said = refusal(capsys, tmp_path / "none", "--format", "jax", "--out", tmp_path / "out")
    assert "none: expected a folder of a trained model, found no such folder" in said


def test_nowhere_to_write(folder, tmp_path, capsys):
    said = refusal(capsys, folder, "--format", "jax", "--out", tmp_path / "none" / "out")
    assert "expected a file in a folder that exists, found no folder" in said
    assert "found a folder" in refusal(capsys, folder, "--format", "jax", "--out", tmp_path)


def test_a_window_that_the_model_does_not_take(folder, tmp_path, capsys):
    said = refusal(capsys, folder, "--format", "jax", "--out", tmp_path / "out", "--window", 3)
    assert "--window: expected 2 tokens per tile side" in said and not any(tmp_path.iterdir())


def test_a_missing_converter_is_named_with_its_environment(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(onnx_file.importlib.util, "find_spec", lambda name: None)
    said = refusal(capsys, folder, "--format", "onnx", "--out", tmp_path / "out")
    assert "needs jax2onnx, in an environment of its own" in said and "pip install omnisat-jax jax2onnx" in said


@pytest.mark.parametrize(("option", "value", "said"), [("--format", "tflite", "expected one of jax, onnx, found 'tflite'"), ("--window", "0", "a number of tokens from 1")])
def test_options_out_of_range(folder, tmp_path, capsys, option, value, said):
    options = {"--format": "jax", "--out": str(tmp_path / "out"), "--window": "2"} | {option: value}
    assert export(folder, *(part for pair in options.items() for part in pair)) == 1
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_the_console_script_names_what_is_missing(monkeypatch):
    from omnisat_jax import scripts

    monkeypatch.setattr(sys, "argv", ["omnisat-export", "--help"])
    assert scripts.export() == 0
