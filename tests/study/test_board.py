"""The table of active runs."""

import io
import json
import types

from rich.console import Console

from omnisat_jax.study import board


def test_the_board_shows_how_far_each_run_is(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(board, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    console = Console(file=io.StringIO(), width=120)
    shown = board.Board(console, total=3)
    flat = {"pretrain.steps": 400, "finetune.steps": 900}
    (tmp_path / "b").mkdir()
    with shown.active("a-run", tmp_path / "a", flat), shown.active("b-run", tmp_path / "b", flat):
        entries = [{"stage": "pretrain", "step": 400}, {"stage": "finetune", "step": 10}]
        # The last line is incomplete, and the file is longer than the part that is read.
        text = "x" * 2 * board.TAIL + "\n" + "".join(json.dumps(entry) + "\n" for entry in entries) + '{"stage": "fine'
        (tmp_path / "b" / "metrics.jsonl").write_text(text)
        assert shown.ended() == 2
        now[0] = 90.0
        console.print(shown)
    console.print(shown)
    during, after = console.file.getvalue().split("1 of 3 runs ended, 2 left")[1:]
    rows = [line.split() for line in during.splitlines() if "-run" in line]
    assert rows == [["a-run", "starting", "1.5"], ["b-run", "finetune", "10", "/", "900", "1.5"]]
    assert "-run" not in after
