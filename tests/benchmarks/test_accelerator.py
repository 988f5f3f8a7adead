"""The measurements on an accelerator, at a tiny size on the CPU."""

import io
import json
import time

import numpy as np
import pytest
from rich.console import Console

from benchmarks.accelerator import __main__ as accelerator
from benchmarks.accelerator.jobs import Job, configure, parity_jobs, speed_jobs
from benchmarks.accelerator.running import Running
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from tests.conftest import tiny


@pytest.mark.exhaustive
def test_jobs_are_compiled_side_by_side_compared_and_shown(tmp_path):
    """Three processes: the reference, the same once more, and a step that is timed."""
    config = schema.flatten(schema.parse(tiny("no_spot,no_dropout", **{"modalities.s2.encoder": "patch_ltae", "data.crop": 8})))
    parity = [Job(f"parity_finetune_{name}", "parity", "finetune", config, 2, on_cpu=True) for name in ("cpu", "bfloat16")]
    timed = Job("speed_finetune", "speed", "finetune", config, 2)
    with Running([timed, *parity], tmp_path, 2) as running:
        running.compile_all(time.monotonic() + 300)
        running.finish(timed, time.monotonic() + 100)
    found = accelerator.compare(parity, tmp_path)["finetune"]["bfloat16"]
    assert found["agrees"] and found["repeats_bit_for_bit"] and found["loss_error"] == found["gradient_error"] == 0
    result = json.loads((tmp_path / "speed_finetune.json").read_text())
    assert result["finite"] == 1 and result["seconds"] > 0 and result["model_tflop"] == result["tflop"] > 0 and result["mfu"] is None

    console = Console(file=io.StringIO(), width=150)
    accelerator.show(console, {"device": {}, "versions": {}, "parity": {"finetune": {"bfloat16": found}}, "speed": {"speed_finetune": result}})
    assert "finetune" in console.file.getvalue()


def test_losses_that_differ_are_found(tmp_path):
    for name, losses in (("cpu", [2.0, 1.0]), ("float32_highest", [2.0, 1.0005])):
        np.savez(tmp_path / f"parity_pretrain_{name}.npz", losses=np.array(losses), norms=np.ones(2), moment_0=np.ones(3, np.float32))
        (tmp_path / f"parity_pretrain_{name}.json").write_text("{}")
    jobs = [Job(f"parity_pretrain_{name}", "parity", "pretrain", {}, 2) for name in ("cpu", "float32_highest", "bfloat16")]
    found = accelerator.compare(jobs, tmp_path)["pretrain"]
    assert found["float32_highest"]["loss_error"] == pytest.approx(5e-4) and not found["float32_highest"]["agrees"]
    assert not found["bfloat16"]["agrees"] and "not finished" in found["bfloat16"]["error"]


def test_variants():
    jobs = speed_jobs("hd", (16, 32), 3, True, {})
    assert [job.name for job in jobs][:2] == ["speed_pretrain_temporal_first", "speed_finetune_temporal_first"] and len({job.name for job in jobs}) == len(jobs)
    assert {job.config["model.fusion.attention"] for job in jobs} == {"auto", "xla"}
    assert all("attention" not in job.name for job in speed_jobs("hd", (16, 32), 3, False, {}))
    assert {(job.stage, job.on_cpu) for job in parity_jobs("hd", 2)} == {(s, c) for s in ("pretrain", "finetune") for c in (True, False)}
    changed = configure("hd", "pretrain", 4, {"series.dates_train": 8})
    assert changed["pretrain.batch_size"] == 4 and changed["modalities.s1d.dates_train"] == 8
    with pytest.raises(UserError, match="--sizes: expected two growing numbers"):
        accelerator.main(["--out=x", "--sizes=32,16"])


def test_ceilings():
    found = accelerator.ceilings(64)
    assert found["tflop_per_second"] > 0 and found["gb_per_second"] > 0
