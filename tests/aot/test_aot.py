"""Counting collectives, and the real TPU compiler where it is installed."""

import importlib.util
import io
import json

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

from omnisat_jax.aot.collectives import between_slices, totals
from omnisat_jax.aot.command import compile_for, fits, show
from omnisat_jax.aot.hlo import operations, size, traffic
from omnisat_jax.aot.topology import parse_topology
from omnisat_jax.config import schema
from omnisat_jax.errors import UserError
from omnisat_jax.parallel.chips import CHIPS, GPUS
from tests.conftest import tiny

HLO = """HloModule jit_step

%add (x: f32[], y: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%x, %y)
}

%body (carry: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %sent = (f32[8,4]{1,0}, f32[8,4]{1,0}, u32[], u32[]) collective-permute-start(%block), source_target_pairs={{0,1},{1,0}}
  %got = f32[8,4]{1,0} collective-permute-done(%sent)
}

%condition (carry: (s32[], f32[8,4])) -> pred[] {
}

ENTRY %main (p: f32[16]) -> f32[16] {
  %loop = (s32[], f32[8,4]) while(%start), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"6"}}
  %both = (f32[16]{0}, bf16[2,2]{1,0}) all-reduce-start(%p, %q), to_apply=%add
  %begin = (f32[4]{0}, f32[16]{0}) all-gather-start(%p), dimensions={0}
  %end = f32[16]{0} all-gather-done(%begin)
}
"""


def test_collectives_are_counted_as_often_as_they_run():
    sent = totals(operations(HLO))
    assert sent["collective-permute"] == 6 * 8 * 4 * 4
    assert sent["all-reduce"] == 16 * 4 + 4 * 2
    assert sent["all-gather"] == 16 * 4
    assert sent["reduce-scatter"] == 0


def test_of_a_reduce_scatter_everything_goes_around_and_not_the_share_that_stays():
    text = """HloModule jit_step

ENTRY %main (p: f32[16]) -> f32[4] {
  %p = f32[16]{0} parameter(0)
  ROOT %share = f32[4]{0} reduce-scatter(%p), dimensions={0}, to_apply=%add
}
"""
    assert totals(operations(text))["reduce-scatter"] == 16 * 4


def test_what_goes_to_other_slices_is_counted_apart():
    text = """HloModule jit_step

ENTRY %main (p: bf16[6,8]) -> bf16[6,8] {
  %p = bf16[6,8]{1,0} parameter(0)
  %after = token[] after-all()
  %far = (bf16[6,8]{0,1:T(8,128)(2,1)}, u32[], token[]) send(%p, %after), channel_id=2, is_host_transfer=true
  %done = token[] send-done(%far), channel_id=2, is_host_transfer=true
  ROOT %near = bf16[6,8]{1,0} all-reduce(%p), to_apply=%add
}
"""
    found = operations(text)
    assert between_slices(found) == 6 * 8 * 2 and sum(totals(found).values()) == 6 * 8 * 2
    assert between_slices(operations(HLO)) == 0


def test_traffic_is_operands_and_results_of_what_is_not_fused():
    """A loop counts as often as it runs, and fused intermediate results not at all."""
    text = """HloModule jit_step

%fused (p: f32[8,4]) -> f32[8,4] {
  %p = f32[8,4]{1,0} parameter(0)
  %inner = f32[8,4]{1,0} multiply(%p, %p)
  ROOT %out = f32[8,4]{1,0} add(%inner, %p)
}

%body (carry: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %carry = (s32[], f32[8,4]{1,0}) parameter(0)
  %x = f32[8,4]{1,0} get-tuple-element(%carry), index=1
  %y = f32[8,4]{1,0} fusion(%x), kind=kLoop, calls=%fused
  ROOT %next = (s32[], f32[8,4]{1,0}) tuple(%carry, %y)
}

ENTRY %main (p: f32[16]) -> f32[16] {
  %p = f32[16]{0} parameter(0)
  %loop = (s32[], f32[8,4]) while(%start), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"6"}}
  ROOT %q = bf16[16]{0} convert(%p)
}
"""
    assert traffic(operations(text)) == 6 * 2 * 8 * 4 * 4 + 16 * 4 + 16 * 2
    with pytest.raises(UserError, match="expected an ENTRY with operations, found none"):
        operations("HloModule other")


