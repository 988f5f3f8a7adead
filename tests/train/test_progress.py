"""The terminal during training: a bar where there is a terminal, lines in the log everywhere."""

import io
import logging

from rich.console import Console

from omnisat_jax.train.progress import progress


def test_without_a_terminal_steps_are_in_the_log_only(caplog):
    console = Console(file=io.StringIO(), force_terminal=False)
    with caplog.at_level(logging.INFO), progress(console, "pretrain", total=4, first=2) as show:
        show(3, {"loss": 0.25, "examples_per_second": 8.0})
    assert "pretrain step 3: loss 0.25, examples_per_second 8" in caplog.text and not console.file.getvalue().strip()


def test_on_a_terminal_there_is_a_bar():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with progress(console, "finetune", total=4, first=0) as show:
        show(4, {"loss": 0.25})
    text = console.file.getvalue()
    assert "finetune" in text and "4/4" in text and "loss 0.250" in text
