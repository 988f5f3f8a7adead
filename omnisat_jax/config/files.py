"""Loading of configuration files: Python files of users, whose mistakes are reported in one sentence."""

import difflib
import importlib.machinery
import importlib.util
import pathlib
import traceback
from collections.abc import Callable, Container, Iterable
from typing import Any

from omnisat_jax.config.rules import ConfigError
from omnisat_jax.errors import UserError, reason, system_reason


def load(text: str, option: str) -> Any:
    """Runs a configuration file.

    Args:
      text: "FILE.py" or "FILE.py:PRESET".
      option: the option that named the file, for messages.

    Returns:
      The ConfigDict that `get_config()` or `get_config(PRESET)` of the file returns.

    Raises:
      UserError: the file does not exist, is not Python, has no `get_config`, or fails.
    """
    name, colon, preset = text.partition(":")
    path = pathlib.Path(name)
    if not name or "\0" in name:
        raise ConfigError(f"{option}: expected a configuration file such as configs/pastis.py, found no name")
    try:
        if path.is_dir():
            raise ConfigError(f"{option}: expected a configuration file, found a folder: {name!r}")
        if path.exists() and not path.is_file():
            raise ConfigError(f"{option}: expected a configuration file, found {name!r}, which is not a regular file")
        path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{option}: No such file or directory: {name!r}{_nearest_file(path)}") from None
    except OSError as error:
        raise ConfigError(f"{option}: {name!r} cannot be read ({system_reason(error)})") from error
    config = _run(path, option, lambda: _function(path, option)(*([preset] if colon else [])))
    if not all(hasattr(config, method) for method in ("to_dict", "lock", "update_from_flattened_dict")):
        raise ConfigError(f"{option}: {name}: expected get_config() to return a ConfigDict, found {type(config).__name__}")
    return config


def _nearest_file(path: pathlib.Path) -> str:
    """A hint at the file beside `path` whose name is most like its own; "" if none is."""
    try:
        names = sorted(found.name for found in path.parent.glob("*.py"))
    except OSError:
        names = []
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f". Did you mean {path.with_name(close[0])}?" if close else ""


def _function(path: pathlib.Path, option: str) -> Callable[..., Any]:
    """The function `get_config` of a file."""
    loader = importlib.machinery.SourceFileLoader(f"configuration_{path.stem}", str(path))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    function = getattr(module, "get_config", None)
    if not callable(function):
        raise ConfigError(f"{option}: {path}: expected a function get_config(), found none")
    return function


def _run(path: pathlib.Path, option: str, action: Callable[[], Any]) -> Any:
    """Runs code of the file; its errors are reported with their line in the file."""
    try:
        return action()
    except UserError:
        raise
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise ConfigError(f"{option}: {error.filename or path}{line}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        if type(error) is ValueError and path.name in str(error):
            raise ConfigError(reason(error)) from error  # the file refuses its preset
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = f", line {lines[-1]}" if lines else ""
        raise ConfigError(f"{option}: {path}{line}: {type(error).__name__}: {reason(error)}") from error


OWN_KEY = {"config": "modalities", "study": "rows"}  # a key that only this kind of file has


def check_kind(config: Container[str], option: str, text: str) -> None:
    """Refuses a study that was given as a configuration, and the reverse.

    Args:
      config: the loaded ConfigDict.
      option: "config" or "study".
      text: the value of the option.

    Raises:
      ConfigError: the file belongs to the other option.
    """
    (other,) = OWN_KEY.keys() - {option}
    if OWN_KEY[option] not in config and OWN_KEY[other] in config:
        what = "a study" if other == "study" else "the configuration of a run"
        raise ConfigError(f"--{option}: {text} is {what}; give it as --{other}={text}")


def check_keys(config: Any, keys: Iterable[str], source: str) -> None:
    """Checks that dotted keys, given as options, exist in a configuration.

    Args:
      config: the loaded ConfigDict.
      keys: dotted keys, possibly with an index such as "a.b[0]".
      source: the file that lists all keys, for messages.

    Raises:
      ConfigError: a key does not exist; suggests the nearest one.
    """
    for key in keys:
        group = config
        for name in (name.partition("[")[0] for name in key.split(".")):
            names = list(group.keys()) if hasattr(group, "keys") else []
            if name not in names:
                close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
                hint = f"did you mean {close[0]!r}? " if close else ""
                raise ConfigError(f"the configuration has no key {key!r}; {hint}{source} lists all keys")
            group = group[name]
