"""The files of finished runs are read without trust: any damage is one sentence that names the file."""

import json

import numpy as np
import pytest

from omnisat_jax.errors import DataError
from omnisat_jax.files.json_file import Value
from omnisat_jax.report.run_files import REPORT_PROTOCOL, fit, read_arrays, read_cores, read_results, read_run_info
from tests.report.examples import segmentation, write_run


@pytest.mark.parametrize(
    ("value", "template"),
    [
        (1, int), (1.5, (int, float)), (None, (int, type(None))), ([1, 2], [int]), ([], [int]), ({"a": 1}, {"a": int}), ({}, {"a?": int}),
        ({"a": 1, "b": "x"}, {"a": int}), ({"x": 1, "y": 2}, {"*": int}), ({"a": [{"b": [1]}]}, {"a": [{"b": [int]}]}),
    ],
)  # fmt: skip
def test_what_fits(value, template):
    fit(Value(value, "x.json"), template)


@pytest.mark.parametrize(
    ("value", "template", "message"),
    [
        (True, int, "expected a whole number, found True"),
        ("1", (int, float), "expected a whole number or a number, found '1'"),
        ([1, "2"], [int], r"expected \[1\]: a whole number"),
        ({}, {"a": int}, "expected a key 'a', found an empty object"),
        ({"a": "x"}, {"a?": int}, "expected a: a whole number"),
        ({"x": 1, "y": None}, {"*": int}, "expected y: a whole number"),
        ({"a": [{"b": 1}]}, {"a": [{"b": str}]}, r"expected a\[0\].b: a text"),
    ],
)
def test_what_does_not_fit(value, template, message):
    with pytest.raises(DataError, match=f"x.json: {message}"):
        fit(Value(value, "x.json"), template)


def test_results_have_the_keys_that_the_caller_needs(tmp_path):
    found = segmentation()
    (tmp_path / "results.json").write_text(json.dumps(found))
    assert read_results(tmp_path, REPORT_PROTOCOL) == found
    del found["protocol"]["colours"]
    (tmp_path / "results.json").write_text(json.dumps(found))
    read_results(tmp_path)
    with pytest.raises(DataError, match="results.json: expected protocol: a key 'colours'.*it repeats the evaluation without training"):
        read_results(tmp_path, REPORT_PROTOCOL)


def test_joined_results_need_no_scores(tmp_path):
    found = segmentation()
    found["subsets"][0]["scores"] = {}
    (tmp_path / "results.json").write_text(json.dumps(found))
    read_results(tmp_path, scored=False)
    with pytest.raises(DataError, match="a key 'miou'"):
        read_results(tmp_path)


def test_the_record_of_a_run(tmp_path):
    assert read_run_info(tmp_path) == {} and read_cores(tmp_path) is None
    write_run(tmp_path)
    assert read_run_info(tmp_path)["cores"] == 3 and read_cores(tmp_path) == 3
    info = read_run_info(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps(info | {"device": {"kind": "x", "platform": "gpu", "count": 1}}))
    assert read_cores(tmp_path) is None
    (tmp_path / "run.json").write_text(json.dumps(info | {"git": {"revision": 7}}))
    with pytest.raises(DataError, match="run.json: expected git.revision: a text"):
        read_run_info(tmp_path)


@pytest.mark.parametrize("content", ["null", np.array([{}])])
def test_arrays_of_objects_are_not_loaded_and_nobody_is_advised_to(content, tmp_path):
    path = tmp_path / "tiles.npz"
    path.write_text(content) if isinstance(content, str) else np.savez(path, tile=content)
    with pytest.raises(DataError, match="tiles.npz: expected arrays.*which are not loaded") as raised:
        read_arrays(path, "arrays")
    assert "pickle" not in str(raised.value)
