"""An address such as gs://bucket/run is used or refused in one sentence wherever a path can be given, and never becomes a local folder."""

import pathlib

import pytest
from hypothesis import given, strategies as st

from omnisat_jax.cli.arguments import Parser, words
from omnisat_jax.config import schema
from omnisat_jax.config.rules import ConfigError
from omnisat_jax.errors import UserError
from omnisat_jax.files import addresses, atomic
from omnisat_jax.files.paths import need_file, need_folder
from omnisat_jax.train import workdir
from tests.config.test_constraints import changed

ADDRESS = "gs://bucket/folder"
HOME = "~/x"
NOT_REPLACED = f"expected a path, found {HOME}, in which the shell has not replaced ~; write "
LOCAL = ["/a/b", "a", "a:b", "C:/a", "hf:org/name", "a//b", "./gs/x", "name=a", "", "~x", "gs/bucket"]


@pytest.mark.parametrize("path", LOCAL)
def test_paths_of_this_machine_have_no_scheme(path):
    assert addresses.scheme_of(path) == "" == addresses.scheme_of(pathlib.Path(path))
    addresses.need_local(path, "--x")
    addresses.need_bucket(path, "--x")


@pytest.mark.parametrize("scheme", ["gs", "GS", "s3", "https", "file", "hdfs", "abfs", "anything", "a+b-c.d"])
def test_schemes_are_found(scheme):
    assert addresses.scheme_of(f"{scheme}://bucket/folder") == scheme.lower()


@given(st.sampled_from(sorted(addresses.BUCKETS)), st.from_regex("[a-z0-9-]{3,12}/[a-z]{1,5}", fullmatch=True))
def test_an_address_that_pathlib_has_shortened_is_still_one(scheme, rest):
    assert addresses.scheme_of(pathlib.Path(f"{scheme}://{rest}")) == scheme


