"""Every key of a study, once. The files beside this one name rows and change values; `omnisat_jax/study/grid.py` checks them."""

from ml_collections import ConfigDict


def study(name: str, *, config: str = "configs/pastis.py", baseline: str) -> ConfigDict:
    """The default of every key."""
    s = ConfigDict()
    s.name = name
    s.config = config  # file that the rows are presets of
    s.size = "demo"  # first part of every preset; hd for the real dataset
    s.raw_dir = ""  # raw dataset; "" = simulate
    s.prepared_dir = ""  # or records made by `python -m data.prepare`
    s.seeds = (0,)  # one, to keep a study short; a table to quote wants three or more
    s.folds = (1,)
    s.label_shares = (1.0,)  # of the training tiles in fine-tuning
    s.changes = ()  # "key=value" for every run; on a command line --study.changes="'finetune.steps=100','pretrain.steps=200'"
    s.baseline = baseline  # row that the others are compared with, tile by tile
    s.resamples = 1000  # of the bootstrap
    s.only = ()  # rows to run, the baseline among them; () = all
    s.rows = ConfigDict()  # see `add`
    return s


# After the study's own changes, so that a change of pretrain.steps does not give pre-training to a row without.
NO_PRETRAIN = "pretrain.steps=0"


def add(
    study: ConfigDict, name: str, preset: str, *changes: str, published: float = 0.0, source: str = "", subset: str = ""
) -> None:
    """Adds one method to a study.

    Args:
      name: of the row.
      preset: what follows the size, "" for the size alone.
      changes: "key=value" of this row.
      published: the number reported for it on real data, 0 = none; source: where, and under which protocol.
      subset: modalities it is scored on, joined by "+"; "" = all it was trained on.
    """
    r = ConfigDict()
    r.position = len(study.rows)  # a ConfigDict does not keep the order of its keys
    r.preset = preset
    r.changes = tuple(changes)
    r.published = published
    r.source = source
    r.subset = subset
    study.rows[name] = r
