"""Spoils good datasets at random and shows that only data or findings come out.

python -m tests.fuzz --seconds 600 [--seed N] [--dataset tiles]
python -m tests.fuzz --dataset tiles --seed N --only 1234        one case again

Every case is read in full, every fourth is verified and every eighth prepared. It fails with a traceback of anything but a finding, more than a
minute for one case, more than 1 GB of memory, or a change outside the dataset's and the output folder.
"""

import argparse
import contextlib
import hashlib
import io
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings

import numpy as np

from data import prepare, verify
from data.datasets import open_dataset
from omnisat_jax.commands import run_command
from omnisat_jax.errors import DataError, UserError
from tests.fuzz.datasets import MAKERS
from tests.fuzz.mutations import mutate

MEMORY = 1e9  # bytes
PATIENCE = 60  # s for one case


class Slow(BaseException):
    """One case took longer than PATIENCE: something hangs."""


def read_everything(name: str, root: pathlib.Path) -> str:
    """Opens a dataset and reads all of it; "data", or what was found."""
    try:
        dataset = open_dataset(name, root)
    except UserError as error:
        return str(error)
    found = []

    def broken(modality, error):
        assert isinstance(error, DataError)
        found.append(str(error))
        return {"values": np.zeros((0, *dataset.modalities[modality].shape))} if modality != "labels" else {"labels": np.zeros(0)}

    for tiles in dataset.parts.values():
        for tile in tiles:
            example = dataset.read(tile, broken)
            for modality, about in dataset.modalities.items():
                values = example[modality]["values"]
                assert values.shape[1:] == about.shape or not len(values), f"{modality}: {values.shape}"
                if about.kind == "series" and len(values):
                    dates = np.asarray(example[modality]["dates"])
                    assert len(dates) == len(values) and (np.diff(dates) >= 0).all() and dates.min() > -1 and dates.max() < 60_000
            with contextlib.suppress(DataError):
                list(dataset.inspect(tile))
    return found[0] if found else "data"


def command(main, arguments, codes) -> str:
    """Runs a command; its one sentence. Anything but these exit codes, a traceback or a fault of the program is an error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(main, arguments)
    text = err.getvalue()
    assert code in codes and "Traceback" not in text and "fault of the program" not in text, f"{arguments}: code {code}: {text}"
    for character in out.getvalue() + text:
        assert character.isprintable() or character == "\n", f"{arguments}: prints {character!r}"
    return text


def state(folder: pathlib.Path) -> str:
    """What lies in a folder: names, sizes, times of change and contents."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)} {path.lstat().st_mtime_ns}".encode("utf-8", "surrogateescape"))
        if path.is_file() and not path.is_symlink():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def case(name: str, seed: int, number: int, base: pathlib.Path) -> tuple[list[str], str]:
    """Spoils a copy of a dataset and uses it; what was done to it, and what came of it."""
    r = random.Random(f"{name}/{seed}/{number}")
    root = base / "spoiled" / "raw"
    shutil.rmtree(root.parent, ignore_errors=True)
    shutil.copytree(base / "good" / name, root, symlinks=True)
    shutil.copytree(base / "good" / "victim", base / "spoiled" / "victim")
    done = [mutate(r, root) for _ in range(r.choice([1, 1, 1, 2, 3]))]
    before = state(base / "spoiled" / "victim"), sorted(os.listdir(base)), sorted(os.listdir(base / "spoiled"))
    found = read_everything(name, root)
    if number % 4 == 0:
        command(verify.main, [name, "--raw", str(root), "--jobs", "1", "--manifest", str(base / "out" / "manifest.json")], (0, 1, 2))
    if number % 8 == 0:
        policy = r.choice(["raise", "skip", "mask"])
        command(prepare.main, [name, "--raw", str(root), "--out", str(base / "out" / "records"), "--jobs", "1", "--on_bad", policy, "--max_bad", "1"], (0, 1))
    written = {path.name for path in (base / "out").iterdir()}
    assert written <= {"manifest.json", "records", "records.lock", ".records.lock"}, f"written beside the output: {written}"
    shutil.rmtree(base / "out")
    (base / "out").mkdir()
    assert before == (state(base / "spoiled" / "victim"), sorted(os.listdir(base)), sorted(os.listdir(base / "spoiled"))), "something else changed"
    return done, found


def main(arguments=None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dataset", choices=MAKERS, action="append", help="default all four")
    parser.add_argument("--only", type=int, help="number of the one case to repeat")
    parser.add_argument("--keep_going", action="store_true", help="show every failure, not only the first")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _alarm)
    failures = cases = readable = 0
    with tempfile.TemporaryDirectory() as folder:
        base, names = pathlib.Path(folder), options.dataset or list(MAKERS)
        os.environ["XDG_CACHE_HOME"] = str(base / "cache")
        for place in ("good", "out", "spoiled", "cache"):
            (base / place).mkdir()
        for name in names:
            MAKERS[name](base / "good" / name)
        (base / "good" / "victim").mkdir()
        np.save(base / "good" / "victim" / "secret.npy", np.arange(9))
        end = time.monotonic() + options.seconds
        while time.monotonic() < end and not (options.only is not None and cases):
            name = names[cases % len(names)]
            number = options.only if options.only is not None else cases // len(names)
            try:
                signal.alarm(PATIENCE)
                done, found = case(name, options.seed, number, base)
                readable += found == "data"
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
                assert memory < MEMORY, f"{memory / 1e9:.2f} GB of memory"
                if options.only is not None:
                    print("\n".join(done), found, sep="\n")
            except (Exception, Slow):
                failures += 1
                print(f"--dataset {name} --seed {options.seed} --only {number}", flush=True)
                r = random.Random(f"{name}/{options.seed}/{number}")
                shutil.rmtree(base / "spoiled")
                shutil.copytree(base / "good" / name, base / "spoiled" / "raw")
                shutil.copytree(base / "good" / "victim", base / "spoiled" / "victim")
                print(*(mutate(r, base / "spoiled" / "raw") for _ in range(r.choice([1, 1, 1, 2, 3]))), sep="\n")
                traceback.print_exc(file=sys.stdout)
                if not options.keep_going:
                    break
            finally:
                signal.alarm(0)
            cases += 1
    print(f"{cases} cases, {readable} of them still read whole, {failures} failures", flush=True)
    return 1 if failures else 0


def _alarm(*_):
    raise Slow(f"one case took more than {PATIENCE} s")


if __name__ == "__main__":
    sys.exit(main())
