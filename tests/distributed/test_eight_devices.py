"""The unchanged steps on eight emulated devices, in a separate process: the same numbers as on one."""

import json
import os

import jax
import numpy as np
import pytest

from omnisat_jax.config import schema
from omnisat_jax.parallel import mesh as meshes
from tests import forks


def child(module, *arguments):
    """The JSON that a module prints in a process with eight emulated devices."""
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"
    done = forks.run(forks.module(f"tests.distributed.{module}", *arguments), env=os.environ | {"XLA_FLAGS": flags})
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("which", [(), pytest.param(("all",), marks=pytest.mark.exhaustive)], ids=str)
def test_ring_equals_dense(which):
    cases = child("ring", *which)
    assert {case["devices"] for case in cases} == {1, 2, 4, 8}
    for case in cases:
        # In bfloat16 the weights of the gradient are rounded to eight bits, and the gradient of an embedding once more.
        gradient, temperature = (1e-5, 1e-5) if case["dtype"] == "float32" else (1e-2, 1e-3)
        assert case["value"] < 1e-5 and case["gradient"] < gradient and case["temperature"] < temperature, case
        assert case["accuracy"] < 1e-6, case
    # A ring is as long as its group: tiles of other groups do not travel.
    sent = {(case["devices"], case["group"]): case["sent"] for case in cases if case["dtype"] == "float32" and case["patches"] == 5}
    assert sent[8, 2] * 4 == sent[8, 4] * 2 == sent[8, 0] > 0
    assert sent[4, 2] == 0 < sent[4, 4] and sent[4, 4] * 2 == sent[4, 0]


def test_checksums_know_a_state_in_every_layout():
    report = child("relayout")
    regions = {name: report.pop(name) for name in list(report) if name.endswith("regions")}
    assert list(regions.values()) == [1, 4, 4, 8, 8] and len(report) == 30
    for layouts, (same, changed) in report.items():
        assert same == [] and changed == ["['kernel']"], layouts


# Devices, replica, fsdp and microbatches. The first of several has all of them, on half of the devices.
SEVERAL = ("4x2x2x2", "8x2x2x1")


@pytest.mark.parametrize(
    ("task", "layouts"),
    [("pretrain", SEVERAL[:1]), *(pytest.param(task, SEVERAL, marks=pytest.mark.exhaustive) for task in ("pretrain", "finetune"))],
)
def test_same_numbers_on_several_devices_and_in_microbatches(records, task, layouts):
    report = child("eight_devices", str(records.root), task, "1x1x1x1", *layouts)
    assert report["devices"] == 8
    runs = report["runs"]
    assert all(run["compilations"] == 1 for run in runs.values())
    assert min(runs[layout]["cut"] for layout in layouts) > 10 and runs["1x1x1x1"]["cut"] == 0
    for layout in layouts:
        np.testing.assert_allclose(runs[layout]["losses"], runs["1x1x1x1"]["losses"], rtol=2e-5)


def test_mesh_must_fit_the_devices():
    with pytest.raises(ValueError, match="number of devices, 1; found -1 x 3 x 1"):
        meshes.make_mesh(schema.MeshConfig(-1, 3, 1, 0), jax.devices()[:1])


def test_batch_must_fit_the_devices():
    class Eight:
        size = 8

    with pytest.raises(
        ValueError, match="eval.batch_size 6 must be a multiple of the number of devices, 8: set --config.eval.batch_size=8"
    ):
        meshes.check_batch_size("eval.batch_size", 6, Eight())
    with pytest.raises(ValueError, match="times 2 microbatches: set --config.pretrain.batch_size=32"):
        meshes.check_batch_size("pretrain.batch_size", 24, Eight(), num_microbatches=2)


@pytest.mark.parametrize(
    ("mesh", "sizes", "used"),
    [
        ((-1, -1, 1), (16, 8), 8),
        ((-1, -1, 1), (2, 8), 2),
        ((-1, -1, 1), (1, 8), 1),
        ((-1, -1, 1), (12, 8), 4),
        ((-1, -1, 2), (12, 8), 4),
        ((2, -1, 2), (2, 8), 8),  # nothing fits: refused afterwards
        ((-1, 8, 1), (2, 8), 8),  # given explicitly: refused as well
    ],
)
def test_a_process_uses_as_many_devices_as_its_batches_can_be_cut_over(mesh, sizes, used):
    devices = list("abcdefgh")
    found = meshes.usable_devices(schema.MeshConfig(*mesh, 0), dict(zip("xy", sizes)), devices)
    assert found == devices[:used]
