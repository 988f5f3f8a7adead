"""The curve of a run: rows of killed starts are dropped, damaged ones are kept beside it."""

import contextlib
import json
import sys

from omnisat_jax.train.writers import MetricsWriter, read_rows

ROWS = [{"stage": "pretrain", "step": 4, "loss": 1.0}, *({"stage": "finetune", "step": step, "loss": 1.0} for step in (1, 2, 3))]


def curve(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def cut(folder, text, after_step=2):
    (folder / "metrics.jsonl").write_text(text)
    writer = MetricsWriter(folder, "finetune", after_step=after_step)
    writer.write(after_step + 1, {"loss": 0.5})
    writer.sync()
    writer.close()
    return curve(folder)


def test_rows_of_a_killed_start_are_dropped(tmp_path):
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    for whole in (text, text + '{"stage": "finetune", "st', text + '{"stage": "finetune", "step": 4}'):
        assert cut(tmp_path, whole) == [*ROWS[:3], {"stage": "finetune", "step": 3, "loss": 0.5}]
    assert not list(tmp_path.glob("*.broken-*"))


def test_damaged_rows_are_said_and_kept_beside(tmp_path, caplog):
    text = "".join(line + "\n" for line in (json.dumps(ROWS[0]), '{"loss": 1}', "[]", "\x00\x00", '{"stage": 1, "step": "a"}', json.dumps(ROWS[1])))
    assert cut(tmp_path, text)[:2] == ROWS[:2]
    assert "4 rows cannot be read, the first in line 2" in caplog.text
    (kept,) = tmp_path.glob("*.broken-*")
    assert kept.read_text() == text


def test_a_lost_curve_is_said(tmp_path, caplog):
    cut(tmp_path, "")
    assert "metrics.jsonl holds nothing of the first 2 steps of finetune" in caplog.text


def test_a_kill_while_the_curve_is_cut_loses_nothing(tmp_path):
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "metrics.jsonl").write_text(text)
    seen = []

    def hook(event, arguments):
        if event == "open" and str(arguments[0]) == str(tmp_path / "metrics.jsonl") and "w" in str(arguments[1]):
            seen.append(arguments)
        if event == "os.rename" and str(arguments[1]) == str(tmp_path / "metrics.jsonl"):
            seen.append((tmp_path / "metrics.jsonl").read_text())

    with _audited(hook):
        MetricsWriter(tmp_path, "finetune", after_step=2).close()
    assert seen == [text]  # whole until the very moment at which the new one takes its place


@contextlib.contextmanager
def _audited(hook):
    """An audit hook cannot be taken back, but it can be made to do nothing."""
    listening = [True]
    sys.addaudithook(lambda event, arguments: hook(event, arguments) if listening else None)
    try:
        yield
    finally:
        listening.clear()


def test_numbers_that_are_not_finite_are_null(tmp_path):
    writer = MetricsWriter(tmp_path, "pretrain", after_step=0)
    writer.write(1, {"loss": float("nan"), "other": 2.0})
    writer.close()
    (tmp_path / "metrics.jsonl").open("a").write("damaged\n")
    assert read_rows(tmp_path / "metrics.jsonl") == ([{"stage": "pretrain", "step": 1, "loss": None, "other": 2.0}], 1)
    assert read_rows(tmp_path / "nothing") == ([], 0)
