"""Finds or makes the records of a training run, and opens raw folders for the command `python -m data.prepare`.

Without a prepared folder, a training run prepares data.raw_dir into <cache_dir>/<dataset>-<fingerprint>.
"""

import dataclasses
import os
import pathlib
from types import ModuleType

from rich.console import Console
from rich.text import Text

from data.preparation.options import Origin, PreparationOptions
from data.preparation.writing import write_records
from data.reading.datasets import nomenclature_of, open_dataset, reader_of, simulator
from data.reading.raw import RawDataset
from data.reading.workers import usual_jobs
from omnisat_jax.cli.progress import progress_bar
from omnisat_jax.config.schema import DataConfig
from omnisat_jax.errors import UserError
from omnisat_jax.files import fetching, hashing
from omnisat_jax.files.addresses import scheme_of
from omnisat_jax.files.paths import unwritable
from omnisat_jax.records.description import DESCRIPTION, VERSION, read_description
from omnisat_jax.records.info import DatasetInfo
from omnisat_jax.records.mirror import mirrored
from omnisat_jax.types import StrPath


def prepare(data_config: DataConfig, console: Console) -> pathlib.Path:
    """Makes sure that the records of a training run exist, and returns their folder.

    Args:
      data_config: which dataset, where it is, or how many tiles to simulate.
      console: for the progress bar.

    Raises:
      DataError, TooManyBadTiles: unusable raw files.
      UserError: no raw folder and nothing to simulate (says where the data are published), or prepared records that do not fit `data_config`.
    """
    reader = reader_of(data_config.dataset)
    options = PreparationOptions(data_config.on_bad, data_config.float16, data_config.max_bad, unlabelled=data_config.unlabelled)
    if data_config.prepared_dir:
        return _check_prepared(data_config, options, console)
    place = data_config.raw_dir or _simulate(data_config, reader, console)
    with fetching.opened(place, "data.raw_dir", scratch=data_config.mirrors, limit=data_config.mirror_gb) as root:
        if not root.is_dir():
            raise UserError(f"data.raw_dir: expected a folder, found {'a file' if root.exists() else 'nothing'} at {root}. {reader.WHERE}.")
        return _prepared_in_cache(data_config, root, options, console)


def _prepared_in_cache(data_config: DataConfig, root: pathlib.Path, options: PreparationOptions, console: Console) -> pathlib.Path:
    """The folder of records of a raw folder in the cache, made if they are not there."""
    dataset = open_dataset(data_config.dataset, root, data_config.nomenclature, options.unlabelled)
    key = _fingerprint(data_config.dataset, root, data_config.nomenclature, options, console)
    folder = pathlib.Path(data_config.cache_dir) / f"{data_config.dataset}-{key}"
    if not (folder / DESCRIPTION).is_file():
        _need_cache(data_config)
        simulated = None
        if not data_config.raw_dir:
            simulated = dataclasses.asdict(data_config.simulated) | {"version": simulator(data_config.dataset).VERSION}
        nomenclature = nomenclature_of(data_config.dataset, data_config.nomenclature)
        _copy_ahead(dataset, data_config.dataset, console)
        write_records(dataset, folder, Origin(key, data_config.dataset, nomenclature, simulated), options, console)
    return folder


def _copy_ahead(dataset: RawDataset, reader: str, console: Console) -> None:
    """Copies the files of a raw dataset in a bucket side by side, as many as there is room for."""
    if dataset.copies:
        with console.status(Text(f"copying {dataset.copies.address}"), spinner="dots"):
            dataset.copies.keep(reader_of(reader).raw_files(dataset.root))


def prepare_folder(
    name: str, root: StrPath, out: StrPath, nomenclature: str, options: PreparationOptions, console: Console
) -> DatasetInfo:
    """Prepares a raw folder and returns the description of its records.

    Args:
      name, root, nomenclature, options: see `open_raw_folder`.
      out: folder of the records, see `write_records`.
      console: for the progress bar.

    Raises:
      UserError, DataError: see `open_raw_folder` and `write_records`.
    """
    dataset, origin = open_raw_folder(name, root, nomenclature, options, console)
    return write_records(dataset, out, origin, options, console)


def open_raw_folder(
    name: str, root: StrPath, nomenclature: str, options: PreparationOptions, console: Console
) -> tuple[RawDataset, Origin]:
    """Indexes a raw folder and hashes its files, for `write_records` and `write_shard`.

    Args:
      name: of the dataset, one of DATASETS.
      root: the raw folder.
      nomenclature: which set of classes; "" = the default.
      options: how tiles are read and stored.
      console: says that files are being hashed.

    Raises:
      UserError, DataError: see `open_dataset`.
    """
    dataset = open_dataset(name, root, nomenclature, options.unlabelled)
    _copy_ahead(dataset, name, console)
    return dataset, Origin(_fingerprint(name, root, nomenclature, options, console), name, nomenclature_of(name, nomenclature))


