"""Every benchmark runs to its end at a tiny size and prints what it is quoted for."""

import json
import re
import sys
import types

import numpy as np
import pytest
from safetensors.numpy import load_file

from benchmarks import (
    checksums,
    contrastive_loss,
    loader,
    map_speed,
    matrix_units,
    object_storage,
    pretrain_step,
    second_start,
    series_encoders,
    simulation_limits,
    simulation_picture,
    simulation_statistics,
    utae_step,
    utae_torch,
)
from benchmarks.accelerator import __main__ as accelerator, child as accelerator_child
from benchmarks.classical import __main__ as classical
from benchmarks.growth import __main__ as growth
from configs import pastis
from data.simulation import crops
from data.simulation.targets import LIMITS, STATISTICS
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import UserError
from omnisat_jax.interop.torch_weights import load_utae
from omnisat_jax.report import folds
from tests.buckets import needs_bucket
from tests.conftest import ROOT, prepare_pastis, tiny
from tests.predict.models import save_random_model

ELSEWHERE = {accelerator, accelerator_child, growth}  # test_accelerator.py, test_growth.py
SIMULATION = {simulation_limits, simulation_picture, simulation_statistics}
BENCHMARKS = {checksums, contrastive_loss, loader, map_speed, matrix_units, object_storage, pretrain_step, second_start, series_encoders, utae_step, utae_torch, classical} | SIMULATION | ELSEWHERE


def numbers(pattern, text):
    """The numbers of a pattern, each of which must be positive."""
    found = [float(number) for match in re.findall(pattern, text) for number in ([match] if isinstance(match, str) else match)]
    assert found and all(number > 0 for number in found), f"{pattern} in {text!r}"
    return found


def test_every_benchmark_is_tried_here():
    paths = [path.relative_to(ROOT) for path in (ROOT / "benchmarks").rglob("*.py") if "__main__" in path.read_text()]
    assert {".".join(path.with_suffix("").parts) for path in paths} == {module.__name__ for module in BENCHMARKS}


@pytest.mark.exhaustive
def test_utae_step(capsys):
    assert utae_step.main(["--preset=demo", "--dates=2", "--side=16"]) == 0
    text = capsys.readouterr().out
    numbers(r"ratio of times \(lax.conv / ops.convolution\): ([0-9.]+)", text)
    assert len(re.findall(r"s per step +[0-9]+ MiB temporary", text)) == 2


def test_utae_torch_refuses_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match="needs PyTorch: pip install"):
        utae_torch.main([f"--original={tmp_path}"])
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    with pytest.raises(UserError, match="expected a clone of https://github.com/VSainteuf/utae-paps"):
        utae_torch.main([f"--original={tmp_path}"])


def test_utae_torch_runs_the_network_of_the_original():
    """The part in JAX, with weights and logits of the original; PyTorch is not installed here."""
    folder = ROOT / "tests" / "interop"
    module, variables = load_utae(folder / "utae_tiny.weights.safetensors", n_head=4, d_model=32, d_k=4)
    golden = load_file(folder / "utae_tiny.io.safetensors")
    values, dates = golden["input"][:1], golden["dates"][:1]
    steps, flops = utae_torch.our_steps(module, variables, values, dates)
    for name in ("inference", "training"):
        assert steps[name]() == pytest.approx(float((golden["logits"][:1] ** 2).mean()), rel=1e-3)
    assert flops["inference"] > 0 and 2.5 < flops["training"] / flops["inference"] < 3.2


def test_series_encoders(capsys):
    assert series_encoders.main(["--side=8", "--few=2", "--all=3"]) == 0
    text = capsys.readouterr().out
    assert len(numbers(r"ratio of times \(utae, [23] dates / temporal_first, 3 dates\): ([0-9.]+)", text)) == 2
    assert len(re.findall(r"ms per step +[0-9]+ MiB temporary", text)) == 4


def test_contrastive_loss(capsys):
    assert contrastive_loss.main(["--tiles=1,2", "--patches=16", "--limit_mib=1"]) == 0
    text = capsys.readouterr().out
    assert len(numbers(r"ratios dense / ring: time [0-9.]+, memory ([0-9.]+)", text)) == 2
    numbers(r"ring: ([0-9]+) rows plan ([0-9.]+) MiB", text.replace(",", ""))


@pytest.mark.exhaustive
def test_pretrain_step(capsys, monkeypatch):
    small = tiny("demo,no_spot", **{"modalities.s2.encoder": "patch_ltae"})
    del small.modalities.s1d
    monkeypatch.setattr(pastis, "get_config", lambda preset: small)
    assert pretrain_step.main(["--side=16"]) == 0
    text = capsys.readouterr().out
    assert len(re.findall(r"(?:pretrain|finetune) \d tiles: +[0-9.]+ s per step", text)) == 2