def test_of_an_array_that_a_loop_reads_or_writes_in_parts_only_the_parts_are_traffic():
    text = """HloModule jit_step

%fused (a: f32[6,4], i: s32[], b: f32[6,4]) -> f32[6,4] {
  %a = f32[6,4]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %b = f32[6,4]{1,0} parameter(2)
  %zero = s32[] constant(0)
  %row = f32[1,4]{1,0} dynamic-slice(%a, %i, %zero), dynamic_slice_sizes={1,4}
  %twice = f32[1,4]{1,0} add(%row, %row)
  ROOT %out = f32[6,4]{1,0} dynamic-update-slice(%b, %twice, %i, %zero)
}

%body (carry: (s32[], f32[6,4], f32[6,4])) -> (s32[], f32[6,4], f32[6,4]) {
  %carry = (s32[], f32[6,4]{1,0}, f32[6,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%carry), index=0
  %a = f32[6,4]{1,0} get-tuple-element(%carry), index=1
  %b = f32[6,4]{1,0} get-tuple-element(%carry), index=2
  %c = f32[6,4]{1,0} fusion(%a, %i, %b), kind=kLoop, calls=%fused
  ROOT %next = (s32[], f32[6,4]{1,0}, f32[6,4]{1,0}) tuple(%i, %a, %c)
}

ENTRY %main (p: f32[6,4]) -> f32[2,4] {
  %p = f32[6,4]{1,0} parameter(0)
  %loop = (s32[], f32[6,4], f32[6,4]) while(%p), condition=%none, body=%body, backend_config={"known_trip_count":{"n":"6"}}
  %c = f32[6,4]{1,0} get-tuple-element(%loop), index=2
  %begin = (f32[6,4]{1,0}, f32[12,4]{1,0}) all-gather-start(%c), dimensions={0}
  %end = f32[12,4]{1,0} all-gather-done(%begin)
  ROOT %some = f32[2,4]{1,0} slice(%end), slice={[0:2], [0:4]}
}
"""
    row = 4 * 4
    assert traffic(operations(text)) == 6 * (row + 4 + row) + (6 + 12) * row + 2 * 2 * row


def test_traffic_of_a_compiled_loop_grows_with_its_array():
    """Not with the square of the number of its trips, as if each read all of it."""
    found = {}
    for trips in (16, 64):
        program = jax.jit(lambda x: jax.lax.map(lambda row: jnp.tanh(2 * row), x)).lower(jnp.zeros((trips, 4096))).compile()
        found[trips] = traffic(operations(program.as_text()))
        assert 2 <= found[trips] / (4 * trips * 4096) < 4  # read and written
    assert found[64] / found[16] == pytest.approx(4, rel=0.1)


def test_sizes_have_the_padding_of_tiles():
    assert size("(f32[2,3]{1,0}, s32[])") == 2 * 3 * 4 + 4
    assert size("f32[5,10,100]{2,1,0:T(8,128)}") == 5 * 16 * 128 * 4
    assert size("bf16[10,100,5]{0,1,2:T(8,128)(2,1)}") == 5 * 104 * 128 * 2
    assert size("f32[10,100]{1,0:T(8,128)S(1)}") == 0  # not in the memory of the chip


def test_topologies():
    v5e, v4, h100 = map(parse_topology, ("v5e:4x4", "v4:2x2x4", "h100:16"))
    assert (v5e.chip, v5e.count, v5e.is_gpu) == (CHIPS["v5e"], 16, False)
    assert v4.count == 16
    assert (h100.chip, h100.count, h100.is_gpu) == (GPUS["h100"], 16, True)
    pods = parse_topology("2_of_v5e:4x4")
    assert (pods.chip, pods.count, pods.slices, v5e.slices) == (CHIPS["v5e"], 32, 2, 1)
    with pytest.raises(UserError, match="2_of_v4:2x2x1: expected slices of v5e, v5p, v6e"):
        parse_topology("2_of_v4:2x2x1")
    for wrong in ("v9:4x4", "0_of_v5e:4x4", "2_of_h100:8", "2xv5e:4x4", "v5e", "v5e:4", "4x4", "h100", "h100:0", "h100:2x2", "h300:8"):
        with pytest.raises(UserError, match=f"expected CHIP:AxB .*GPU:N .*found '{wrong}'"):
            parse_topology(wrong)
    with pytest.raises(UserError, match="h100:12: expected up to 8 GPUs, or a multiple of 8"):
        parse_topology("h100:12")


def test_what_does_not_fit_is_said():
    report = {
        "name": "large", "topology": "v5e:2x2", "chips": 4, "raised": {"pretrain": 2},
        "stages": {"pretrain": {"batch_size": 4, "fits": False, "compiler": "RESOURCE_EXHAUSTED: 40 GiB of 16 GiB"}},
    }  # fmt: skip
    console = Console(file=io.StringIO(), width=100)
    show(console, report)
    text = console.file.getvalue()
    assert not fits(report) and "NO" in text and "40 GiB of 16 GiB" in text
    assert "pretrain: 2 tiles cannot be divided among 4 chips, so it is compiled for 4" in text


