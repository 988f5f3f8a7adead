"""Parsing of command lines: every mistake is one sentence."""

import argparse
import difflib
import itertools
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from omnisat_jax.errors import UserError, printable
from omnisat_jax.files.addresses import need_local

WRITTEN = "write to this machine, and copy it there afterwards"
LARGEST = 10**9  # of whole numbers
# Messages of argparse.
_CHOICE = re.compile(r"(.+?): invalid choice: (.+) \(choose from (.+)\)", re.DOTALL)
_NUMBER = re.compile(r"(.+?): invalid (int|float) value: (.+)", re.DOTALL)
_KINDS = {"int": "a whole number", "float": "a number"}


def words(text: str) -> str:
    """The type of options whose value may be an address: free text, or what the command reads from a bucket. Every other option refuses it."""
    return text


class Parser(argparse.ArgumentParser):
    """A parser whose errors are `UserError`s without the usage, which name the nearest spelling of a misspelt option or word.

    An address such as gs://bucket/folder is refused unless the type of the option is `words`: nothing would read it, and as a path it
    would become a folder of this machine.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses, and keeps the words for `error`; arguments and result are those of argparse."""
        self._words = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(args, namespace)

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """The value of one word, as argparse makes it, after a check that the word is no address."""
        if action.type is not words:
            name = "/".join(action.option_strings) or action.metavar or action.dest
            advice = WRITTEN if re.search("(out|json)$", str(name)) else ""
            for text in re.split("[=,]", arg_string):  # of NAME=FOLDER, and of several folders
                need_local(text, str(name), advice)
        return super()._get_value(action, arg_string)

    def error(self, message: str) -> NoReturn:
        """Raises `UserError`; message: of argparse."""
        message = self._unknown_option() or _in_words(message.removeprefix("argument "))
        raise UserError(printable(f"{message}; {self.prog} --help explains all options"))

    def _unknown_option(self):
        """What is wrong with the first word that looks like an option and is none; "" if all are known. It may be why another one is missing."""
        known = _options(self)
        for word in itertools.takewhile("--".__ne__, self._words):
            name = word.partition("=")[0]
            if name.startswith("--") and not any(option.startswith(name) for option in known):
                return f"{name}: expected an option of this command, found another word{_nearest(name, known)}"
        return ""


def _options(parser: argparse.ArgumentParser) -> list[str]:
    """The options of a parser and of its subcommands."""
    inner = [each for action in parser._actions if isinstance(action.choices, Mapping) for each in action.choices.values() if isinstance(each, Parser)]
    return [option for action in parser._actions for option in action.option_strings] + [option for each in inner for option in _options(each)]


def _nearest(word, candidates):
    close = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.5)
    return f". Did you mean {close[0]}?" if close else ""


def _in_words(message):
    """A message of argparse as expected and found."""
    if match := _CHOICE.fullmatch(message):
        name, found, choices = match[1], match[2], [choice.strip("'\"") for choice in match[3].split(", ")]
        return f"{name}: expected one of {', '.join(choices)}, found {found}{_nearest(found.strip(chr(39)), choices)}"
    if match := _NUMBER.fullmatch(message):
        return f"{match[1]}: expected {_KINDS[match[2]]}, found {match[3]}"
    return message


def whole(lowest: int, what: str, highest: int = LARGEST) -> Callable[[str], int]:
    """The type of options that are whole numbers.

    Args:
      lowest, highest: that are allowed.
      what: the number, in words, for messages.
    """

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = lowest - 1
        if not lowest <= number <= highest:
            raise argparse.ArgumentTypeError(f"expected {what} from {lowest} to {highest:,}, found {text!r}")
        return number

    return parse
