"""The measurements of growth at tiny sizes."""

import math

import numpy as np
import pytest

from benchmarks.growth import __main__ as growth, hosts, powers, processes, tiles
from omnisat_jax.errors import UserError
from omnisat_jax.records.reader import Records


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0])
def test_the_exponent_of_a_power_law(power):
    sizes = [10, 100, 1000]
    assert powers.exponent(sizes, [3 * size**power for size in sizes]) == pytest.approx(power, abs=1e-9)


def test_what_a_start_costs_does_not_hide_growth():
    costs = {size: powers.Cost(50 + 0.01 * size**2, 0) for size in (10, 20, 40)}
    assert powers.Growth("x", "tiles", costs).exponent("seconds") < 0.3
    assert powers.Growth("x", "tiles", costs, powers.Cost(50, 0)).exponent("seconds") == pytest.approx(2)
    assert math.isnan(powers.Growth("x", "tiles", costs).exponent("mib"))


def test_a_process_of_its_own_has_its_own_peak():
    ballast = np.ones(2**25)  # 256 MiB here, which the other process must not count
    (small, _), (large, result) = processes.in_process(np.ones, 1), processes.in_process(np.ones, 2**24)
    assert small.mib < 64 < 120 < large.mib < 200 and large.seconds > 0 and len(result) == 2**24 < len(ballast)


def test_many_tiles_are_different_and_whole(tmp_path):
    """More than there are templates; verification refuses equal files of different parts."""
    raw, out = tiles.make_tiles(tmp_path / "raw", 2 * tiles.TEMPLATES + 3), str(tmp_path / "records")
    tiles.verify_tiles(str(raw))
    tiles.prepare_tiles(str(raw), out)
    tiles.verify_records(out)
    tiles.open_records(out)
    tiles.read_epoch(out)
    records = Records(out)
    assert len(records.tile_ids) == 2 * tiles.TEMPLATES + 3 and records.info.simulated
    assert len({records.source(records.parts)[i]["s2"]["values"][0].tobytes() for i in range(len(records.tile_ids))}) == len(records.tile_ids)


def test_rows(capsys):
    assert growth.main(["--only=rows", "--rows=1,2", "--patches=16"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "48 / 96 rows" in line]
    assert len(lines) == 2 and all(len(line.split("  ")) > 4 for line in lines)


@pytest.mark.exhaustive
def test_every_other_part(capsys, tmp_path):
    small = ["--tiles=15,20", "--dates=2,3", "--modalities=1,2", "--side=8", "--hosts=1,2", "--steps=2", f"--folder={tmp_path}"]
    for part, rows in (("tiles", 5), ("train", 1), ("dates", 2), ("modalities", 2), ("hosts", 1)):
        assert growth.main([f"--only={part}", *small]) == 0
        text = capsys.readouterr().out
        assert sum(" / " in line for line in text.splitlines()) == rows, text


@pytest.mark.exhaustive
def test_each_process_reads_its_own_share(records, tmp_path):
    alone, pair = (hosts.start_run(records.root, tmp_path / str(count), count, 2) for count in (1, 2))
    assert len(alone) == 1 and len(pair) == 2
    assert sum(host.mib for host in pair) == pytest.approx(alone[0].mib, rel=0.6) and all(0 < host.mib < alone[0].mib for host in pair)


@pytest.mark.parametrize("option", ["--only=tile", "--tiles=100,10", "--dates=0", "--rows=x"])
def test_wrong_options(option):
    with pytest.raises(UserError, match="expected"):
        growth.main([option])
