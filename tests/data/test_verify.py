"""`data.verify`: what it shows, what it doubts, and that no finding is lost. The faults themselves are in test_faults.py."""

import dataclasses
import io
import json
import os
import shutil
import tracemalloc

import numpy as np
import pytest
from rich.console import Console

from data import verify
from data.reading.datasets import open_dataset
from data.reading.raw import RawModality
from data.verification import findings, histogram, raw_check, units
from data.verification.calendars import Calendar, impossible
from data.verification.contents import Contents
from data.verification.facts import TileFacts, sensor_facts
from data.verification.findings import DOUBT, KINDS
from data.verification.options import VerificationOptions
from data.verification.records_check import verify_records
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import Finding, UserError
from tests import faults
from tests.faults import TILE, tiles


@pytest.fixture(scope="session")
def checked(simulated, tmp_path_factory):
    """An intact folder with its manifest."""
    root = tmp_path_factory.mktemp("checked") / "pastis"
    shutil.copytree(simulated, root)
    assert verify.main(["pastis", "--raw", str(root), "--jobs", "1"]) == 0
    return root


@pytest.fixture
def root(checked, tmp_path):
    target = tmp_path / "pastis"
    shutil.copytree(checked, target)
    return target


def run(root, console, **options):
    return raw_check.verify_raw("pastis", root, VerificationOptions(**options), console)


def shown(dataset, root, **options):
    """(findings, printed text)"""
    console = Console(file=io.StringIO(), width=100)
    return raw_check.verify_raw(dataset, root, VerificationOptions(**options), console), console.file.getvalue()


def doubts(found):
    return [finding for finding in found if finding.kind == DOUBT]


def test_an_intact_folder_has_no_findings(root, console):
    assert run(root, console) == []
    assert run(root, console, jobs=2) == []


def test_exit_codes_and_table(root, capsys):
    arguments = ["pastis", "--raw", str(root), "--jobs", "1"]
    assert verify.main(arguments) == 0
    (root / faults.SPOT).unlink()
    assert verify.main(arguments) == 1
    shown = capsys.readouterr().out
    assert "missing" in shown and "gone" in shown and TILE in shown and "failures: 2" in shown
    assert verify.main([*arguments, "--allow", "missing,gone"]) == 0
    assert run_command(verify.main, [*arguments, "--allow", "typo"]) == 1
    assert run_command(verify.main, [*arguments, "--jobs", "0"]) == 1
    assert "--allow: expected some of unreadable" in capsys.readouterr().err
    assert verify.main([*arguments, "--update"]) == 1  # the new manifest does not know the file, its tile still lacks it
    assert verify.main([*arguments, "--allow", "missing"]) == 0


def test_contents_are_shown_and_written(root, tmp_path):
    found, text = shown("pastis", root, update=True, json_file=tmp_path / "report.json")
    assert found == []
    rows = [row for row in text.splitlines() if not row.startswith(("part fold", "no part", "s1", "s2:", str(root), "contents"))]
    assert len(rows) > 40 and max(map(len, rows)) <= 100
    for wanted in ("reflectance x 10,000", "backscatter in dB", "8 bit", "Meadow", "fold_5", "dates per tile", "widest gap", "parcels: "):
        assert wanted in text
    report = json.loads((tmp_path / "report.json").read_text())
    manifest = json.loads((root / "manifest.json").read_text())
    assert report["contents"] == manifest["contents"] and report["findings"] == [] and len(manifest["files"]) == 61
    labels = [np.load(path)[0] for path in sorted((root / "ANNOTATIONS").glob("TARGET_*.npy"))]
    parts = report["contents"]["parts"]
    assert sum(part["tiles"] for part in parts.values()) == 10
    assert sum(part["classes"]["Meadow"] for part in parts.values()) == sum(int((label == 1).sum()) for label in labels)
    radar = np.concatenate([np.load(path)[:, 0].ravel() for path in (root / "DATA_S1A").glob("*.npy")])
    band = report["contents"]["modalities"]["s1a"]["bands"]["VV"]
    assert band["min"] == radar.min() and band["max"] == radar.max() and band["unknown"] == 0
    for key, share in (("p1", 0.01), ("median", 0.5), ("p99", 0.99)):
        np.testing.assert_allclose(band[key], np.quantile(radar, share, method="inverted_cdf"), rtol=2e-3)
    calendar = report["contents"]["modalities"]["s2"]["calendar"]
    dates = json.loads((root / "metadata.geojson").read_text())["features"][0]["properties"]["dates-S2"]
    assert calendar["dates_per_tile"][0] <= len(dates) <= calendar["dates_per_tile"][2]
    assert sum(calendar["dates_per_month"].values()) == pytest.approx(np.mean([len(dates)] * 10), abs=5)


