"""Models of a hub: downloaded once, used without a network, and refused in one sentence."""

import contextlib
import os
import subprocess
import sys

import huggingface_hub
import pytest
from huggingface_hub import constants

from omnisat_jax import Model
from omnisat_jax.errors import UserError
from omnisat_jax.inference.hub import FILES, HubError, check_address, local_folder
from omnisat_jax.inference.model_folder import CONFIG, STATISTICS, WEIGHTS, load_model
from tests.conftest import ROOT
from tests.inference.folders import assert_original
from tests.inference.hub_server import COMMIT, hub

NOWHERE = "http://127.0.0.1:9"  # the port "discard", where nothing listens


@pytest.fixture
def at(monkeypatch, tmp_path):
    """Sets the address of the hub; its cache is empty."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)

    def use(address):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")

    use(NOWHERE)
    return use


@pytest.fixture
def serving(at, original):
    """Starts a hub that holds the model folder `original` and a file that is no part of a model."""
    with hub(original | {"README.md": b"card", "training_state.bin": b"not asked for"}) as (address, asked):
        at(address)
        yield asked


@pytest.mark.parametrize("revision", ["", "@main", "@v1.0", f"@{COMMIT}"])
def test_a_model_is_downloaded_once_and_used_without_a_network(serving, at, revision, caplog):
    folder = local_folder(f"hf:org/model{revision}")
    assert {path.name for path in folder.iterdir()} == {CONFIG, STATISTICS, WEIGHTS, "README.md"} <= set(FILES)
    assert_original(load_model(folder))
    assert any(path.endswith(WEIGHTS) for path in serving) and not any("training_state" in path for path in serving)
    count = sum(path.endswith(WEIGHTS) for path in serving)
    assert local_folder(f"hf:org/model{revision}") == folder and sum(path.endswith(WEIGHTS) for path in serving) == count
    assert not any(record.levelname == "WARNING" for record in caplog.records)
    at(NOWHERE)
    assert local_folder(f"hf:org/model{revision}") == folder
    caplog.clear()
    model = Model.from_pretrained(f"hf:org/model{revision}")
    assert model.source == f"hf:org/model@{COMMIT}"
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == (0 if COMMIT in revision else 1)
    name = revision.removeprefix("@") or "main"
    assert all(f"hf:org/model{revision}: the hub could not be asked what {name} is now (" in text and f"commit {COMMIT} is used" in text for text in warned)


def test_offline_mode_uses_the_cache_alone(serving, tmp_path):
    local_folder("hf:org/model@v1.0")
    asked = len(serving)
    code = """
import sys
from omnisat_jax.inference.hub import HubError, local_folder
print(local_folder("hf:org/model@v1.0"))
for address in ("hf:org/model@v2.0", "hf:org/other"):
    try:
        local_folder(address)
    except HubError as error:
        print(error)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_ENDPOINT": constants.ENDPOINT}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder, *refused = done.stdout.splitlines()
    assert folder == str(local_folder("hf:org/model@v1.0")) and len(refused) == 2
    assert all("a complete copy of this model in its cache, found neither" in line for line in refused)
    assert not any("v2.0" in path or "other" in path for path in serving[asked:])


REFUSED = {
    "hf:org/other": "hf:org/other: expected a repository of the hub, found none of this name that you may read",
    "hf:org/gated": "hf:org/gated: expected a repository that you may read, found one that grants access on request",
    "hf:org/model@v2.0": "hf:org/model@v2.0: expected a branch, tag or commit of org/model, found no v2.0",
    "hf:model": "expected a model of the hub as hf:ORG/NAME or hf:ORG/NAME@REVISION, found hf:model",
    "hf:": "expected a model of the hub",
    "hf:org/model@": "expected a model of the hub",
    "hf:org/model@a b": "expected a model of the hub",
    "hf:../model": "expected a model of the hub",
    "hf:org/model@../../../etc": "expected a model of the hub",
    "hf:org/model@v1/../../x": "expected a model of the hub",
    "hf:https://host/x": "expected a model of the hub",
    "hf:org/\x1b[31m": r"found hf:org/\\x1b\[31m",
}


@pytest.mark.parametrize("address", REFUSED)
def test_refused_in_one_sentence(serving, address):
    with pytest.raises(HubError, match=REFUSED[address]) as caught:
        Model.from_pretrained(address)
    assert isinstance(caught.value, UserError) and "\n" not in str(caught.value)


def test_a_repository_that_is_gone_is_used_from_the_cache_with_a_warning(serving, original, monkeypatch, caplog):
    folder = local_folder("hf:org/model@v1.0")
    monkeypatch.setattr("tests.inference.hub_server._Hub._find", lambda *_: (404, {"X-Error-Code": "RepoNotFound"}, b"{}"))
    assert local_folder("hf:org/model@v1.0") == folder and "could not be asked what v1.0 is now" in caplog.text
    with pytest.raises(HubError, match="found none of this name"):
        local_folder("hf:org/model@main")


def test_an_incomplete_copy_without_a_network(serving, at):
    (local_folder("hf:org/model") / WEIGHTS).unlink()
    at(NOWHERE)
    for address in ("hf:org/model", f"hf:org/model@{COMMIT}"):
        with pytest.raises(HubError, match="expected the hub, or a complete copy of this model in its cache, found neither"):
            local_folder(address)


def test_no_network_and_nothing_in_the_cache(at):
    with pytest.raises(HubError, match="hf:org/model: expected the hub, or a complete copy .* in its cache, found neither") as caught:
        local_folder("hf:org/model")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kept", "missing"), [((CONFIG, WEIGHTS), STATISTICS), ((CONFIG, STATISTICS), WEIGHTS), ((), "config.json and no statistics.json and no model")]
)
def test_a_repository_of_something_else(at, original, kept, missing):
    with hub({name: original[name] for name in kept} | {"pytorch_model.bin": b"of another library"}) as (address, _):
        at(address)
        with pytest.raises(HubError, match=f"hf:org/model: expected a model of omnisat-jax, .* found no {missing}"):
            local_folder("hf:org/model")


def test_a_download_that_fails(serving, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device\nsecond line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(HubError, match="hf:org/model: cannot be downloaded .*No space left on device"):
        local_folder("hf:org/model")


def test_the_extra_is_named_where_it_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(HubError, match=r'hf:org/model@v1.0: models of the hub need huggingface_hub: pip install "omnisat-jax\[hub\]"'):
        Model.from_pretrained("hf:org/model@v1.0")


def test_folders_are_taken_as_they_are(tmp_path):
    assert local_folder(tmp_path) == tmp_path and str(local_folder("runs/x/model")) == "runs/x/model"
    assert check_address("hf:org/name@refs/pr/3") == ("org/name", "refs/pr/3") and check_address("hf:a/b.c-d_e") == ("a/b.c-d_e", "main")
    with contextlib.chdir(tmp_path), pytest.raises(UserError, match="no such folder"):
        Model.from_pretrained("hf")
