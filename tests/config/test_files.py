"""Configuration files are programs of users: whatever they do ends as a ConfigDict or one sentence."""

import os

import pytest

from omnisat_jax.config import files
from omnisat_jax.errors import UserError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(", "line 1: '(' was never closed"),
        ("x = 1", "expected a function get_config(), found none"),
        ("import nothing_of_this_name", "line 1: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("def get_config():\n    return {}['a']", "line 2: KeyError: 'a'"),
        ("def get_config():\n    raise SystemExit(3)", "line 2: SystemExit: 3"),
        ("def get_config():\n    return get_config()", "RecursionError"),
        ("def get_config():\n    return None", "expected get_config() to return a ConfigDict, found NoneType"),
        ("def get_config(a, b):\n    return None", "TypeError: get_config() missing 2 required"),
        ("raise ValueError('line one\\nline two')", "line 1: ValueError: line one"),
        ("\x00", "null bytes"),
        ("get_config = 3", "expected a function get_config(), found none"),
        ("def get_config():\n    return open('/nowhere/at/all')", "FileNotFoundError: [Errno 2]"),
    ],
)
def test_every_failure_of_a_file_is_one_sentence(text, message, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(UserError, match="^--config: ") as raised:
        files.load(str(path), "--config")
    assert message in str(raised.value) and "mine.py" in str(raised.value) and "\n" not in str(raised.value)
    str(raised.value).encode()


def test_other_files_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    for name, message in (("", "found no name"), (".", "found a folder"), ("pipe.py", "not a regular file"), ("no.py", "No such file"), ("a\0b", "no name")):
        path = str(tmp_path / name) if name not in ("", "a\0b") else name
        with pytest.raises(UserError, match=message):
            files.load(path, "--config")
    (tmp_path / "latin.py").write_bytes("x = 'é'".encode("latin-1"))
    with pytest.raises(UserError, match="latin.py.*utf-8"):
        files.load(str(tmp_path / "latin.py"), "--config")
