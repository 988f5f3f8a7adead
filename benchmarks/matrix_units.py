"""How much of a TPU's matrix units the products of the recipe `hd` can use, by the padding of their sides. Traces the steps and compiles nothing.

    python -m benchmarks.matrix_units

One row per stage, series encoder and number of attention heads in the fusion.
"""

import argparse
import dataclasses
import itertools
import pathlib
import sys

import jax
from rich.console import Console
from rich.table import Table

from configs import pastis
from omnisat_jax.aot.report import make_trainer
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.config import schema
from omnisat_jax.files.atomic import write_json
from omnisat_jax.parallel import mesh as meshes
from omnisat_jax.train.flops import program_flops

SIDES = {"v5e, v5p": 128, "v6e": 256}
STAGES = ("pretrain", "finetune")


@dataclasses.dataclass(frozen=True)
class Row:
    """What the shapes of one step allow.

    Attributes:
      stage: of training.
      encoder: of the series.
      heads: of the fusion.
      tflop: of the step.
      shares: {chips: share of the matrix units in use}.
    """

    stage: str
    encoder: str
    heads: int
    tflop: float
    shares: dict[str, float]


def measure(preset: str, encoder: str, heads: int, tiles: int) -> list[Row]:
    """The steps of both stages.

    Args:
      preset: of configs/pastis.py.
      encoder: of the series.
      heads: of the fusion.
      tiles: per step.
    """
    config = pastis.get_config(preset)
    config.model.fusion.heads, config.mesh.fsdp = heads, 1  # how parameters are cut changes no product of activations
    for modality in config.modalities.values():
        if modality.kind == "series":
            modality.encoder = encoder
    for stage in STAGES:
        config[stage].batch_size = tiles
    settings = schema.parse(config)
    mesh = meshes.make_mesh(settings.mesh, jax.devices()[:1])
    rows = []
    for stage in STAGES:
        program = make_trainer(settings, stage, mesh)[0].trace_step().jaxpr
        flops = program_flops(program)
        shares = {chips: flops / program_flops(program, matrix_unit=side) for chips, side in SIDES.items()}
        rows.append(Row(stage, encoder, heads, flops / 1e12, shares))
    return rows


def main(arguments: list[str]) -> int:
    """Prints the table."""
    parser = Parser(prog="python -m benchmarks.matrix_units", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="hd", help="of configs/pastis.py (hd)")
    parser.add_argument("--encoders", default="utae,temporal_first", help="of the series, joined by commas (utae,temporal_first)")
    parser.add_argument("--heads", default="8,4,2", help="of the fusion, joined by commas (8,4,2)")
    parser.add_argument("--tiles", type=int, default=16, help="per step (16)")
    parser.add_argument("--out", type=pathlib.Path, help="a JSON file to write")
    options = parser.parse_args(arguments)
    heads = [int(count) for count in options.heads.split(",")]
    rows = [row for encoder, count in itertools.product(options.encoders.split(","), heads) for row in measure(options.preset, encoder, count, options.tiles)]
    table = Table("stage", "series encoder", "heads", "TFLOP", *SIDES, title=f"{options.preset}, {options.tiles} tiles: share of the matrix units in use", title_justify="left")
    for row in rows:
        table.add_row(row.stage, row.encoder, str(row.heads), f"{row.tflop:.1f}", *(f"{100 * share:.0f} %" for share in row.shares.values()))
    Console().print(table)
    if options.out:
        write_json(options.out, [dataclasses.asdict(row) for row in rows])
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
