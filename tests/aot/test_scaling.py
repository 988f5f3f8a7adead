"""Predicted scaling follows from the reports."""

import io

import pytest
from rich.console import Console

from omnisat_jax.aot.scaling import scaling, show_scaling


def report(topology, chips, batch_size, seconds, flops, stage="pretrain"):
    return {"topology": topology, "chips": chips, "stages": {stage: {"batch_size": batch_size, "flops": flops, "seconds": {"step": seconds}}}}


def test_efficiency_and_growth():
    perfect, slower, other = report("v5e:4x4", 16, 16, 0.5, 3.0), report("v5e:16x16", 256, 256, 1.0, 12.0), report("v5e:8x8", 64, 128, 0.5, 6.0)
    first, second, third = scaling([perfect, slower, other])
    assert first["tiles_per_second"] == 32 and first["efficiency"] == 1 and first["growth"] is None
    assert second["efficiency"] == pytest.approx(0.5) and second["growth"] == pytest.approx(0.5)  # 4 = 16 ** 0.5 times the FLOPs per chip
    assert third["efficiency"] == pytest.approx(2) and third["growth"] is None  # other tiles per chip


def test_each_stage_has_its_own_reference_and_what_does_not_fit_is_left_out():
    too_large = {"topology": "v5e:2x2", "chips": 4, "stages": {"pretrain": {"batch_size": 4, "fits": False, "compiler": "RESOURCE_EXHAUSTED"}}}
    rows = scaling([too_large, report("v5e:4x4", 16, 16, 0.5, 3.0), report("v5e:4x4", 16, 32, 0.5, 3.0, "finetune")])
    assert [(row["stage"], row["efficiency"]) for row in rows] == [("pretrain", 1), ("finetune", 1)]


def test_the_table():
    console = Console(file=io.StringIO(), width=140)
    show_scaling(console, [report("v5e:4x4", 16, 16, 0.5, 3.0), report("v5e:16x16", 256, 256, 1.0, 12.0)])
    text = console.file.getvalue()
    assert "50 %" in text and "+0.50" in text and "1000.0 ms" in text and "0 is perfect weak scaling" in " ".join(text.split())
