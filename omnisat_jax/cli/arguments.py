"""Parsing of command lines: every mistake is one sentence."""

import argparse
from collections.abc import Callable
from typing import NoReturn

from omnisat_jax.errors import UserError, printable

LARGEST = 10**9  # of whole numbers


class Parser(argparse.ArgumentParser):
    """A parser whose errors are `UserError`s, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Raises `UserError`."""
        raise UserError(printable(f"{message.removeprefix('argument ')}; {self.prog} --help explains all options"))


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
