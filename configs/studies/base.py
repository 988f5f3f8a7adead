"""Every key of a study, once, with its default.

    python launch.py --study=configs/studies/pastis_table.py --study.<key>=<value>

The files beside this one add rows and change values. `omnisat_jax/study/grid.py` checks them.
"""

from typing import NamedTuple

from configs.base import ConfigDict


def study(name: str, *, config: str = "configs/pastis.py", baseline: str) -> ConfigDict:
    """The default of every key."""
    s = ConfigDict()
    s.name = name
    s.config = config  # configuration file that the presets of the rows belong to
    s.size = "demo"  # first part of every preset; hd for the real dataset
    s.raw_dir = ""  # raw dataset; "" = simulate one
    s.prepared_dir = ""  # records of `python -m data.prepare`; "" = prepare raw_dir
    s.seeds = (0, 1, 2, 3, 4)  # an interval over seeds needs several: five seeds give 1.2 standard deviations, three 2.5; (0,) for a first look
    s.folds = (1,)
    s.label_shares = (1.0,)  # shares of the training tiles with labels in fine-tuning
    s.changes = ()  # "key=value" for every run; on a command line --study.changes="'finetune.steps=100','pretrain.steps=200'"
    s.baseline = baseline  # row that the others are compared with, tile by tile
    s.resamples = 1000  # of the bootstrap
    s.only = ()  # rows to run, including the baseline; () = all
    s.rows = ConfigDict()  # see `add`
    return s


# A change of a row without pre-training. Rows are changed after the study, whose own pretrain.steps therefore does not undo it.
NO_PRETRAIN = "pretrain.steps=0"


class Published(NamedTuple):
    """A score reported elsewhere.

    Attributes:
      score: in %; 0 = none.
      source: the publication, the protocol and the metric.
    """

    score: float
    source: str


NOT_PUBLISHED = Published(0.0, "")


def add(study: ConfigDict, name: str, preset: str, *changes: str, published: Published = NOT_PUBLISHED, subset: str = "") -> None:
    """Adds a row, which is one method, to a study.

    Args:
      study: the study.
      name: of the row.
      preset: what follows the size in the preset; "" = the size alone.
      changes: "key=value" of this row.
      published: its score on real data.
      subset: modalities that it is scored on, joined by "+"; "" = all that it was trained on.
    """
    r = ConfigDict()
    r.position = len(study.rows)  # a ConfigDict does not keep the order of its keys
    r.preset = preset
    r.changes = tuple(changes)
    r.published = published.score
    r.source = published.source
    r.subset = subset
    study.rows[name] = r
