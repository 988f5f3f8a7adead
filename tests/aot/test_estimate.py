"""Estimates of a step, from operations whose times are known."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from omnisat_jax.aot.estimate import one_after_another, seconds
from omnisat_jax.aot.hlo import Operation, operations
from omnisat_jax.parallel.chips import CHIPS, GPUS
from tests.conftest import ROOT

V5E = CHIPS["v5e"]
TEXT = """HloModule jit_step

%fused (p: f32[8,4]) -> f32[8,4] {
  %p = f32[8,4]{1,0} parameter(0)
  ROOT %out = f32[8,4]{1,0} exponential(%p), backend_config={"window_config":{"estimated_cycles":"77"}}
}

%body (carry: (s32[], f32[8,4])) -> (s32[], f32[8,4]) {
  %carry = (s32[], f32[8,4]{1,0}) parameter(0)
  %x = f32[8,4]{1,0} get-tuple-element(%carry), index=1
  %y = f32[8,4]{1,0} fusion(%x), kind=kLoop, calls=%fused, backend_config={"window_config":{"estimated_cycles":"1500","iteration_bounds":["1"]}}
  ROOT %next = (s32[], f32[8,4]{1,0}) tuple(%carry, %y)
}

ENTRY %main (p: f32[16]) -> f32[16] {
  %p = f32[16]{0} parameter(0)
  %loop = (s32[], f32[8,4]) while(%start), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"6"}}
  ROOT %q = bf16[16]{0} convert(%p)
}
"""


def operation(kind="fusion", moved=0, times=1, cycles=0, shape="f32[8]{0}"):
    return Operation(kind, shape, (moved,), moved, times, cycles)


def test_cycles_are_those_of_what_runs_and_not_of_what_is_fused_into_it():
    found = {each.kind: each for each in operations(TEXT)}
    assert (found["fusion"].cycles, found["fusion"].times) == (1500, 6) and found["convert"].cycles == 0


def test_an_operation_takes_the_longer_of_its_cycles_and_its_traffic():
    cycles, traffic = operation(cycles=1_500_000_000, moved=100, times=2), operation("convert", moved=int(3 * V5E.bandwidth))
    both = operation(cycles=1_500_000, moved=int(V5E.bandwidth))
    assert one_after_another([cycles], V5E) == pytest.approx(2)
    assert one_after_another([cycles, traffic, both], V5E) == pytest.approx(2 + 3 + 1)
    assert one_after_another([operation(moved=int(2 * GPUS["h100"].bandwidth), cycles=7)], GPUS["h100"]) == pytest.approx(2), "GPUs have no clock here"


@pytest.mark.parametrize("kind", ["copy-start", "copy-done", "all-reduce", "all-gather-start", "collective-permute-done", "send"])
def test_what_runs_beside_others_is_not_waited_for(kind):
    assert one_after_another([operation(kind, moved=10**12)], V5E) == 0


def test_a_step_takes_the_longest_of_what_overlaps_and_its_communication():
    found = [operation(cycles=3_000_000_000), operation("copy-start", moved=int(V5E.bandwidth)), operation("all-reduce", shape="f32[50000000000]{0}")]
    for padded, step in ((0.0, 2), (5 * V5E.flops, 5)):
        times = seconds(found, padded, V5E)
        assert times["compute"] == pytest.approx(padded / V5E.flops) and times["operations"] == pytest.approx(2)
        assert times["memory"] == pytest.approx(1) and times["communication"] == pytest.approx(2)
        assert times["step"] == pytest.approx(step + 2)


@pytest.mark.parametrize("name", CHIPS)
def test_the_clock_is_that_of_the_peak(name):
    """A whole number of matrix units, each with a product and a sum per cycle and cell, reaches the documented peak within a percent."""
    chip = CHIPS[name]
    units = chip.flops / (2 * chip.matrix_unit**2 * chip.clock)
    assert units == pytest.approx(round(units), rel=0.01) and round(units) in (4, 8)


COMPILE = """
import json, sys, jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding
from omnisat_jax.aot.estimate import one_after_another
from omnisat_jax.aot.hlo import operations
from omnisat_jax.aot.topology import parse_topology
target = parse_topology(sys.argv[1])
devices = target.devices()
def estimate(function, dtype, *shapes):
    given = [jax.ShapeDtypeStruct(shape, dtype, sharding=SingleDeviceSharding(devices[0])) for shape in shapes]
    return one_after_another(operations(jax.jit(function).lower(*given).compile().as_text()), target.chip)
side = 8192
product = estimate(jnp.matmul, jnp.bfloat16, (side, side), (side, side)) / (2 * side**3 / target.chip.flops)
access = 2 * 4 * 4 * side**2 / target.chip.bandwidth
addition = estimate(lambda x: x + 1, jnp.float32, (side, 4 * side)) / access
vector = estimate(lambda x: jnp.sin(x) * jnp.tanh(x) + jnp.log(x), jnp.float32, (side, 4 * side)) / access
print(json.dumps({"devices": len(devices), "product": product, "addition": addition, "vector": vector}))
"""


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the TPU compiler: pip install libtpu")
@pytest.mark.parametrize(("topology", "chips"), [("v4:2x2x1", 4), ("v5e:2x2", 4), ("v5p:2x2x1", 4), ("v6e:2x2", 4)])
def test_the_compiler_expects_what_the_peaks_allow(topology, chips):
    """A device is a whole chip: a large product takes hardly longer than at the peak, an addition than at full bandwidth; the vector unit counts."""
    command = [sys.executable, "-c", COMPILE, topology]
    environment = os.environ | {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment, cwd=ROOT).stdout.splitlines()[-1])
    assert found["devices"] == chips
    assert 1 < found["product"] < 1.6 and 1 < found["addition"] < 1.6 and found["vector"] > 2 * found["addition"]