def test_kinds_are_documented_and_doubts_are_no_failures():
    assert {"georeference", "unknown", "baseline", "doubt", "fault", "link", "leak", "value"} <= set(KINDS)
    some = [Finding(kind, "a", "b", "c", "d") for kind in KINDS]
    assert [f.kind for f in findings.failures(some, ("missing",))] == [kind for kind in KINDS if kind not in ("missing", DOUBT)]


def test_an_unforeseen_error_is_a_finding_of_its_tile(root, console, monkeypatch):
    opened = open_dataset("pastis", root)

    def breaks(tile):
        if tile == TILE:
            raise RecursionError("too\ndeep \x1b[31m")
        return opened.readers["s2"](tile)

    def inspect(tile):
        yield from opened.inspect(tile)
        if tile == "10004":
            raise KeyError("x")

    broken = dataclasses.replace(opened, readers={**opened.readers, "s2": breaks}, inspect=inspect)
    monkeypatch.setattr(raw_check, "open_dataset", lambda *_: broken)
    np.save(root / faults.S2.replace(TILE, "10007"), np.zeros(3))
    found = [finding for finding in run(root, console) if finding.kind != "changed"]
    assert {(f.kind, f.tile) for f in found} == {("fault", TILE), ("fault", "10004"), ("unreadable", "10007")}
    (fault,) = (finding for finding in found if finding.tile == TILE)
    assert "RecursionError: too" in fault.found and fault.path.endswith(faults.S2)
    monkeypatch.setattr(raw_check, "open_dataset", lambda *_: 1 / 0)
    assert [f.kind for f in run(root, console)][0] == "fault"


def dies(shared, tile):
    """The process of one tile dies, as for lack of memory."""
    if tile == shared:
        os._exit(7)
    return [Finding("missing", tile, "-", "-", "-")], None


def test_a_process_that_dies_names_its_tile_and_the_others_are_read():
    names = list("abcdefgh")
    found = [finding for result, _ in raw_check.results(dies, "c", names, 2) for finding in result]
    assert [finding.tile for finding in found] == names
    assert [finding.kind for finding in found] == ["fault" if name == "c" else "missing" for name in names]


def test_findings_come_before_the_message_that_the_manifest_cannot_be_written(root, tmp_path, capsys):
    np.save(root / faults.S2, np.zeros((3, 9, 16, 16), np.int16))
    (tmp_path / "file").write_text("")
    arguments = ["pastis", "--raw", str(root), "--jobs", "1", "--manifest", str(tmp_path / "file" / "manifest.json")]
    assert run_command(verify.main, arguments) == 1
    out, err = capsys.readouterr()
    assert "S2_10003.npy" in out and "failures: 1" in out
    assert "--manifest FILE keeps it elsewhere" in err and err.count("\n") == 1


def test_a_folder_that_cannot_be_opened_leaves_the_manifest_and_is_compared_with_it(root, console):
    before = (root / "manifest.json").read_bytes()
    (root / "metadata.geojson").write_text('{"features": [')
    assert [f.kind for f in run(root, console)] == ["unreadable", "changed"]
    assert [f.kind for f in run(root, console, update=True)] == ["unreadable"]
    assert (root / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1, "dataset": "treesat", "files": {}}', '{"format": 2, "dataset": "pastis"}'])
def test_an_invalid_manifest_is_a_finding(root, console, text):
    (root / "manifest.json").write_text(text)
    (finding,) = run(root, console)
    assert finding.kind == "unreadable" and finding.path.endswith("manifest.json") and "--update" in finding.advice
    assert (root / "manifest.json").read_text() == text