def _check_prepared(data_config: DataConfig, options: PreparationOptions, console: Console) -> pathlib.Path:
    """The folder of existing records, after a check that they fit the configuration."""
    folder = pathlib.Path(data_config.prepared_dir)
    if scheme_of(data_config.prepared_dir):
        folder = mirrored(data_config.prepared_dir, data_config.mirrors, data_config.mirror_gb, console, "data.prepared_dir")
    info = read_description(folder)
    made = info.made_with
    wanted = {
        "dataset": (data_config.dataset, made.reader),
        "nomenclature": (nomenclature_of(data_config.dataset, data_config.nomenclature), made.nomenclature),
        "on_bad": (options.on_bad, made.on_bad),
        "float16": (options.float16, made.float16),
        "unlabelled": (options.unlabelled, made.unlabelled),
    }
    other = {name: found for name, (expected, found) in wanted.items() if expected != found}
    if other:
        expected = ", ".join(f"data.{name}={wanted[name][0]}" for name in other)
        found = ", ".join(f"{name} {value!r}" for name, value in other.items())
        flags = " ".join(f"--config.data.{name}={value}" for name, value in other.items())
        raise UserError(
            f"data.prepared_dir: expected records made with {expected}, found {folder} with {found}. Set {flags}, or prepare others."
        )
    if data_config.raw_dir and (scheme_of(data_config.raw_dir) or os.path.isdir(data_config.raw_dir)):
        with fetching.opened(data_config.raw_dir, "data.raw_dir", scratch=data_config.mirrors, limit=data_config.mirror_gb) as raw:
            key = _fingerprint(data_config.dataset, raw, data_config.nomenclature, options, console)
        if key != info.fingerprint:
            raise UserError(
                f"data.prepared_dir: expected records of data.raw_dir={data_config.raw_dir} ({key}), found {folder} of other data or of another state of them "
                f"({info.fingerprint}). Set --config.data.raw_dir= to use the records without comparing, or prepare others."
            )
    return folder


def _fingerprint(name: str, root: StrPath, nomenclature: str, options: PreparationOptions, console: Console) -> str:
    """Identifies the content of the raw files and how they are read."""
    how = f"{name}/{VERSION}/{nomenclature_of(name, nomenclature)}/{options.on_bad}/{options.float16}"
    how += f"/{options.unlabelled}" if options.unlabelled != "refuse" else ""  # records from before this option keep their fingerprint
    how += f"/reading {reading}" if (reading := getattr(reader_of(name), "READING", 1)) > 1 else ""
    with console.status(Text(f"hashing {fetching.place_of(root)}"), spinner="dots"):
        return hashing.fingerprint(root, reader_of(name).raw_files(root), how)


def _need_cache(data_config: DataConfig) -> None:
    """Refuses a folder for prepared data that cannot be written to, such as that of a checkout of somebody else."""
    if why := unwritable(data_config.cache_dir):
        raise UserError(
            f"data.cache_dir: expected a folder for simulated and prepared data that can be written to, found {data_config.cache_dir} ({why}); "
            "choose another with --config.data.cache_dir=FOLDER"
        )


def _simulate(data_config: DataConfig, reader: ModuleType, console: Console) -> pathlib.Path:
    wanted = data_config.simulated
    if not wanted.tiles:
        raise UserError(
            f"data.raw_dir is empty: this configuration needs the real dataset. {reader.WHERE}. "
            "Then set --config.data.raw_dir=FOLDER."
        )
    simulated = simulator(data_config.dataset)
    root = pathlib.Path(data_config.cache_dir) / (
        f"simulated-{data_config.dataset}-v{simulated.VERSION}-{wanted.tiles}x{wanted.tile_size}px-seed{wanted.seed}"
    )
    if root.exists():
        return root
    _need_cache(data_config)
    with progress_bar(console) as bar:
        task = bar.add_task(f"simulating {data_config.dataset}", total=wanted.tiles)
        return simulated.simulate(
            root,
            tiles=wanted.tiles,
            tile_size=wanted.tile_size,
            seed=wanted.seed,
            jobs=usual_jobs(wanted.tiles),
            progress=lambda done: bar.update(task, completed=done),
        )
