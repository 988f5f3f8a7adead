"""Time and peak memory of a map of a simulated scene, against a plain loop over windows (read, predict, write), in one run.

    python -m benchmarks.map_speed [--kilometres=10] [--dates=24] [--model=FOLDER] [--overlap=0.25]

The scene has a Sentinel-2 series (10 bands) and a Sentinel-1 series (3 bands) of 10 m as tiled, compressed GeoTIFFs, one file per date. Without a model,
one of the demo's size with random weights is used. Both ways predict the same windows and start in processes of their own. The loop opens each file for
each window and predicts one window at a time, as scripts do; it does not blend, resume or check anything.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command

SENSORS = {"s2": ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"), "s1a": ("VV", "VH", "ratio")}
WINDOW, CLASSES = 8, 10  # tokens of 40 m per side of a window, as in the demo; classes of the random model
LEFT, TOP, PIXEL = 600_000, 5_700_000, 10


def make_scene(folder: pathlib.Path, side: int, dates: int) -> None:
    """Writes series of side x side pixels; fields of 8 x 8 px with noise, so that files compress as imagery does."""
    rng = np.random.default_rng(0)
    for name, bands in SENSORS.items():
        (folder / name).mkdir(parents=True)
        for number in range(dates):
            fields = rng.normal(size=(len(bands), -(-side // 8), -(-side // 8))).repeat(8, 1).repeat(8, 2)[:, :side, :side]
            values = fields + 0.1 * rng.normal(size=fields.shape)
            values = (2000 + 500 * values).astype(np.int16) if name == "s2" else (values - 12).astype(np.float32)
            day = np.datetime64("2020-10-01") + number * 300 // dates
            profile: dict[str, Any] = dict(driver="GTiff", count=len(bands), height=side, width=side, dtype=values.dtype, crs="EPSG:32631")
            profile |= dict(tiled=True, blockxsize=256, blockysize=256, compress="deflate", transform=from_origin(LEFT, TOP, PIXEL, PIXEL))
            with rasterio.open(folder / name / f"{name}_{str(day).replace('-', '')}.tif", "w", **profile) as target:
                target.write(values)
                target.descriptions = bands


def make_model(folder: pathlib.Path) -> None:
    """Writes a model of the demo's size with random weights."""
    import jax.numpy as jnp
    from flax.traverse_util import unflatten_dict

    from configs import pastis
    from omnisat_jax.config import schema
    from omnisat_jax.inference.model_info import ModelInfo, SensorInfo
    from omnisat_jax.inference.model_saving import save_model
    from omnisat_jax.models import registry
    from omnisat_jax.models.shapes import model_shapes

    changes = pastis.get_config("demo")
    for name in ("s1d", "spot"):
        del changes.modalities[name]
    for modality in changes.modalities.values():
        modality.dates_eval = 24
    changes.data.origin = "season"
    config = schema.parse(changes)
    module = registry.make_model(config.modalities, config, CLASSES, config.modalities[0].patch, jnp.float32)
    rng = np.random.default_rng(0)
    params = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in model_shapes(module).items()}
    numbers = {"s2": (2000.0, 500.0), "s1a": (-12.0, 1.0)}
    statistics = {name: {"mean": [numbers[name][0]] * len(bands), "std": [numbers[name][1]] * len(bands)} for name, bands in SENSORS.items()}
    names = tuple(spec.name for spec in config.modalities)
    info = ModelInfo(
        config, names, tuple(f"class {index}" for index in range(CLASSES)), config.modalities[0].patch, statistics,
        {name: SensorInfo(bands) for name, bands in SENSORS.items()}, window=WINDOW,
    )  # fmt: skip
    save_model(folder, unflatten_dict(params, sep="/"), info)


