"""Configuration files: Python files from a user, whose every mistake is one sentence."""

import difflib
import importlib.machinery
import importlib.util
import pathlib
import traceback

from omnisat_jax.config.rules import ConfigError
from omnisat_jax.errors import UserError, reason, system_reason


def load(text: str, option: str):
    """The ConfigDict of "FILE.py" or "FILE.py:PRESET".

    Args:
      option: that named it, for messages.

    Raises:
      UserError: no such file, no Python, no get_config(), or whatever the file itself raises.
    """
    name, colon, preset = text.partition(":")
    path = pathlib.Path(name)
    if not name or "\0" in name:
        raise ConfigError(f"{option}: expected a configuration file such as configs/pastis.py, found no name")
    try:
        if path.is_dir():
            raise ConfigError(f"{option}: expected a configuration file, found a folder: {name!r}")
        if path.exists() and not path.is_file():
            raise ConfigError(f"{option}: expected a configuration file, found something else than a regular file: {name!r}")
        path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{option}: No such file or directory: {name!r}") from None
    except OSError as error:
        raise ConfigError(f"{option}: {name!r} cannot be read ({system_reason(error)})") from error
    config = _own(path, option, lambda: _function(path, option)(*([preset] if colon else [])))
    if not all(hasattr(config, method) for method in ("to_dict", "lock", "update_from_flattened_dict")):
        raise ConfigError(f"{option}: {name}: expected get_config() to return a ConfigDict, found {type(config).__name__}")
    return config


def _function(path, option):
    loader = importlib.machinery.SourceFileLoader(f"configuration_{path.stem}", str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    function = getattr(module, "get_config", None)
    if not callable(function):
        raise ConfigError(f"{option}: {path}: expected a function get_config(), found none")
    return function


def _own(path, option, action):
    """Runs a user's code; what it raises is reported with its line in the user's file."""
    try:
        return action()
    except UserError:
        raise
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise ConfigError(f"{option}: {error.filename or path}{line}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        if type(error) is ValueError and path.name in str(error):
            raise ConfigError(reason(error)) from error  # the file's own check of its preset
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = f", line {lines[-1]}" if lines else ""
        raise ConfigError(f"{option}: {path}{line}: {type(error).__name__}: {reason(error)}") from error


OWN_KEY = {"config": "modalities", "study": "rows"}  # that the one kind of file has and the other has not


def check_kind(config, option: str, text: str) -> None:
    """Shows that a file is not of the other option.

    Args:
      option: "config" or "study".
      text: that named the file.

    Raises:
      ConfigError: it is; says which option it belongs to.
    """
    (other,) = OWN_KEY.keys() - {option}
    if OWN_KEY[option] not in config and OWN_KEY[other] in config:
        what = "a study" if other == "study" else "the configuration of a run"
        raise ConfigError(f"--{option}: {text} is {what}; give it as --{other}={text}")


def check_keys(config, keys, listed: str) -> None:
    """Shows that a configuration has every one of some dotted keys.

    Args:
      listed: file that lists all keys.

    Raises:
      ConfigError: one that it has not, with the nearest it has.
    """
    for key in keys:
        place = config
        for part in (part.partition("[")[0] for part in key.split(".")):
            names = list(place.keys()) if hasattr(place, "keys") else []
            if part not in names:
                close = difflib.get_close_matches(part, names, n=1, cutoff=0.5)
                hint = f"did you mean {close[0]!r}? " if close else ""
                raise ConfigError(f"the configuration has no key {key!r}; {hint}{listed} lists all")
            place = place[part]
