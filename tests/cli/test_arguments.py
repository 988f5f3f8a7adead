"""Every mistake in a command line is one sentence, with the nearest spelling."""

import importlib

import pytest

from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError


def parser():
    found = Parser(prog="python -m thing")
    found.add_argument("dataset", choices=("pastis", "treesat"))
    found.add_argument("--size", type=int)
    found.add_argument("--share", type=float)
    found.add_argument("--labels", required=True)
    return found


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("pastis --lables x", "--lables: expected an option of this command, found another word. Did you mean --labels?"),
        ("pastis --labels x --sze=3", "--sze: expected an option of this command, found another word. Did you mean --size?"),
        ("pastis --labels x --qqqqq", "--qqqqq: expected an option of this command, found another word;"),
        ("pastsi --labels x", "dataset: expected one of pastis, treesat, found 'pastsi'. Did you mean pastis?"),
        ("pastis --labels x --size 1.5", "--size: expected a whole number, found '1.5'"),
        ("pastis --labels x --share half", "--share: expected a number, found 'half'"),
        ("pastis", "the following arguments are required: --labels"),
        ("pastis --labels x more", "unrecognized arguments: more"),
        ("pastis --labels", "--labels: expected one argument"),
        ("pastis --labels x --s 3", "ambiguous option: --s could match --size, --share"),
        ("pastis --lables\x1b[2J x", "--lables\\x1b[2J: expected an option"),
    ],
)
def test_mistakes_are_one_sentence(words, text):
    with pytest.raises(UserError) as raised:
        parser().parse_args(words.split(" "))
    assert str(raised.value).startswith(text) and str(raised.value).endswith("; python -m thing --help explains all options")


def test_abbreviations_and_words_after_two_dashes_are_accepted():
    assert parser().parse_args(["--lab", "x", "--", "pastis"]).labels == "x"
    assert parser().parse_args(["--labels=--x", "pastis"]).labels == "--x"


def test_options_of_subcommands_are_known():
    whole = Parser(prog="p")
    one = whole.add_subparsers(required=True).add_parser("one")
    one.add_argument("--width")
    assert whole.parse_args(["one", "--width=3"]).width == "3"
    with pytest.raises(UserError, match="--widht: .* Did you mean --width"):
        whole.parse_args(["one", "--widht=3"])


@pytest.mark.parametrize(
    ("module", "words", "text"),
    [
        ("omnisat_jax.publish", ["x", "--licence", "mit"], "Did you mean --license?"),
        ("omnisat_jax.report.__main__", [], "required: folder"),
        ("omnisat_jax.report.folds", ["a", "--besides", "b"], "Did you mean --beside?"),
        ("omnisat_jax.interop.convert", ["utea", "a", "b"], "Did you mean utae?"),
        ("data.prepare", ["pastsi", "--raw", "a", "--out", "b"], "Did you mean pastis?"),
        ("data.show", ["pastis", "--rwa", "a", "--tile", "b"], "Did you mean --raw?"),
        ("data.verify", ["pastis"], "one of the arguments --raw --prepared is required"),
        ("data.tiles.cut", ["--lables", "a"], "Did you mean --labels?"),
        ("benchmarks.checksums", ["--repeat=x"], "--repeats: expected a whole number, found 'x'"),
    ],
)
def test_commands_print_one_line(module, words, text, capsys):
    assert run_command(importlib.import_module(module).main, words) == 1
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and text in err and err.count("\n") == 1 and not out and "usage" not in err