def run_map(folder: pathlib.Path, model_folder: str, overlap: float) -> dict[str, float]:
    """Maps the scene; seconds without the start of the process, and the share of them in which the model works."""
    from omnisat_jax import Model, PredictOptions, Region, map_region

    model = Model.from_pretrained(model_folder)
    predict, spent = model.predict_batch, [0.0]

    def timed(batch):
        began = time.perf_counter()
        found = predict(batch)
        spent[0] += time.perf_counter() - began
        return found

    model.predict_batch = timed
    region = Region.from_arguments([f"{name}={folder / name}" for name in SENSORS], [], {})
    start = time.perf_counter()
    map_region(model, region, folder / "map", PredictOptions(overlap=overlap, any_radiometry=True))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "model": spent[0] / seconds}


def run_loop(folder: pathlib.Path, model_folder: str, overlap: float) -> dict[str, float]:
    """The plain loop; windows that reach over the edge are left out, so that it does a little less."""
    from omnisat_jax import Model

    model = Model.from_pretrained(model_folder)
    patch = model.modalities[0].patch
    size = (model.window or WINDOW) * patch
    step = max(1, round(size / patch * (1 - overlap))) * patch
    files = {name: sorted((folder / name).glob("*.tif")) for name in SENSORS}
    days = {name: np.array([np.datetime64(f"{p.stem[-8:-4]}-{p.stem[-4:-2]}-{p.stem[-2:]}") for p in paths]) for name, paths in files.items()}
    with rasterio.open(files["s2"][0]) as source:
        side, profile = source.height, source.profile | {"count": 1, "dtype": "uint8"}
    start, spent = time.perf_counter(), 0.0
    with rasterio.open(folder / "loop.tif", "w", **profile) as target:
        for row in range(0, side - size + 1, step):
            for column in range(0, side - size + 1, step):
                area, inputs = Window(column, row, size, size), {}  # pyright: ignore[reportCallIssue]  # an attrs class
                for name, paths in files.items():
                    frames = []
                    for path in paths:
                        with rasterio.open(path) as source:
                            frames.append(source.read(window=area).transpose(1, 2, 0))
                    inputs[name] = (np.stack(frames), days[name])
                began = time.perf_counter()
                probabilities = model.probabilities(inputs)
                spent += time.perf_counter() - began
                target.write(probabilities.argmax(-1).astype(np.uint8)[None], window=area)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "model": spent / seconds}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a line for the map, one for the loop, and their ratio."""
    parser = Parser(prog="python -m benchmarks.map_speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kilometres", type=float, default=10, help="side of the scene")
    parser.add_argument("--dates", type=int, default=24, help="of each series")
    parser.add_argument("--model", default="", help="folder of a model with the sensors s2 and s1a")
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--folder", default="", help="for the scene; default: a temporary one")
    parser.add_argument("--way", choices=("map", "loop"), help=argparse.SUPPRESS)  # of a process that measures
    flags = parser.parse_args(arguments)
    if flags.way:
        found = {"map": run_map, "loop": run_loop}[flags.way](pathlib.Path(flags.folder), flags.model, flags.overlap)
        print(json.dumps(found | {"mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
        return 0
    with tempfile.TemporaryDirectory(dir=flags.folder or None) as name:
        folder = pathlib.Path(name)
        make_scene(folder, round(flags.kilometres * 1000 / PIXEL), flags.dates)
        if not flags.model:
            make_model(folder / "model")
        results = {}
        for way in ("map", "loop"):
            command = [sys.executable, "-m", "benchmarks.map_speed", "--way", way, "--folder", folder, "--model", flags.model or folder / "model"]
            done = subprocess.run([*map(str, command), "--overlap", str(flags.overlap)], check=True, stdout=subprocess.PIPE, text=True)
            results[way] = found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{way}: {found['seconds']:.1f} s, {60 * flags.kilometres**2 / found['seconds']:.2f} km2 per minute, peak {found['mib']:.0f} MiB, "
                f"{100 * found['model']:.0f} % of the time in the model", flush=True,
            )  # fmt: skip
    print(f"ratio of times (loop / map): {results['loop']['seconds'] / results['map']['seconds']:.2f}")
    print(f"ratio of peak memory (loop / map): {results['loop']['mib'] / results['map']['mib']:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
