"""docs/scale.md: the table of keys that may change when a run continues says what the program does."""

import re

from omnisat_jax.config import schema
from omnisat_jax.train import identity
from tests.conftest import ROOT, tiny

SECTION = (ROOT / "docs" / "scale.md").read_text().split("## What may change when a run continues")[1].split("\n## ")[0]
UNTIL = {"always": "always", "pre-training begins": "pretrain", "fine-tuning begins": "finetune", "the evaluation has finished": "evaluate"}
STEPS = "the number of steps of a stage (more steps only)"  # follow a rule of their own, see tests/train/test_identity.py


def documented():
    """{key: until when it may change}, patterns expanded by the keys of the configuration."""
    flat, found, rest = schema.flatten(schema.parse(tiny())), {}, {}
    for line in SECTION.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) != 2 or cells[0] in ("key", "---", STEPS):
            continue
        for text in re.findall(r"`([\w.*]+)`", cells[0]):
            pattern = re.escape(text).replace(r"\*", ".*")
            keys = [key for key in flat if re.fullmatch(pattern if "." in text or text in flat else rf"(pretrain|finetune)\.{pattern}", key)]
            assert keys, f"{text} is no key"
            (rest if "the other keys" in cells[0] else found).update(dict.fromkeys(keys, UNTIL[cells[1]]))
    return rest | found


def test_the_table_lists_the_keys_that_may_change_and_no_others():
    assert STEPS in SECTION
    assert documented() == dict.fromkeys(identity.ANY_TIME, "always") | identity.UNTIL


def test_the_message_of_a_refusal_names_them_too():
    text = identity.MAY_CHANGE
    for key, until in documented().items():
        group, _, name = key.rpartition(".")
        covered = f"{group}.*" in text or "the rest of eval.*" in text and group == "eval" and until == "evaluate"
        assert key in text or covered or (group in identity.STAGES and name in text), key
