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


def test_a_preset_is_passed_on_and_may_be_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config(preset='none'):\n"
        "    if preset == 'bad':\n        raise ValueError(f'mine.py: no preset {preset}')\n"
        "    return ConfigDict({'preset': preset, 'file': __file__})\n"
    )
    assert files.load(str(path), "--config").preset == "none"
    assert files.load(f"{path}:small", "--config").to_dict() == {"preset": "small", "file": str(path)}
    with pytest.raises(UserError, match="^mine.py: no preset bad$"):
        files.load(f"{path}:bad", "--config")


def test_studies_and_configurations_are_distinguished_by_their_keys():
    run, study = {"modalities": {}}, {"rows": {}}
    for config, option in ((run, "config"), (study, "study"), ({}, "config"), (run | study, "study")):
        files.check_kind(config, option, "x.py")
    with pytest.raises(UserError, match="--config: x.py is a study; give it as --study=x.py"):
        files.check_kind(study, "config", "x.py")
    with pytest.raises(UserError, match="--study: x.py is the configuration of a run; give it as --config=x.py"):
        files.check_kind(run, "study", "x.py")


def test_unknown_keys_are_named_with_the_nearest():
    config = {"model": {"width": 3, "levels": {"0": 1}}}
    files.check_keys(config, ["model", "model.width", "model.levels[0]"], "base.py")
    for key, message in (
        ("model.wdth", "no key 'model.wdth'; did you mean 'width'[?] base.py lists all keys"),
        ("model.width.x", "no key 'model.width.x'; base.py lists all keys"),
        ("q", "no key 'q'; base.py"),
    ):
        with pytest.raises(UserError, match=message):
            files.check_keys(config, [key], "base.py")
