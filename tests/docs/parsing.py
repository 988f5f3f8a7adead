"""Parses commands with the parsers of their programs, and runs none of them."""

import contextlib
import importlib
import importlib.util
import io
import pathlib
import re
import sys
import tomllib
from collections.abc import Iterator

from absl import flags
from ml_collections import config_flags  # noqa: F401  defines flags of its own when it is imported

import launch
from omnisat_jax.aot.topology import parse_topology
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.config import schema
from omnisat_jax.experiment.cross_validation import fold_numbers
from omnisat_jax.study import grid
from omnisat_jax.train.timing import parse_profile
from tests.conftest import ROOT

DOTS = "..."  # arguments that a page leaves out
# Words of pages that stand for one of several values, and one that can be parsed.
PLACEHOLDERS = {r"^DATASET$": "pastis", r"(?<=configs/pastis\.py:)(hd,)?ROW$": r"\1utae", r"(?<=gs://)BUCKET": "bucket", r"(?<==)[A-Z]$": "2"}
PARSE = ("parse_args", "parse_known_args", "parse_intermixed_args")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENT = re.compile(r"(\.|[A-Za-z][\w-]*)(?:\[([\w,-]+)\])?(?:[=<>]=[\d.]+)?")
OTHERS = ("jax2onnx",)  # packages of pages that no extra installs
TOOLS = ("build", "pip", "pytest", "sphinx", "twine", "venv")  # modules of `python -m` that are not of this project


class Mistake(Exception):
    """A command that its program would refuse."""


class Parsed(Exception):
    """Ends a program when its arguments have been parsed."""


def check(program: str, words: list[str], *, whole: bool, made: tuple[str, ...] = ()) -> None:
    """Parses a command.

    Args:
      program: "python", "pip" or "omnisat-...".
      words: its arguments.
      whole: whether required arguments must be there.
      made: files that the page tells its reader to write.

    Raises:
      Mistake: the command would not get beyond its arguments.
    """
    for pattern, value in PLACEHOLDERS.items():
        words = [re.sub(pattern, value, word) for word in words]
    # Only as a value of its own does "..." stand for one argument.
    left_out = [place for place, word in enumerate(words) if word == DOTS and not words[place - 1].startswith("-")]
    words = [word for place, word in enumerate(words) if place not in left_out]
    whole = whole and not left_out
    if program == "pip":
        _check_pip(words)
    elif program.startswith("omnisat-"):
        _check_module(_module_of(program), words, whole)
    elif words[:1] == ["-m"]:
        _check_python_module(words[1], words[2:], whole)
    elif words[:1] == ["launch.py"]:
        check_launch(words[1:], whole=whole)
    elif words and words[0] not in made and not (ROOT / words[0]).is_file():
        raise Mistake(f"no file {words[0]}")


def _module_of(script):
    """The module of a console script, which its docstring names."""
    target = PROJECT["scripts"].get(script)
    if target is None:
        raise Mistake(f"{script}: expected one of {', '.join(PROJECT['scripts'])}")
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function).__doc__.split("python -m ")[1].rstrip(".\n ")


def _check_python_module(name, words, whole):
    if name.partition(".")[0] in ("omnisat_jax", "data", "benchmarks", "tests"):
        _check_module(name, words, whole)
    elif name not in TOOLS:
        raise Mistake(f"python -m {name}: neither of this project nor one of {', '.join(TOOLS)}")
    elif name in ("pytest", "sphinx"):
        for word in words:
            if word.startswith(("tests/", "docs")) and "_build" not in word and not (ROOT / word).exists():
                raise Mistake(f"no file {word}")


def _check_pip(words):
    command, *words = words
    if command != "install":
        raise Mistake(f"pip {command}")
    for option, word in zip(["", *words], words):
        if option in ("-r", "-c"):
            if not (ROOT / word).is_file():
                raise Mistake(f"no file {word}")
        elif not word.startswith("-"):
            _check_requirement(word)


def _check_requirement(word):
    match = REQUIREMENT.fullmatch(word)
    if not match:
        raise Mistake(f"pip install {word}: not a requirement")
    name, extras = match[1], set(filter(None, (match[2] or "").split(",")))
    if name in (".", PROJECT["name"]):
        unknown = extras - set(PROJECT["optional-dependencies"])
        if unknown:
            raise Mistake(f"pip install {word}: no extra {', '.join(unknown)}")
        return
    known = [*PROJECT["dependencies"], *sum(PROJECT["optional-dependencies"].values(), [])]
    same = [re.match(r"([\w-]+)(?:\[([\w,-]+)\])?", each) for each in known]
    if name not in (*OTHERS, *(each[1] for each in same if each)) or any(extra not in {each[2] for each in same if each} for extra in extras):
        raise Mistake(f"pip install {word}: not a requirement of this project")