def test_a_file_that_the_manifest_lacks_is_listed(root, console):
    (root / "DATA_S2" / "S2_77777.npy").write_bytes(b"x")
    assert [f.kind for f in run(root, console)] == ["unreadable", "unlisted"]  # metadata.geojson lacks it as well


def test_order_georeference_and_bytes_of_another_part(root, console):
    def swap(properties):
        dates = properties["dates-S2"]
        dates["0"], dates["1"] = dates["1"], dates["0"]

    faults.change_metadata(root, swap)
    shutil.copy(root / faults.SPOT.replace(TILE, "10009"), root / faults.SPOT)
    kinds = {f.kind: f for f in run(root, console)}
    assert "position 1 before position 0" in kinds["order"].found
    assert "m away" in kinds["georeference"].found and kinds["georeference"].tile == TILE
    assert "SPOT6_RVB_1M00_2019_10003.tif (part fold_4)" in kinds["leak"].found and kinds["leak"].tile == "10009"


def test_radar_in_linear_power_is_a_doubt_and_not_a_failure(root, capsys):
    for path in (root / "DATA_S1A").glob("*.npy"):
        faults.change_array(path, lambda a: (10 ** (a / 10)).astype(np.float32))
    assert verify.main(["pastis", "--raw", str(root), "--jobs", "1", "--update"]) == 0
    text = capsys.readouterr().out
    assert "s1a: expected backscatter in dB, mostly -30 to 5" in text and "looks like linear power" in text and "doubts: 1" in text


def test_a_tile_of_another_unit_is_named(root, console):
    faults.change_array(root / faults.S1A, lambda a: (10 ** (a / 10)).astype(np.float32))
    (finding,) = doubts(run(root, console, update=True))
    assert "one unit of backscatter" in finding.expected and f"1 tile ({TILE}" in finding.found


def contents(name, modality, *tiles, dates=None):
    """The contents of tiles with these values (T,H,W,C)."""
    names = [f"t{i}" for i in range(len(tiles))]
    held = Contents(modalities={name: modality}, parts={"train": tuple(names)}, classes=("a", "b"), task="segment")
    for index, (tile, values) in enumerate(zip(names, tiles, strict=True)):
        when = np.arange(len(values)) + 17_900 if dates is None else dates[index]
        facts = sensor_facts(values, when if modality.kind == "series" else ())
        held.add(TileFacts(tile, {name: facts}, np.array([5, 5, 1]), np.zeros(0, np.int64)))
    return held


def reflectance(rng, low, count=6):
    return rng.integers(low, low + 2_500, (count, 8, 8, 2)).astype(np.int16)


S2 = RawModality("series", (8, 8, 2), "int16", ("B02", "B08"))
RADAR = RawModality("series", (8, 8, 2), "float32", ("VV", "VH"))


