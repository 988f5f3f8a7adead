"""Small fixed runs of every family of methods. A change that is not meant to change results must not change their losses and scores by a digit.

python -m tests.reference_runs --out before.json       at the revision before the change
python -m tests.reference_runs --compare before.json   at the revision after it, on the same machine and cores

It takes minutes on one core. The number of CPU threads changes the rounding, so pin both to the same cores (taskset -c 0).
"""

import json
import pathlib
import sys
import tempfile
from collections.abc import Collection, Iterator

from rich.console import Console

from configs import flair, treesat
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from tests.conftest import go, tiny
from tests.docs.test_your_data import follow
from tests.experiment.test_datasets import shrunk

PASTIS = ("demo", "published", "skysense", "satclip", "late", "masked", "utae", "omnisat")
TIMING = ("examples_per_second", "teraflops", "hfu")
# Metrics that were renamed, by their earlier names; those of a validation have "validation_" before both.
RENAMED = {"contrast": "contrastive", "contrast_accuracy": "contrastive_accuracy", "place": "position_r2"}


def configurations(work: pathlib.Path):
    """(name, configuration) of every run."""
    for preset in PASTIS:
        config = tiny(preset)
        config.data.cache_dir = str(work / "cache")
        if preset == "masked":
            config.pretrain.num_microbatches = 2
        yield preset, config
    probe = tiny("demo", **{"eval.probe": "linear"})
    probe.data.cache_dir = str(work / "cache")
    yield "probe", probe
    for name, config in (("treesat", treesat.get_config()), ("flair", flair.get_config())):
        config = shrunk(config, work)
        config.data.simulated.tiles = 12
        if name == "flair":
            config.data.simulated.tile_size, config.data.crop = 128, 0
        yield name, config


def outcome(folder: pathlib.Path) -> dict:
    """Losses of every logged step and scores of every subset of one run."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] if (folder / "metrics.jsonl").exists() else []
    losses = [{key: value for key, value in row.items() if key not in TIMING} for row in rows]
    results = json.loads((folder / "results.json").read_text())
    scores = {"+".join(entry["modalities"]): entry["scores"] for entry in results["subsets"]}
    return {"losses": losses, "scores": scores}


def present_name(key: str) -> str:
    """The name that a metric has today."""
    prefix = "validation_" if key.startswith("validation_") else ""
    name = key.removeprefix(prefix)
    return prefix + RENAMED.get(name, name)


def differences(before, after, at="") -> list[str]:
    """Where `after` differs from `before`. What only `after` has is not a difference, nor is a metric under its present name."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            line
            for key in before
            for line in differences(before[key], after.get(key, after.get(present_name(key))), f"{at}.{key}")
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [line for i, (a, b) in enumerate(zip(before, after, strict=True)) for line in differences(a, b, f"{at}[{i}]")]
    return [] if before == after else [f"{at}: {str(before)[:80]} before, {str(after)[:80]} now"]


def outcomes(work: pathlib.Path, only: Collection[str]) -> Iterator[tuple[str, dict]]:
    """(name, outcome) of every run, or of those that are named."""
    with open("/dev/null", "w") as nowhere:
        for name, config in configurations(work):
            if name in (only or (name,)):
                go(config, work / name, Console(file=nowhere))
                yield name, json.loads(json.dumps(outcome(work / name)))
    if "tiles" in (only or ("tiles",)):
        (work / "tiles").mkdir()
        follow(work / "tiles")
        yield "tiles", json.loads(json.dumps(outcome(work / "tiles" / "runs" / "lowland")))


def main(arguments=None) -> int:
    """The command line."""
    parser = Parser(prog="python -m tests.reference_runs", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, help="file to write losses and scores to")
    parser.add_argument("--compare", type=pathlib.Path, help="file of an earlier revision to compare with")
    parser.add_argument("--only", nargs="*", default=(), metavar="NAME", help="names of the runs, by default all")
    options = parser.parse_args(arguments)
    before = json.loads(options.compare.read_text()) if options.compare else {}
    found, differing = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        for name, result in outcomes(pathlib.Path(folder), options.only):
            found[name] = result
            lines = differences(before[name], result, name) if options.compare else []
            differing += len(lines)
            print("\n".join([name, *lines]), flush=True)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1))
    print("written" if not options.compare else f"{differing} differences" if differing else "no difference")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