def test_map_speed(capsys, tmp_path):
    save_random_model(tmp_path / "model", sensors=("s1a", "s2"))
    assert map_speed.main(["--kilometres=0.32", "--dates=2", f"--model={tmp_path / 'model'}", "--overlap=0", f"--folder={tmp_path}"]) == 0
    text = capsys.readouterr().out
    assert len(numbers(r"s, ([0-9.]+) km2 per minute, peak ([0-9]+) MiB", text)) == 4
    numbers(r"ratio of times \(loop / map\): ([0-9.]+)", text)


@pytest.mark.exhaustive
def test_second_start(capsys, monkeypatch, tmp_path, simulated):
    monkeypatch.delenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS")  # of the suite
    assert second_start.main([f"--config=tests/distributed/small_run.py:{simulated},{tmp_path / 'cache'},pretrain", "--steps=1", "--tiles=10"]) == 0
    text = capsys.readouterr().out
    stages = re.findall(r"^(pretrain|finetune|evaluate) .* (\d+) +(\d+)$", text, re.MULTILINE)
    assert [stage for stage, _, _ in stages] == ["pretrain", "finetune", "evaluate"] * 2
    assert all(int(programs) > 0 for _, programs, _ in stages)
    assert all(int(compiled) > 0 for _, _, compiled in stages[:3]) and not any(int(compiled) for _, _, compiled in stages[3:])
    numbers(r"ratio of times \(second / first\): ([0-9.]+)", text)
    with pytest.raises(UserError, match="expected the first start to end with exit code 0, found [12]; it printed last: .*"):
        second_start.main(["--changes", "finetune.stepz=1"])


def test_matrix_units(capsys, tmp_path):
    out = tmp_path / "rows.json"
    assert matrix_units.main(["--preset=demo,no_spot", "--encoders=temporal_first", "--heads=4,2", "--tiles=1", f"--out={out}"]) == 0
    narrow, _, wide, _ = json.loads(out.read_text())
    assert narrow["tflop"] == wide["tflop"] > 0
    assert 0 < narrow["shares"]["v5e, v5p"] < wide["shares"]["v5e, v5p"] < 1 and wide["shares"]["v6e"] < wide["shares"]["v5e, v5p"]
    assert "temporal_first" in capsys.readouterr().out


def test_checksums(capsys, tmp_path):
    assert checksums.main(["--gigabytes=0.0001", "--arrays=2", "--repeats=1", f"--folder={tmp_path}"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["seconds"]) == {"with", "without"} and found["hashing"] > 0
    assert all(found["ratios"][what] > 0 for what in ("save", "restore"))
    assert not [*tmp_path.iterdir()]


def test_loader(capsys, tmp_path):
    assert loader.main(["--tiles=6", "--tile_size=16", "--rounds=1", f"--folder={tmp_path}"]) == 0
    text = capsys.readouterr().out
    assert len(re.findall(r"records(?:, float16)?, [12] threads", text)) == 8
    assert len(re.findall(r"ArrayRecord, \w+, one record per (?:tile|frame)", text)) == 6
    numbers(r"peak memory of this process ([0-9]+) MiB", text)


def test_classical(capsys, records, tmp_path):
    """The folders that it writes are those of runs, which `folds` joins and compares. 15 s."""
    common = [f"--records={records.root}", "--seeds=0,1", "--folds=1", "--void_test_parcels", "--max_pixels=400"]
    assert classical.main([*common, "--model=extra_trees", "--trees=3", f"--out={tmp_path / 'trees'}"]) == 0
    *seeds, mean = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["seed"] for line in seeds] == [0, 1] and all(line["simulated"] and 0 <= line["miou"] <= 100 for line in seeds)
    assert mean["miou"] == pytest.approx(np.mean([line["miou"] for line in seeds])) and len(mean["t_interval_over_seeds"]) == 2
    assert seeds[0]["fits"]["1"]["features"] == {"s2": "optical", "s1a": "radar", "s1d": "radar", "spot": "image"}
    assert classical.main([*common[:1], *common[2:], "--model=logistic", "--modalities=s2", f"--out={tmp_path / 'logistic'}"]) == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["fits"]["1"]["chosen_on"] == ["fold_4"] and line["modalities"] == ["s2"]

    trees, logistic = (tmp_path / name / "seed_0" / "fold_1" for name in ("trees", "logistic"))
    assert folds.main([str(trees), "--beside", str(logistic), "--resamples=20"]) == 0
    joined = json.loads((trees / "results.json").read_text())
    text = " ".join(capsys.readouterr().out.split())
    assert "Without a network: 3 extra trees" in text and joined["subsets"][0]["parcels"]["scores"]["parcels"] > 0
    with pytest.raises(UserError, match="trees: expected a new folder"):
        classical.main([*common, f"--out={tmp_path / 'trees'}"])
    with pytest.raises(UserError, match="--modalities nothing: expected some of s2, s1a, s1d, spot"):
        classical.main([common[0], "--modalities=nothing"])
    with pytest.raises(UserError, match="arguments are required: --records"):
        classical.main([])