@pytest.mark.parametrize(
    ("modality", "change", "expected"),
    [
        (S2, lambda v: v, None),
        (S2, lambda v: v + np.int16(1_000), "dark pixels (water, shadow) below 1,000"),
        (S2, lambda v: v - np.int16(1_000), "hardly any negative reflectance"),
        (S2, lambda v: v * np.int16(9), "ground: reflectance below 0.6"),
        (S2, lambda v: v // np.int16(1_000), "reflectance x 10,000, or from 0 to 1"),
        (S2, lambda v: np.full_like(v, 700), "values that vary"),
        (S2, lambda v: np.where(np.arange(8)[:, None] == 7, np.int16(-25_536), v), "reflectance of -1,000 and more"),
        (RADAR, lambda v: np.stack([v[..., 0] / 300 - 15, v[..., 1] / 300 - 21], -1).astype(np.float32), None),
        (RADAR, lambda v: (v / 300 - 15).astype(np.float32), "VH some 5 to 9 dB below VV"),
        (RADAR, lambda v: v.astype(np.float32), "backscatter in dB"),
        (RADAR, lambda v: -v.astype(np.float32), "backscatter in dB"),
    ],
)
def test_unusual_units_are_doubted(modality, change, expected):
    rng = np.random.default_rng(0)
    found = contents("s", modality, *(change(reflectance(rng, 200)) for _ in range(3))).findings()
    assert [f.kind for f in found] == [DOUBT] * bool(expected)
    if expected:
        assert expected in found[0].expected


def test_the_darkest_pixels_reveal_dates_of_a_new_baseline():
    rng = np.random.default_rng(0)
    values, dates = reflectance(rng, 200), np.array([18_900, 18_950, 19_000, 19_020, 19_050, 19_100])
    assert contents("s2", S2, values, dates=[dates]).findings() == []
    values[3:] += 1_000
    (finding,) = contents("s2", S2, values, dates=[dates]).findings()
    assert finding.expected == "reflectance x 10,000 of one processing baseline" and "2022-01-28 on" in finding.found


@pytest.mark.parametrize(("low", "high", "doubted"), [(0, 256, False), (0, 20, True), (240, 256, True), (7, 8, True)])
def test_images_that_are_too_dark_too_bright_or_constant(low, high, doubted):
    image = np.random.default_rng(0).integers(low, high, (1, 16, 16, 3)).astype(np.uint8)
    found = contents("aerial", RawModality("image", (16, 16, 3), "uint8", ("R", "G", "B")), image).findings()
    assert bool(found) == doubted and len(found) <= 1


@pytest.mark.parametrize(
    ("name", "band", "quantity"),
    [
        ("s2", "B8A", "reflectance"), ("x", "red", "reflectance"), ("planet", "1", "reflectance"), ("s1", "VV", "backscatter"),
        ("x", "sigma0_vh", "backscatter"), ("s1", "VV/VH", "ratio"), ("x", "nDSM", "height"), ("x", "NDVI", "index"), ("x", "y", ""),
    ],
)  # fmt: skip
def test_the_name_of_a_band_says_what_it_measures(name, band, quantity):
    assert units.quantity_of(name, band, "series") == quantity


def test_the_few_tiles_of_another_season_are_named():
    calendar = Calendar()
    for index in range(12):
        calendar.add(f"t{index}", np.arange(18_000, 18_300, 30) + (900 if index == 4 else index))
    ((tile, expected, found),) = calendar.outside()
    assert tile == "t4" and "2019-02" in expected and found == "2021-09-30 to 2022-06-27"
    assert impossible([18_000, -719_000, 10**7]) == "0001-06-12, 9999-12-31" and impossible([18_000]) == ""
    two_years = Calendar()
    for index in range(12):
        two_years.add(f"t{index}", np.arange(18_000, 18_300, 30) + 365 * (index % 2))
    assert two_years.outside() == []


def test_codes_keep_the_order_and_the_size_of_values():
    rng = np.random.default_rng(0)
    values = np.sort(np.concatenate([rng.normal(0, 10.0**k, 500) for k in range(-6, 30, 5)] + [np.arange(-1_024, 1_025)])).astype(np.float32)
    codes = histogram.codes_of(values)
    assert (np.diff(codes) >= 0).all() and codes.min() >= 0 and codes.max() < histogram.CODES
    np.testing.assert_allclose(histogram.values_of(codes), values, rtol=1e-3, atol=1e-38)
    whole = np.arange(-1_024, 1_025, dtype=np.float32)
    np.testing.assert_array_equal(histogram.values_of(histogram.codes_of(whole)), whole)
    counted = histogram.Histogram()
    assert counted.quantiles((0.5,)) is None
    for chunk in np.array_split(whole, 3):
        counted.add(*histogram.sparse(chunk))
    assert counted.quantiles((0, 0.5, 1)) == [-1_024, 0, 1_024]


def test_a_few_values_are_counted_in_little_memory():
    """A tile of 8 px has 64 pixels per band; to count them in 2 MiB took most of the time of a check."""
    values = np.random.default_rng(0).normal(0, 100, histogram.SORTED).astype(np.float32)
    few, many = values[1:], np.concatenate([values[1:], values[1:]])
    codes, counts = histogram.sparse(few)
    np.testing.assert_array_equal(histogram.sparse(many), (codes, 2 * counts))
    tracemalloc.start()
    histogram.sparse(values[:64])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**16 and not len(histogram.sparse(values[:0])[0])


def test_parts_without_labels_and_classes_that_are_only_tested():
    held = Contents(modalities={}, parts={"train": ("a",), "test": ("b",)}, classes=("x", "y"), task="segment")
    held.add(TileFacts("a", {}, np.array([4, 0, 1]), np.zeros(0, np.int64)))
    held.add(TileFacts("b", {}, np.array([1, 4, 1]), np.zeros(0, np.int64)))
    (finding,) = held.findings()
    assert finding.kind == DOUBT and finding.expected == "class y in the training part"
    void = Contents(modalities={}, parts={"train": ("a",)}, classes=("x", "y"), task="segment")
    void.add(TileFacts("a", {}, np.array([0, 0, 9]), np.zeros(0, np.int64)))
    (finding,) = void.findings()
    assert finding.kind == "unknown" and finding.expected == "labels in part train"


def test_names_are_shown_never_interpreted(tmp_path):
    root = tiles.write(tmp_path / "tiles")
    description = json.loads((root / tiles.DESCRIPTION).read_text())
    description |= {"name": "[/bold]", "classes": ["[red]Grass", ":smile:", "$\\frac{"]}
    (root / tiles.DESCRIPTION).write_text(json.dumps(description))
    _, text = shown("tiles", root)
    assert "[/bold] (measured)" in text and "[red]Grass" in text and ":smile:" in text
    console = Console(file=io.StringIO(), width=100)
    findings.print_findings(console, root, [Finding("doubt", "a\x1b[31m", "[/red]\udcff", "x\ny", "z")] * 30)
    text = console.file.getvalue()
    assert "\x1b" not in text and "a\\x1b[31m  [/red]\\udcff: expected x\\ny" in text and "and 10 more" in text


def test_records_that_changed_since_they_were_prepared_are_named(records, tmp_path, capsys):
    folder = tmp_path / "records"
    shutil.copytree(records.root, folder)
    arguments = ["pastis", "--prepared", str(folder)]
    assert verify.main(arguments) == 0
    out = capsys.readouterr().out
    assert f"{len(records.tile_ids)} tiles in 5 parts" in out and "backscatter in dB" in out and "Meadow" in out
    path = folder / "frames" / "fold_2" / "s1a.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # in the last date of the last tile
    path.write_bytes(content)
    (folder / "frames" / "fold_4" / "spot.npy").write_bytes(b"")
    findings = verify_records("pastis", folder, VerificationOptions(), Console(quiet=True))
    (finding,) = (finding for finding in findings if "s1a" in finding.path)
    assert (finding.kind, finding.tile, finding.path) == ("changed", records.tiles(["fold_2"])[-1], str(path))
    assert "changed bytes in frame" in finding.found
    (other,) = (finding for finding in findings if "spot" in finding.path)
    assert (other.kind, other.tile) == ("changed", "-") and other.path.endswith("fold_4/spot.npy")
    table = next((folder / "tiles" / "fold_1").rglob("*.array_record*"))
    content = bytearray(table.read_bytes())
    content[len(content) // 2 :] = b"\0" * len(content[len(content) // 2 :])
    table.write_bytes(content)
    assert verify.main(arguments) == 1
    assert "changed" in (out := capsys.readouterr().out) and "fold_2/s1a.npy" in out
    assert run_command(verify.main, ["pastis", "--prepared", str(tmp_path)]) == 1
    assert run_command(verify.main, ["treesat", "--prepared", str(folder)]) == 1
    message = capsys.readouterr().err
    assert "found none" in message and "records of treesat, found those of pastis" in message
    assert run_command(verify.main, ["pastis"]) == 1 and "is required" in capsys.readouterr().err


def test_records_of_an_own_dataset_have_its_name(tmp_path, capsys):
    from data import prepare

    root = tiles.write(tmp_path / "tiles")
    assert prepare.main(["tiles", "--raw", str(root), "--out", str(tmp_path / "records"), "--jobs", "1"]) == 0
    assert verify.main(["tiles", "--prepared", str(tmp_path / "records")]) == 0
    assert "records of lowland, 6 tiles" in capsys.readouterr().out
    with pytest.raises(UserError, match="expected records of flair, found those of"):
        verify.main(["flair", "--prepared", str(tmp_path / "records")])