@pytest.mark.parametrize(("topology", "attention", "said"), [("h100:1", "XLA", True), ("h100:1", "cuDNN", False), ("v5e:2x2", "XLA", False)])
def test_which_attention_was_compiled_is_said(topology, attention, said):
    stage = {"batch_size": 4, "fits": True, "attention": attention}
    console = Console(file=io.StringIO(), width=200)
    show(console, {"name": "any", "topology": topology, "chips": 1, "raised": {}, "stages": {"pretrain": stage}})
    text = console.file.getvalue()
    assert any("attention" in line and attention in line for line in text.splitlines())
    assert ("attention: compiled as XLA's, always where no GPU is there; on a GPU model.fusion.attention=auto takes cuDNN's" in text) == said


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the TPU compiler: pip install libtpu")
@pytest.mark.parametrize("num_microbatches", [1, pytest.param(2, marks=pytest.mark.exhaustive)])
def test_the_tpu_compiler_takes_both_steps(num_microbatches, tmp_path):
    """Small model, full tiles, with and without microbatches: it fits four chips, and data-parallel means that nothing whole is gathered."""
    config = tiny("omnisat_resnet,no_spot", **{"mesh.data": -1, "model.precision": "auto"})
    del config.modalities["s1d"]  # two series are enough to align
    for stage in (config.pretrain, config.finetune):
        stage.batch_size, stage.num_microbatches = 4 * num_microbatches, num_microbatches
    report = compile_for(schema.parse(config), "v5e:2x2", folder=tmp_path, console=Console(quiet=True))
    assert fits(report) and set(report["stages"]) == {"pretrain", "finetune"}
    assert json.loads((tmp_path / "compiled_v5e_2x2.json").read_text()) == report
    for stage in report["stages"].values():
        assert stage["flops"] > 1e9 and 0 < stage["hfu"] < 1 and stage["interconnect_bytes"]["all-reduce"] > 0
        assert stage["seconds"]["step"] > stage["seconds"]["operations"] > stage["seconds"]["compute"] > 0
        assert stage["interconnect_bytes"]["all-gather"] < min(stage["parameter_bytes"], stage["token_bytes"])
    assert report["stages"]["pretrain"]["interconnect_bytes"]["collective-permute"] > 0  # of the ring InfoNCE


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the TPU compiler: pip install libtpu")
def test_the_tpu_compiler_takes_two_slices(tmp_path):
    """Copies of the model on each slice: what crosses is a share of the gradients."""
    config = tiny("omnisat_resnet,no_spot,equal_compute", **{"mesh.data": -1, "model.precision": "auto", "finetune.batch_size": 8})
    del config.modalities["s1d"]
    report = compile_for(schema.parse(config), "2_of_v5e:2x2", folder=tmp_path, console=Console(quiet=True))
    assert report["chips"] == 8 and report["mesh"] == {"replica": 2, "data": 4, "fsdp": 1}
    (stage,) = report["stages"].values()
    assert 0 < stage["between_slices_bytes"] < 4 * stage["parameter_bytes"]  # each array is padded to 128 numbers


GPU_COMPILER = importlib.util.find_spec("jax_cuda13_plugin") is not None


@pytest.mark.skipif(not GPU_COMPILER, reason="needs the GPU compiler: pip install 'jax[cuda13-local]'")
def test_the_gpu_compiler_takes_both_steps(tmp_path):
    """Two GPUs with an image encoder: the gradients are summed over both, and the contrastive loss goes around them."""
    config = tiny("omnisat_resnet,no_s1", **{"mesh.data": -1, "model.precision": "auto"})
    report = compile_for(schema.parse(config), "h100:2", folder=tmp_path, console=Console(quiet=True))
    assert fits(report) and report["chips"] == 2 and set(report["stages"]) == {"pretrain", "finetune"}
    for stage in report["stages"].values():
        assert stage["flops"] > 1e9 and 0 < stage["hfu"] < 1 and stage["memory_bytes"] == GPUS["h100"].memory
        assert sum(stage["interconnect_bytes"].values()) > 0
    assert report["stages"]["pretrain"]["interconnect_bytes"]["collective-permute"] > 0


@pytest.mark.parametrize(
    ("topology", "advice"),
    [
        pytest.param("v5e:2x2", "pip install libtpu", marks=pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="the TPU compiler is there")),
        pytest.param("h100:1", "pip install 'jax.cuda13-local.'", marks=pytest.mark.skipif(GPU_COMPILER, reason="the GPU compiler is there")),
    ],
)
def test_without_the_compiler_it_says_what_to_install(topology, advice, tmp_path):
    with pytest.raises(UserError, match=advice):
        compile_for(schema.parse(tiny()), topology, folder=tmp_path, console=Console(quiet=True))
