"""One CPU device, tiny configurations, and one small simulated dataset. Several devices: tests/distributed."""

import atexit
import gc
import logging
import os
import pathlib
import shutil
import tempfile

from omnisat_jax.parallel.compilation import as_flags, unoptimised

# The suite compiles more than it runs, on as many cores as it has workers: no program is cut into parts for several cores.
QUICK = as_flags(unoptimised() | {"xla_cpu_parallel_codegen_split_count": 1})
os.environ["JAX_PLATFORMS"] = "cpu"
if QUICK not in os.environ.get("XLA_FLAGS", ""):  # a process of a test inherits them, and the cache of programs compares them
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}"
PROGRAMS = "OMNISAT_TEST_PROGRAMS"  # environment variable: folder of compiled programs, which all processes of a session share
if PROGRAMS not in os.environ:
    os.environ[PROGRAMS] = tempfile.mkdtemp(prefix="programs-")
    atexit.register(shutil.rmtree, os.environ[PROGRAMS], ignore_errors=True)
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ[PROGRAMS]
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
# Tracing and compiling make millions of objects that stay. At Python's own thresholds a tenth of the time goes into looking through them for garbage.
COLLECT = (20_000, 20, 20)
gc.set_threshold(*COLLECT)
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # a hundred processes would parse the package anew, half a second each

import pytest  # noqa: E402
from rich.console import Console  # noqa: E402

from configs import pastis  # noqa: E402
from omnisat_jax.cli.command import run_command  # noqa: E402
from omnisat_jax.config import schema  # noqa: E402
from omnisat_jax.experiment.context import RunOptions  # noqa: E402
from omnisat_jax.experiment.run import run  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
REAL = "OMNISAT_REAL_DATA"  # environment variable: folder of real imagery, for the tests that read some

# Folders and files in the order in which they start. Those of whole runs, many programs and several processes come first and are marked slow.
SLOW = (
    "aot",  # the longest of all, where compilers for TPUs and GPUs are installed
    "distributed",
    "experiment",
    "study/test_runner.py",
    "docs",
    "models/test_every_model.py",
    "data/test_fuzz.py",
    "models",
    "train/test_step.py",
    "interop/test_utae.py",
    "benchmarks",
    "export/test_jax_file.py",
    "export/test_onnx_file.py",
    "predict/test_ray_engine.py",
)
THEN = ("train", "tasks", "inference", "export", "report", "study", "data", "interop", "records")


def pytest_xdist_auto_num_workers():
    """One more than there are cores: many tests wait for a process of their own or for the disk."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(items):
    """Starts long files first, and marks the slow ones."""
    order = (*SLOW, *THEN)

    def rank(item):
        path = item.path.relative_to(ROOT / "tests").as_posix()
        return next((index for index, name in enumerate(order) if path.startswith(name)), len(order))

    items.sort(key=rank)
    for item in items:
        if rank(item) < len(SLOW):
            item.add_marker(pytest.mark.slow)


# For tests whose subject is not the model: a series encoder without convolutions.
QUICK_MODEL = {"modalities.s2.encoder": "patch_ltae"}
# For runs whose subject is their files or their data: one view of a tile, no term of single modalities or of fusion in the losses, no panels, and no
# temperature, which takes two of the three programs of an evaluation.
QUICK_RUN = QUICK_MODEL | {
    "contrastive.fused": False, "finetune.modality_dropout": 0.0, "model.head.unimodal": "none", "segmentation.unimodal_weight": 0.0,
    "eval.calibrate": False, "eval.panels": 0,
}  # fmt: skip


def tiny(preset="demo", **changes):
    """A demo configuration that compiles and trains in seconds, as ConfigDict."""
    config = pastis.get_config(preset)
    config.mesh.data = 1
    model = config.model
    model.width = 16
    model.utae.encoder_widths = (8, 12)
    model.utae.decoder_widths = (8, 12)
    model.ltae.heads = 2
    model.ltae.width = 16
    model.ltae.key_dim = 4
    model.patch_ltae.input_widths = (8,)
    model.patch_ltae.output_widths = (16,)
    model.temporal_first.times = 4
    model.temporal_first.date_width = 3
    model.temporal_first.width = 8
    model.temporal_first.blocks = 1
    model.temporal_first.dropout = 0.0
    model.resnet.widths = (4, 8)
    model.vit.depth = 1
    model.vit.heads = 2
    model.location.degrees = 3
    model.location.hidden = 8
    model.decoder.hidden = 16
    model.skysense.frame_width = 8
    model.projection.hidden = 16
    model.projection.width = 8
    model.fusion.depth = 1
    model.fusion.heads = 2
    model.head.width = 8
    model.head.dropout = model.fusion.dropout = 0.0
    config.data.crop = 0
    config.data.simulated.tiles = 10
    config.data.simulated.tile_size = 16
    config.eval.batch_size = 2
    config.eval.panels = 2
    config.eval.monitor_tiles = 0
    for stage in (config.pretrain, config.finetune):
        stage.steps, stage.batch_size, stage.learning_rate = min(stage.steps, 4), 2, 2e-3
        stage.log_every, stage.eval_every, stage.save_every = 1, 2, 2
        stage.ema_decay = 0.0
    for modality in config.modalities.values():
        if modality.channels == 3 and modality.encoder == "temporal_first" and config.model.architecture == "omnisat":
            modality.encoder = "patch_ltae"  # several series encoders are tried, and programs stay small
        if modality.kind == "series":
            modality.dates_train, modality.dates_eval = 4, 6
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(autouse=True)
def handlers_of_logs():
    """Commands write their log to the standard output of their test, which is closed when the next test starts."""
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)


def options(folder, console, **changes):
    """How launch.py starts a run."""
    from data.prepare import prepare

    return RunOptions(folder=folder, console=console, prepare=prepare, **changes)


def go(config, folder, console, stage="all"):
    """Runs an experiment as launch.py does."""
    return run(schema.parse(config), options(folder, console, stage=stage))


@pytest.fixture
def console():
    return Console(file=open(os.devnull, "w"), force_terminal=False)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """Root of a simulated PASTIS-HD of ten 16 px tiles."""
    from data.pastis.simulated import simulate

    root = tmp_path_factory.mktemp("simulated") / "pastis"
    return simulate(root, tiles=10, tile_size=16, seed=0)


@pytest.fixture
def root(simulated, tmp_path):
    """A copy of the simulated PASTIS-HD, which a test may change."""
    return shutil.copytree(simulated, tmp_path / "pastis")


def prepare_pastis(root, out, *options):
    """The exit code of `python -m data.prepare pastis`."""
    from data.prepare import main

    return run_command(main, ["pastis", "--raw", str(root), "--out", str(out), "--jobs", "1", *options])


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Where runs keep the prepared records of the simulated tiles, so that only the first one prepares them."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def records(simulated, cache):
    """Prepared records of the simulated tiles."""
    from data.prepare import prepare
    from omnisat_jax.records.reader import Records

    config = tiny()
    config.data.raw_dir = str(simulated)
    config.data.cache_dir = str(cache)
    return Records(prepare(schema.parse(config).data, Console(file=open(os.devnull, "w"))))


@pytest.fixture
def config():
    return schema.parse(tiny())


def real(name):
    """A folder of real imagery, which is not part of the project, or a skip that says what is missing."""
    folder = pathlib.Path(os.environ.get(REAL, "")) / name
    if not os.environ.get(REAL) or not folder.is_dir():
        pytest.skip(f"needs real imagery: a folder {name} in the one that {REAL} names")
    return folder
