"""The measurements of `benchmarks.accelerator`, each a process of its own."""

import dataclasses
from typing import Any

from configs import pastis
from omnisat_jax.config import schema
from omnisat_jax.files.json_file import read_json

STAGES = ("pretrain", "finetune")
SERIES = ("s2", "s1a", "s1d")
PROFILED = ("pretrain", "pretrain_temporal_first", "finetune_temporal_first")  # speed jobs that list their kernels


@dataclasses.dataclass(frozen=True)
class Job:
    """One compiled training step, and what is done with it.

    Attributes:
      name: of the job and its files.
      kind: "parity" (train `steps` steps from fixed numbers, keep what they give) or "speed" (time `steps` steps).
      stage: "pretrain" or "finetune".
      config: flat configuration.
      steps: that are taken or timed.
      on_cpu: compute on the CPU.
      matmul: `jax_default_matmul_precision`, "default" or "highest".
      profile: add the time of each kind of kernel.
    """

    name: str
    kind: str
    stage: str
    config: dict[str, Any]
    steps: int
    on_cpu: bool = False
    matmul: str = "default"
    profile: bool = False


def read_job(path: str) -> Job:
    """The job that `write_json(path, dataclasses.asdict(job))` stored."""
    return Job(**read_json(path, what="a job of benchmarks.accelerator").value)


def configure(preset: str, stage: str, batch_size: int, changes: dict[str, Any]) -> dict[str, Any]:
    """The flat configuration of a preset of configs/pastis.py with a batch size of a stage and other changes.

    Args:
      preset: of configs/pastis.py.
      stage: "pretrain" or "finetune".
      batch_size: tiles per step.
      changes: {dotted key: value}; a key that starts with "series." changes all series.
    """
    config = pastis.get_config(preset)
    config[stage].batch_size = batch_size
    for key, value in changes.items():
        names = [f"modalities.{name}" for name in SERIES if name in config.modalities] if key.startswith("series.") else [""]
        for name in names:
            group, (*path, last) = config, f"{name}.{key.removeprefix('series.')}".strip(".").split(".")
            for part in path:
                group = group[part]
            group[last] = value
    return schema.flatten(schema.parse(config))


def parity_jobs(preset: str, steps: int) -> list[Job]:
    """For each stage: the reference on the CPU, and the accelerator in exact float32 and in bfloat16."""
    small = {"data.crop": 32, "series.dates_train": 8, "model.remat": False, "finetune.ema_decay": 0.0}
    jobs = []
    for stage in STAGES:
        for name, precision, on_cpu, matmul in (
            ("cpu", "float32", True, "highest"),
            ("float32_highest", "float32", False, "highest"),
            ("bfloat16", "bfloat16", False, "default"),
        ):
            config = configure(preset, stage, 4, small | {"model.precision": precision})
            jobs.append(Job(f"parity_{stage}_{name}", "parity", stage, config, steps, on_cpu, matmul))
    return jobs


def speed_jobs(preset: str, sizes: tuple[int, int], steps: int, accelerator: bool, shrink: dict[str, Any]) -> list[Job]:
    """The training steps that are timed, the most important first.

    Args:
      preset: of configs/pastis.py.
      sizes: tiles per step, the usual and a larger number.
      steps: that are timed.
      accelerator: whether there is one; without, there is one implementation of attention only.
      shrink: changes that make every step smaller.
    """
    usual, larger = sizes
    wide = {"model.precision": "bfloat16"}
    first, xla = wide | {"series.encoder": "temporal_first"}, {"model.fusion.attention": "xla"}
    variants: list[tuple[str, str, int, dict[str, Any]]] = [
        ("pretrain_temporal_first", "pretrain", usual, first),
        ("finetune_temporal_first", "finetune", usual, first),
        ("pretrain", "pretrain", usual, wide),
        ("finetune", "finetune", usual, wide),
        ("pretrain_temporal_first_no_remat", "pretrain", usual, first | {"model.remat": False}),
        ("pretrain_temporal_first_larger", "pretrain", larger, first),
        ("pretrain_temporal_first_pixel_norm", "pretrain", usual, first | {"model.norm": "pixel"}),
        ("pretrain_temporal_first_float32", "pretrain", usual, first | {"model.precision": "float32"}),
        ("pretrain_zeros", "pretrain", usual, wide | {"model.utae.border": "zeros"}),
        ("pretrain_larger", "pretrain", larger, wide),
    ]
    if accelerator:  # elsewhere it is what the others have
        variants.insert(6, ("pretrain_temporal_first_xla_attention", "pretrain", usual, first | xla))
    return [
        Job(f"speed_{name}", "speed", stage, configure(preset, stage, size, shrink | changes), steps, profile=name in PROFILED)
        for name, stage, size, changes in variants
    ]
