"""The command as users start it: products, resuming after a kill, shards, and one sentence for every mistake."""

import contextlib
import json
import signal
import subprocess
import sys

import geopandas
import numpy as np
import pytest
import rasterio

from omnisat_jax.cli.signals import PREEMPTED
from omnisat_jax.predict.folder import BLOCKS, MapFolder
from tests.conftest import ROOT
from tests.inference.test_face import TRAINING_ONLY
from tests.predict.models import BANDS, CLASSES, save_random_model
from tests.predict.region import put

SIDE = 80  # px of 10 m


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A model, and a scene of two sensors."""
    folder, rng = tmp_path_factory.mktemp("here"), np.random.default_rng(0)
    save_random_model(folder / "model")
    for month in (3, 6, 9):
        values = rng.normal(size=(3, SIDE, SIDE)).astype(np.float32)
        values[:, rng.random((SIDE, SIDE)) < 0.1] = np.nan
        put(folder / "s1a" / f"sigma0_2021-{month:02d}-11.tif", values, descriptions=BANDS["s1a"])
    put(folder / "spot.tif", rng.normal(size=(3, 400, 800)).astype(np.float32), pixel=1.0, descriptions=None)
    return folder


def start(here, out, *options, **more):
    command = [sys.executable, "-m", "omnisat_jax.predict", "--model", here / "model", "--series", f"s1a={here / 's1a'}"]
    command += ["--image", f"spot={here / 'spot.tif'}:R,G,B", "--out", out, "--block", "16", "--batch", "4", *options]
    return subprocess.Popen([str(part) for part in command], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def finished(process, code=0):
    output, errors = process.communicate(timeout=600)
    assert process.returncode == code, errors + output
    return output + errors


@pytest.fixture(scope="module")
def whole(here):
    """The map made in one go."""
    out = here / "whole"
    finished(start(here, out, "--probabilities"))
    return out


def products(out):
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.tif"))}


def test_a_map_opens_as_geotiffs(whole):
    assert set(products(whole)) == {"class.tif", "confidence.tif", "used.tif", "dates.tif", "probabilities.tif"}
    with rasterio.open(whole / "class.tif") as source:
        classes = source.read(1)
        assert source.crs.to_epsg() == 32631 and source.transform.a == 10 and source.shape == (SIDE, SIDE) and source.nodata == 255
    with rasterio.open(whole / "probabilities.tif") as source:
        assert source.descriptions == CLASSES
        probabilities = source.read()
    known = classes != 255
    assert known.mean() > 0.99 and (probabilities.argmax(0)[known] == classes[known]).mean() > 0.99
    with rasterio.open(whole / "used.tif") as source:
        used = source.read(1)
    assert (used[:40] & 2).all() and not (used[40:] & 2).any()
    record = json.loads((whole / "run.json").read_text())
    assert record["finished"] and 0 < record["seam_index"] < 1 and record["model"]["checksum"]
    assert [sensor["name"] for sensor in record["sensors"]] == ["s1a", "spot"]


@pytest.mark.parametrize("number, code", [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, PREEMPTED)])
def test_a_killed_map_is_continued_bit_for_bit(here, whole, number, code):
    out = here / f"killed{int(number)}"
    process = start(here, out, "--probabilities")
    while process.poll() is None and len(list((out / BLOCKS).glob("*.npz"))) < 2:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    process.send_signal(number)
    text = finished(process, code)
    assert number == signal.SIGKILL or ("run the same command again" in text and "Traceback" not in text)
    assert 2 <= len(list((out / BLOCKS).glob("*.npz"))) < 25
    finished(start(here, out, "--probabilities"))
    assert products(out) == products(whole)


def test_shards_make_the_same_map(here, whole):
    out = here / "shards"
    first, second = (start(here, out, "--probabilities", "--shard", f"{index}/2") for index in range(2))
    finished(first), finished(second)
    assert not MapFolder.open(out).missing()
    command = [sys.executable, "-m", "omnisat_jax.predict", "finish", "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert products(out) == products(whole)


def test_maps_need_none_of_the_packages_of_training(here):
    code = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
from omnisat_jax import Model, PredictOptions, Region, map_region
region = Region.from_arguments([f"s1a={sys.argv[2]}/s1a"], [], {})
print(sorted(map_region(Model.from_pretrained(sys.argv[2] + "/model"), region, sys.argv[3], PredictOptions(batch=4))))
"""
    blocked = ",".join({*TRAINING_ONLY, "geopandas", "pandas", "pyarrow", "pyogrio", "shapely", "huggingface_hub"} - {"rasterio", "scipy"})
    command = [sys.executable, "-c", code, blocked, str(here), str(here / "alone")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "class.tif" in done.stdout, done.stderr


def test_a_dry_run_writes_nothing(here):
    text = finished(start(here, here / "dry", "--dry_run"))
    assert "80 x 80 pixels of 10 m" in text and "2021-06-11" in text and "s1a" in text
    assert not (here / "dry").exists()


def test_embeddings_come_with_the_map(here):
    out = here / "embedded"
    finished(start(here, out, "--embeddings", "parquet", "--embeddings", "cog"))
    table = geopandas.read_parquet(out / "embeddings.parquet")
    assert len(table) == 400 and np.isfinite(np.stack(table.embedding)).all() and set(table.used) == {"s1a", "s1a,spot"}
    with rasterio.open(out / "embeddings.tif") as source:
        assert source.shape == (20, 20) and source.transform.a == 40 and source.count == len(table.embedding[0])
    assert (out / "embedding.png").exists() and not (out / "embeddings.zarr").exists()


def test_a_missing_extra_is_named_before_anything_is_computed(tmp_path, monkeypatch, capsys):
    from omnisat_jax.cli.command import run_command
    from omnisat_jax.predict.command import main

    monkeypatch.setitem(sys.modules, "zarr", None)
    assert run_command(main, ["--model", "nowhere", "--out", str(tmp_path / "out"), "--embeddings", "zarr"]) == 1
    assert capsys.readouterr().err.count('need zarr: pip install "omnisat-jax[cube]"') == 1


@pytest.mark.parametrize(
    "options, message",
    [
        *(((f"--{name}", value), f"--{name}: expected a number of {what}, found {value!r}".replace(", found", f" from 1 to {4096 if name == 'window' else 10**9:,}, found"))
          for name, what in (("window", "patches"), ("block", "pixels"), ("batch", "windows"), ("workers", "processes")) for value in ("0", "-1", "2.5", "9999999999")),
        *((("--shard", value), "--shard: expected I/N with I from 0 to N - 1, such as 0/4, found") for value in ("2/2", "0/0", "3/2", "1", "a/b", "/")),
        *((("--overlap", value), "--overlap: expected a share of a window from 0 to less than 1") for value in ("1", "-0.1", "nan", "half")),
        *((("--origin", value), f"--origin: expected a day YYYY-MM-DD, season or year, found {value!r}") for value in ("2018-13-01", "2019-02-30", "abc", "1")),
        (("--model", "nowhere"), "nowhere"),
        (("--convert", "spot"), "--convert"),
        (("--on_bad", "skip"), "--on_bad"),
        (("--blok", "5"), "--blok: expected an option of this command, found another word. Did you mean --block"),
        (("spot.tif",), "expected options, or finish and options, found 'spot.tif'"),
        (("--parcels", "none.gpkg"), "none.gpkg"),
        (("--modalities", "s2"), "unknown sensor 's2'"),
        (("--region", "no.json"), "--region"),
        (("--aoi", "no.geojson"), "no.geojson"),
    ],
)
def test_mistakes_are_one_sentence(here, tmp_path, capsys, options, message):
    from omnisat_jax.cli.command import run_command
    from omnisat_jax.predict.command import main

    arguments = ["--model", str(here / "model"), "--series", f"s1a={here / 's1a'}", "--out", str(tmp_path / "out"), *options]
    assert run_command(main, arguments) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "bug" not in error, error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        "finish --out {out} --polygons 1e4", "--out {out} finish --polygons 1e4", "--out {out} --polygons 1e4 finish", "--polygons 1e4 finish --out {out}",
        "--out={out} finish --polygons=1e4",
    ],
)  # fmt: skip
def test_finish_may_stand_anywhere(tmp_path, capsys, arguments):
    from omnisat_jax.cli.command import run_command
    from omnisat_jax.predict.command import main
    from tests.predict.products import maps

    maps.make_map(tmp_path / "map")
    maps.make_map(tmp_path / "finish")
    for name in ("map", "finish"):
        assert run_command(main, [text.format(out=tmp_path / name) for text in arguments.split()]) == 0
        assert (tmp_path / name / "polygons.parquet").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("finish", "the following arguments are required: --out"),
        ("finish --out", "--out: expected one argument"),
        ("finish --model x --out {out}", "finish: expected --out and options of products, found --model x"),
        ("--out {out} finish --series s2=x", "finish: expected --out and options of products, found --series s2=x"),
        ("--out {out} finish finish", "found 'finish' 'finish'"),
        ("--out {out}", "expected --model, found none"),
        ("--model x", "expected --out, found none"),
    ],
)
def test_finish_and_other_options(tmp_path, capsys, arguments, message):
    from omnisat_jax.cli.command import run_command
    from omnisat_jax.predict.command import main

    assert run_command(main, arguments.format(out=tmp_path).split()) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "bug" not in error, error