def test_classical_with_a_share_of_the_labels(capsys, records, tmp_path):
    """It learns from the labels of the same tiles as a run with this share and seed."""
    train, tiles = ("fold_1", "fold_2", "fold_3"), set()
    for seed in (0, 1):
        out = tmp_path / str(seed)
        options = [f"--records={records.root}", "--model=logistic", "--C=0.003", "--modalities=s2", "--max_pixels=0", "--label_share=0.2"]
        assert classical.main([*options, f"--seeds={seed}", f"--out={out}"]) == 0
        (line,) = map(json.loads, capsys.readouterr().out.splitlines())
        (fit,) = line["fits"].values()
        results = json.loads((out / f"seed_{seed}" / "fold_1" / "results.json").read_text())
        counts = records.label_counts(train, 0.2, seed)
        assert results["training"][0]["pixels"] == counts.tolist() and fit["pixels"] == counts.sum() < records.label_counts(train).sum()
        assert line["label_share"] == results["protocol"]["label_share"] == 0.2
        tiles.add(tuple(records.source(train, 0.2, seed)[0]["tile_index"].reshape(-1)))
    assert len(tiles) == 2, "another seed, other tiles"
    for wrong in ("0", "1.5", "nan"):
        assert run_command(classical.main, [f"--records={records.root}", f"--label_share={wrong}"]) == 1
        assert "--label_share: expected a share above 0, at most 1, found" in capsys.readouterr().err


def test_simulation_limits(capsys, monkeypatch):
    """The order of the sensors, at a size at which the ranges of the targets cannot be expected to hold."""
    monkeypatch.setattr(simulation_limits, "TREES", 40)
    assert simulation_limits.main(["--parcels=1200", "--seeds=0"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert list(found["compared"]) == list(LIMITS) and set(found["IoU"]["S2"]) == set(crops.NAMES[1:])
    mean = found["mIoU"]
    assert mean["all"] > mean["S1A+S1D+S2"] > mean["S2"] - 2 and mean["S2"] > mean["S1A"] > mean["SPOT"] > 10
    assert run_command(simulation_limits.main, ["--parcels=10"]) == 1 and "at least 400" in capsys.readouterr().err


def test_simulation_statistics(simulated, tmp_path, capsys):
    """Records have the statistics of the folder that they were made from, and a quantity that is missed is named."""
    assert prepare_pastis(simulated, tmp_path / "records") == 0
    capsys.readouterr()
    assert simulation_statistics.main([f"--simulated={simulated}", f"--measured={tmp_path / 'records'}", f"--json={tmp_path / 'all.json'}"]) in (0, 1)
    text = capsys.readouterr().out
    raw, prepared = json.loads((tmp_path / "all.json").read_text()).values()
    assert raw == pytest.approx(prepared, nan_ok=True) and "| S2 cloudy pixels | 0.14 to 0.19 |" in text
    outside = [name for name, target in STATISTICS.items() if name in raw and not target.holds(raw[name])]
    assert all(name in text.split("missed:")[1] for name in outside)


def test_simulation_picture(simulated, root, tmp_path, capsys):
    collection = json.loads((root / "metadata.geojson").read_text())
    (root / "metadata.geojson").write_text(json.dumps(collection | {"simulated": False}))
    options = [f"--simulated={simulated}", "--credit=nobody", f"--out={tmp_path / 'world.png'}"]
    assert simulation_picture.main([*options, f"--measured={root}", "--columns=2"]) == 0
    assert (tmp_path / "world.png").read_bytes().startswith(b"\x89PNG")
    for wrong, words in ((f"--measured={simulated}", "a measured and a simulated folder"), ("--columns=99", "at most the number of tiles")):
        assert run_command(simulation_picture.main, [*options, f"--measured={root}", wrong]) == 1
        assert words in capsys.readouterr().err


@needs_bucket
def test_object_storage(capsys):
    assert object_storage.main(["--frames=6", "--side=4", "--draw=3", "--latencies=0,1", "--rounds=1"]) == 0
    text = capsys.readouterr().out
    assert len(numbers(r"ratio of times \(bucket / file\): ([0-9.]+)", text)) == 2 * len(object_storage.IN_FLIGHT)
    assert len(re.findall("copied once: [0-9,]+ MB per second", text)) == 2
    with pytest.raises(UserError, match="--latencies: expected milliseconds"):
        object_storage.main(["--latencies=soon"])
