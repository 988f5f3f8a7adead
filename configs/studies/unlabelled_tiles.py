"""What tiles without labels give: pre-training on the few labeled tiles alone, on further tiles as well, and none.

The further tiles are simulated with another seed, which draws other regions; their labels are not read. Make them first:

    python launch.py --config=configs/pastis.py --stage=prepare --workdir=runs/unlabelled_tiles --config.data.simulated.tiles=400 --config.data.simulated.seed=1
    python -m data.prepare pastis --raw runs/cache/simulated-pastis-v3-400x32px-seed1 --out runs/unlabelled_records
    python launch.py --study=configs/studies/unlabelled_tiles.py
"""

from configs.base import ConfigDict
from configs.studies import base

RECORDS = "runs/unlabelled_records"


def get_config() -> ConfigDict:
    """The study."""
    s = base.study("unlabelled_tiles", baseline="no_pretrain")
    s.changes = ("data.simulated.tiles=50",)
    s.label_shares = (0.2, 1.0)
    base.add(s, "no_pretrain", "", base.NO_PRETRAIN)
    base.add(s, "labelled", "")
    base.add(s, "unlabelled", "", f"data.pretrain_dirs={RECORDS}")
    base.add(s, "unlabelled_half", "", f"data.pretrain_dirs={RECORDS}", "data.pretrain_weights=(1.0,1.0)")
    return s