def test_what_is_left_to_other_shards_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    from omnisat_jax.cli.command import run_command
    from omnisat_jax.inference.model import Model
    from omnisat_jax.predict.command import main
    from tests.predict.region import Identity, scene

    put(tmp_path / "s" / "x_20210105.tif", scene().astype(np.float32))
    monkeypatch.setattr(Model, "from_pretrained", lambda folder: Identity())
    series, out = ["--model", "stub", "--series", f"s={tmp_path / 's'}"], str(tmp_path / "a map")
    assert run_command(main, [*series, "--out", out, "--block", "24", "--shard", "0/2", "--polygons", "0"]) == 0
    text = capsys.readouterr().out
    assert f"1 block is left to other shards; then run `python -m omnisat_jax.predict finish --out '{out}' --polygons 0.0`" in text
    assert run_command(main, ["finish", "--out", out]) == 1
    error = capsys.readouterr().err
    assert "1 block missing (r00000_c00001); run the command that computes them again" in error and "same command" not in error, error
    for name, found in (("nothing", "no such folder"), ("s", "no run.json in it"), ("s/x_20210105.tif", "a file")):
        assert run_command(main, ["finish", "--out", str(tmp_path / name)]) == 1
        assert f"{name}: expected the folder of a map, found {found}; check --out\n" in capsys.readouterr().err
