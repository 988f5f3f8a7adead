"""The terminal during training: a bar where there is a terminal, lines in the log everywhere."""

import io
import logging

from rich.console import Console

from omnisat_jax.train.progress import progress


def logged(caplog, times, steps, total=100, first=0):
    """The lines of the log of some steps, which are shown at some seconds after the start."""
    console, clock = Console(file=io.StringIO(), force_terminal=False), iter([0.0, *times])
    with caplog.at_level(logging.INFO), progress(console, "pretrain", total, first, lambda: next(clock)) as show:
        for step in steps:
            show(step, {"loss": 0.25, "examples_per_second": 8.0, "grad_norm": 3.0})
    assert not console.file.getvalue().strip()
    return [record.getMessage() for record in caplog.records]


def test_without_a_terminal_steps_are_in_the_log_only(caplog):
    assert logged(caplog, [40.0], [20]) == ["pretrain: step 20 of 100, loss 0.250, 8.0 tiles/s, 2:40 left"]


def test_the_time_left_of_a_resumed_stage_is_that_of_its_own_steps(caplog):
    assert logged(caplog, [3600.0], [60], first=50) == ["pretrain: step 60 of 100, loss 0.250, 8.0 tiles/s, 4:00:00 left"]


def test_the_log_gets_a_line_every_now_and_then_and_the_last_one(caplog):
    lines = logged(caplog, [1.0, 2.0, 17.0, 18.0], [10, 20, 90, 100])
    assert [line.split(",")[0] for line in lines] == ["pretrain: step 10 of 100", "pretrain: step 90 of 100", "pretrain: step 100 of 100"]
    assert "left" not in lines[-1]


def test_on_a_terminal_there_is_a_bar():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with progress(console, "finetune", total=4, first=0) as show:
        show(4, {"loss": 0.25})
    text = console.file.getvalue()
    assert "finetune" in text and "4/4" in text and "loss 0.250" in text
