"""run.json: every start is recorded once, differences from the last one are shown, other data are refused."""

import json

import pytest

from omnisat_jax.train import workdir
from omnisat_jax.train.workdir import WorkdirError, mark_done
from tests.train.run_folder import begin, read, start_run


@pytest.fixture
def run(tmp_path):
    return start_run(tmp_path / "run")


def test_starts_are_appended_and_differences_told(run):
    first = read(run / "run.json")
    start = begin(run, precision="bfloat16")
    assert (run / "run.json").read_text() == json.dumps(first, indent=1) + "\n"  # nothing runs yet
    assert start.begin() == ["precision: 'float32' at the last start, 'bfloat16' now"] and start.begin() == []
    start.note_time("pretrain", {"total": 1.0})
    start.note_compiling("evaluate", {"tracing": 2.0})
    about = read(run / "run.json")
    assert about["compiling"] == {"evaluate": [{"tracing": 2.0}]}
    assert [entry["precision"] for entry in about["starts"]] == ["float32", "bfloat16"] and about["precision"] == "bfloat16"
    assert about["seconds"] == {"pretrain": [{"total": 1.0}]}
    assert {"command", "git", "versions", "device", "cores", "processes", "host", "time"} <= about["starts"][0].keys()


def test_the_only_start_of_an_earlier_version_is_kept(run):
    about = read(run / "run.json")
    del about["starts"]
    (run / "run.json").write_text(json.dumps(about | {"command": "old", "cores": 77}))
    assert begin(run).begin() == [f"cores: 77 at the last start, {len(workdir.cores())} now"]
    assert [entry["command"] == "old" for entry in read(run / "run.json")["starts"]] == [True, False]


def test_other_data_are_refused_unless_accepted(run):
    with pytest.raises(WorkdirError, match=r"started on data abc \(/a\), now they are xyz"):
        begin(run, data={"fingerprint": "xyz", "source": "/b"})
    with pytest.raises(WorkdirError, match="Earlier versions computed other fingerprints: if the data have not changed"):
        begin(run, data={"fingerprint": "0123456789abcdef", "source": "/a"})
    begin(run, data={"fingerprint": "xyz", "source": "/b"}, accept_new_data=True).begin()
    assert [entry["data"]["fingerprint"] for entry in read(run / "run.json")["starts"]] == ["abc", "xyz"]


def test_a_lost_record_beside_finished_stages_is_said(run, caplog):
    mark_done(run, "pretrain", {})
    (run / "run.json").unlink()
    begin(run).begin()
    assert "run.json is missing: the record of earlier starts is lost" in caplog.text and (run / "run.json").is_file()


def test_facts_of_a_run_are_kept_until_the_next_start(run):
    begin(run).note("calibration", {"temperature": 1.5})
    assert read(run / "run.json")["calibration"] == {"temperature": 1.5} and read(run / "run.json")["starts"]
    begin(run)
    assert read(run / "run.json")["calibration"] == {"temperature": 1.5}
    begin(run).begin()
    assert "calibration" not in read(run / "run.json")