def refused(path, **options):
    with pytest.raises(UserError) as raised:
        addresses.need_bucket(path, "--workdir", **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("path", ["gs://bucket", "gs://bucket/", "gs:///folder", "gs:/bucket/folder", "gs://bucket/a/../b", "gs://bucket/a//b", "gs://bucket/a b", "gs://bucket/a*", "gs://bu/x", "GS://bucket/x", "gs://bucket/a\nb"])
def test_other_forms_are_refused(path):
    assert refused(path).startswith("--workdir: expected gs://BUCKET/FOLDER with plain names, found ")


def test_other_schemes_are_refused_with_those_that_work():
    assert refused("hdfs://a/b") == "--workdir: expected a folder of this machine or gs://BUCKET/FOLDER or s3://BUCKET/FOLDER, found hdfs://a/b"


def test_runs_on_s3_are_refused_with_the_reason():
    found = "expected a folder of this machine or gs://BUCKET/FOLDER, found s3://bucket/run; Orbax cannot write the checkpoints of a run to s3://"
    with pytest.raises(UserError, match=f"^--workdir: {found}$"):
        workdir.check_path("s3://bucket/run")
    with pytest.raises(ConfigError, match=f"^pretrain_from: {found}$"):
        schema.parse(changed(pretrain_from="s3://bucket/run"))


@pytest.mark.parametrize("argument", ["--raw", "--out"])
@pytest.mark.parametrize("found, message", [("https://a/b", "expected a folder of this machine or gs://BUCKET/FOLDER or s3://BUCKET/FOLDER, found https://a/b"), (HOME, NOT_REPLACED)])
def test_raw_data_and_records_may_be_in_buckets_and_nowhere_else(argument, found, message, tmp_path, monkeypatch):
    from data.prepare import main

    monkeypatch.chdir(tmp_path)
    places = {"--raw": "raw", "--out": "out"} | {argument: found}
    with pytest.raises(UserError, match=f"^{argument}: {message}"):
        main(["pastis", *(word for pair in places.items() for word in pair)])
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("scheme", addresses.BUCKETS)
def test_a_missing_library_names_its_extra(scheme, monkeypatch):
    monkeypatch.setattr(addresses.importlib.util, "find_spec", lambda name: None)
    module, extra = addresses.BUCKETS[scheme]
    expected = f'--workdir: {scheme}://bucket/folder needs {module}, which is not installed: pip install "omnisat-jax[{extra}]"'
    assert refused(f"{scheme}://bucket/folder") == expected
    addresses.need_bucket(f"{scheme}://bucket/folder", "--workdir", installed=False)


# Where paths are given.


def test_options_refuse_addresses_unless_they_are_text():
    parser = Parser(prog="x")
    parser.add_argument("folder")
    group = parser.add_argument_group("more")
    group.add_argument("--out", type=pathlib.Path)
    group.add_argument("--series", action="append")
    parser.add_argument("--citation", type=words)
    parser.add_argument("--tiles", type=int)
    for arguments, named in [([ADDRESS], "folder"), (["a", "--out", ADDRESS], "--out"), (["a", f"--series=s2={ADDRESS}"], "--series"), (["a", "--series", f"x,{ADDRESS}"], "--series")]:
        with pytest.raises(UserError) as raised:
            parser.parse_args(arguments)
        advice = "write to this machine, and copy it there afterwards" if named == "--out" else "copy it to this machine first, by `gcloud storage cp -r`"
        assert str(raised.value) == f"{named}: expected a path of this machine, found {ADDRESS}; {advice}"
    assert parser.parse_args(["a", "--citation", "see https://doi.org/1"]).citation == "see https://doi.org/1"
    assert parser.parse_args(["a", "--citation", "https://doi.org/1"]).citation == "https://doi.org/1"


COMMANDS = {
    "omnisat_jax.report.__main__": [ADDRESS],
    "omnisat_jax.publish": [ADDRESS],
    "omnisat_jax.publish ": ["folder", "--out", ADDRESS],
    "omnisat_jax.export.__main__": [ADDRESS, "--format", "jax", "--out", "x"],
    "omnisat_jax.export.__main__ ": ["x", "--format", "jax", "--out", ADDRESS],
    "omnisat_jax.interop.convert": ["utae", ADDRESS, "out"],
    "omnisat_jax.interop.convert ": ["utae", "weights", ADDRESS],
    "omnisat_jax.predict.command": ["--model", "m", "--stac", ADDRESS],
    "omnisat_jax.predict.command ": ["--model", "m", "--out", ADDRESS],
    "omnisat_jax.predict.command  ": ["--model", "m", "--out", "out", "--series", f"s2={ADDRESS}"],
    "data.prepare": ["pastis", "--raw", "raw", "--out", "out", "--mirror_dir", ADDRESS],
    "data.verify": ["pastis", "--raw", ADDRESS],
    "data.show": ["pastis", "--raw", ADDRESS, "--tile", "1"],
    "data.tiles.cut": ["--labels", ADDRESS, "--out", "out"],
    "data.tiles.cut ": ["--labels", "x", "--out", ADDRESS],
}


@pytest.mark.parametrize("module", COMMANDS)
@pytest.mark.parametrize("found, message", [(ADDRESS, f"expected a path of this machine, found {ADDRESS}"), (HOME, NOT_REPLACED)])
def test_every_command_refuses_addresses_and_a_tilde(module, found, message, tmp_path, monkeypatch):
    import importlib

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["command", *(text.replace(ADDRESS, found) for text in COMMANDS[module])])
    with pytest.raises(UserError, match=message):
        importlib.import_module(module.strip()).main()
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("key", ["data.raw_dir", "data.cache_dir", "data.mirror_dir", "data.prepared_dir", "data.pretrain_dirs", "pretrain_from"])
def test_keys_refuse_a_tilde(key):
    with pytest.raises(ConfigError, match=f"{key}: {NOT_REPLACED}"):
        schema.parse(changed(**{key: HOME}))