def _check_module(name, words, whole):
    try:
        module = _program(name)
    except ModuleNotFoundError as error:
        raise Mistake(f"python -m {name}: {error}") from None
    with parsing_only(whole) as parsers, contextlib.redirect_stdout(io.StringIO()):
        try:
            module.main(words)
        except Parsed:
            return
        except SystemExit as error:
            if not error.code and "--help" in words:
                return
            raise Mistake(f"python -m {name}: ended with {error.code}") from None
        except Exception as error:  # of the program
            raise Mistake(f"{type(error).__name__}: {error}") from None
    raise Mistake(f"python -m {name}: {len(parsers)} parsers were made, and none was asked to parse")


def _program(name):
    """The module whose `main` `python -m NAME` runs."""
    package = importlib.util.find_spec(name)
    if package is None:
        raise ModuleNotFoundError("no such module")
    names = (f"{name}.__main__", f"{name}.command") if package.submodule_search_locations else (name,)
    modules = [importlib.import_module(each) for each in names if importlib.util.find_spec(each)]
    module = next((each for each in modules if hasattr(each, "main")), None)
    if module is None:
        raise ModuleNotFoundError("no function main")
    return module


@contextlib.contextmanager
def parsing_only(whole: bool = True) -> Iterator[list[Parser]]:
    """Programs end with `Parsed` as soon as they have parsed their arguments; yields the parsers that were used.

    Args:
      whole: whether missing arguments are refused.
    """
    used: list[Parser] = []
    before = {name: getattr(Parser, name) for name in PARSE}

    def ends(name):
        def parse(parser, *args, **kwargs):
            if used:  # called by another of these methods
                return before[name](parser, *args, **kwargs)
            used.append(parser)
            if not whole:
                for each in (*parser._actions, *parser._mutually_exclusive_groups):
                    each.required = False
            found = before[name](parser, *args, **kwargs)
            if name == "parse_known_args" and found[1]:
                parser.error(f"unrecognized arguments: {' '.join(found[1])}")
            raise Parsed

        return parse

    own = {name: name in vars(Parser) for name in PARSE}
    for name in PARSE:
        setattr(Parser, name, ends(name))
    try:
        yield used
    finally:
        for name in PARSE:
            if own[name]:
                setattr(Parser, name, before[name])
            else:
                delattr(Parser, name)


def check_launch(words: list[str], *, whole: bool = True) -> None:
    """Parses the arguments of launch.py, and checks its configuration, key by key, or its study.

    Raises:
      Mistake: launch.py would refuse them.
    """
    words = [word.replace(f"--config={DOTS}", "--config=configs/pastis.py") for word in words]
    if not whole and not any(word.startswith(("--config=", "--study=", "--help")) for word in words):
        study = any(word.startswith("--study") for word in words)
        words = ["--study=configs/studies/pastis_table.py" if study else "--config=configs/pastis.py", *words]
    with _launch_flags(["launch.py", *words]) as values:
        try:
            launch.parse(sys.argv)
            launch._check_options(values)
            if values.study is not None:
                grid.parse(values.study)
                return
            config = schema.parse(values.config)
            if values.folds:
                fold_numbers(values.folds)
            parse_profile(values.profile)
            for name in filter(None, values.compile_for.split(",")):
                parse_topology(name)
        except Exception as error:
            raise Mistake(f"launch.py: {error}") from None
    assert config.name


@contextlib.contextmanager
def _launch_flags(argv):
    """The options of launch.py, unset, as if it had just been started with `argv`."""
    values, before, words = flags.FLAGS, set(flags.FLAGS), sys.argv
    sys.argv = argv
    try:
        launch.define_flags()
        yield values
    finally:
        sys.argv = words
        for name in set(values) - before:
            delattr(values, name)
        values.unparse_flags()


def option_names() -> set[str]:
    """Every option of every program of the project, without those of launch.py's configuration."""
    found = set()
    for path in _programs():
        with parsing_only(whole=False) as parsers, contextlib.suppress(Parsed), contextlib.redirect_stdout(io.StringIO()):
            _program(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")).main([])
        (parser,) = parsers
        subparsers = [each for action in parser._actions if isinstance(action.choices, dict) for each in action.choices.values() if isinstance(each, Parser)]
        found |= {option for each in (parser, *subparsers) for action in each._actions for option in action.option_strings}
    with _launch_flags(["launch.py"]) as values:
        found |= {f"--{name}" for name in values}
    return found


def _programs() -> list[pathlib.Path]:
    """The files of all commands with options: those that make a parser and have a function main."""
    folders = [path for folder in ("benchmarks", "data", "omnisat_jax", "tests") for path in sorted((ROOT / folder).rglob("*.py"))]
    texts = {path: path.read_text() for path in folders if path.parent != ROOT / "tests" / "docs"}
    return [path for path, text in texts.items() if re.search(r"^def main\(", text, re.MULTILINE) and re.search(r"\bParser\(prog=|\bParser\(\n", text)]