@pytest.mark.parametrize("path", [HOME, "~", pathlib.Path(HOME)])
def test_a_run_makes_no_folder_of_the_name_of_a_tilde(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--workdir: expected a path, found ~.*, in which the shell has not replaced ~; write"), workdir.held(path):
        pass
    assert not [*tmp_path.iterdir()]


def test_other_names_with_a_tilde_are_paths():
    for path in ("~user/x", "a/~", "data~", "./~/x"):
        addresses.need_local(path, "--out")


@pytest.mark.parametrize("key", ["data.cache_dir", "data.mirror_dir"])
def test_keys_that_must_be_local_refuse_addresses(key):
    with pytest.raises(ConfigError, match=f"{key}: expected a path of this machine, found {ADDRESS}; "):
        schema.parse(changed(**{key: ADDRESS}))


@pytest.mark.parametrize("key", ["data.raw_dir", "data.prepared_dir", "data.pretrain_dirs", "pretrain_from"])
def test_keys_that_may_be_buckets_refuse_other_addresses(key):
    schema.parse(changed(**{key: ADDRESS}))
    supported = "gs://BUCKET/FOLDER" if key == "pretrain_from" else "gs://BUCKET/FOLDER or s3://BUCKET/FOLDER"
    with pytest.raises(ConfigError, match=f"{key}: expected a folder of this machine or {supported}, found https://a/b"):
        schema.parse(changed(**{key: "https://a/b"}))


@pytest.mark.parametrize("key", ["data.raw_dir", "data.prepared_dir", "data.pretrain_dirs", "pretrain_from", "--workdir"])
def test_a_run_asks_for_the_library_of_its_bucket_before_anything_is_written(key, tmp_path, monkeypatch):
    from omnisat_jax.experiment.context import RunOptions
    from omnisat_jax.experiment.run import run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(addresses.importlib.util, "find_spec", lambda name: None)
    config = schema.parse(changed(**({} if key == "--workdir" else {key: ADDRESS})))
    with pytest.raises(UserError, match=f"^{key}: {ADDRESS} needs gcsfs, which is not installed: pip install"):
        run(config, RunOptions(ADDRESS if key == "--workdir" else "run", console=None, prepare=lambda config, console: "x"))
    assert not [*tmp_path.iterdir()]


def calls():
    from omnisat_jax import Region, load_model
    from omnisat_jax.aot.command import compile_for
    from omnisat_jax.inference.model_saving import save_model
    from omnisat_jax.parallel.compilation import keep_programs
    from omnisat_jax.predict.cube import parse_cube
    from omnisat_jax.predict.stac_items import read_items

    return {
        "load_model": load_model,
        "save_model": lambda a: save_model(a, {}, None),
        "Region.from_json": Region.from_json,
        "parse_cube": lambda a: parse_cube(a, (), {}),
        "read_items": read_items,
        "keep_programs": lambda a: keep_programs(a, "x"),
        "compile_for": lambda a: compile_for(None, "h100:8", folder=a, console=None),
        "write_bytes": lambda a: atomic.write_bytes(a, b""),
        "new_folder": lambda a: atomic.new_folder(a).__enter__(),
        "need_file": lambda a: need_file(a, what="a file"),
        "need_folder": lambda a: need_folder(a, what="a folder"),
    }


@pytest.mark.parametrize("address", ["https://host/model", "gs:/bucket/model", pathlib.Path("gs://bucket/model")])
def test_models_are_read_from_folders_buckets_and_the_hub(address):
    from omnisat_jax import Model

    with pytest.raises(UserError, match="the folder of a model: expected .*gs://BUCKET/FOLDER"):
        Model.from_pretrained(address)


@pytest.mark.parametrize("name", calls())
@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_every_function_that_takes_a_path_refuses_addresses(name, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="expected a path of this machine, found gs:/"):
        calls()[name](kind(ADDRESS))
    assert not [*tmp_path.iterdir()]
