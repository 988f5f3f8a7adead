"""Damages intact datasets at random and checks that the outcome is always data or findings.

python -m tests.fuzz --seconds 600 [--seed N] [--dataset tiles]
python -m tests.fuzz --dataset tiles --seed N --only 1234        repeats one case

Every case is read completely, every 8th is verified and every 32nd is prepared. Failures are: any error that is not a finding, more than a minute
for one case, more than 1 GB of memory, or a change outside the folders of the dataset and of the output.
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
import stat
import sys
import tempfile
import time
import traceback
import warnings

import numpy as np

from data import prepare, verify
from data.reading.datasets import open_dataset
from omnisat_jax.cli.arguments import Parser
from omnisat_jax.cli.command import run_command
from omnisat_jax.errors import DataError, UserError
from tests.fuzz.datasets import MAKERS
from tests.fuzz.mutations import mutate

MEMORY = 1e9  # bytes
PATIENCE = 60  # s for one case


class Slow(BaseException):
    """One case took longer than PATIENCE."""


def read_everything(name: str, root: pathlib.Path) -> str:
    """Opens a dataset and reads all of it; returns "data", or the first error."""
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
            for modality, spec in dataset.modalities.items():
                values = example[modality]["values"]
                assert values.shape[1:] == spec.shape or not len(values), f"{modality}: {values.shape}"
                if spec.kind == "series" and len(values):
                    dates = np.asarray(example[modality]["dates"])
                    assert len(dates) == len(values) and (np.diff(dates) >= 0).all() and dates.min() > -1 and dates.max() < 60_000
            with contextlib.suppress(DataError):
                list(dataset.inspect(tile))
    return found[0] if found else "data"


def command(main, arguments, codes) -> str:
    """Runs a command and returns its error message; fails for other exit codes, tracebacks and bugs."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(main, arguments)
    text = err.getvalue()
    assert code in codes and "Traceback" not in text and "bug in omnisat_jax" not in text, f"{arguments}: code {code}: {text}"
    for character in out.getvalue() + text:
        assert character.isprintable() or character == "\n", f"{arguments}: prints {character!r}"
    return text


def state(folder: pathlib.Path) -> str:
    """A hash of a folder: names, modification times and contents."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(f"{path.relative_to(folder)} {path.lstat().st_mtime_ns}".encode("utf-8", "surrogateescape"))
        if path.is_file() and not path.is_symlink():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def restore(good: pathlib.Path, copy: pathlib.Path) -> None:
    """Makes `copy` equal to `good`; writes only what differs in type, size or modification time."""
    os.makedirs(copy, exist_ok=True)
    wanted = {entry.name: entry for entry in os.scandir(good)}
    for entry in list(os.scandir(copy)):
        kept = wanted.get(entry.name)
        if kept is not None and kept.is_dir() and entry.is_dir(follow_symlinks=False):
            continue
        if kept is None or _look(kept) != _look(entry):
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
    for name, entry in wanted.items():
        if entry.is_dir():
            restore(pathlib.Path(entry.path), copy / name)
        elif not os.path.lexists(copy / name):
            shutil.copy2(entry.path, copy / name)


def _look(entry):
    status = entry.stat(follow_symlinks=False)
    return stat.S_IFMT(status.st_mode), status.st_size, status.st_mtime_ns


def damage(name: str, seed: int, number: int, base: pathlib.Path) -> tuple[list[str], random.Random]:
    """Makes the dataset of one case in base/damaged/NAME/raw; returns what was done to it, and the random generator for what follows."""
    r = random.Random(f"{name}/{seed}/{number}")
    folder = base / "damaged" / name
    restore(base / "good" / name, folder / "raw")
    restore(base / "good" / "victim", folder / "victim")
    return [mutate(r, folder / "raw") for _ in range(r.choice([1, 1, 1, 2, 3]))], r


def case(name: str, seed: int, number: int, base: pathlib.Path) -> tuple[list[str], str]:
    """Damages a copy of a dataset and uses it; returns what was done to it, and the outcome."""
    done, r = damage(name, seed, number, base)
    root, out = base / "damaged" / name / "raw", base / "out"

    def surroundings():
        return state(root.parent / "victim"), sorted(os.listdir(base)), sorted(os.listdir(root.parent))

    before = surroundings()
    found = read_everything(name, root)
    if number % 8 == 0:
        command(verify.main, [name, "--raw", str(root), "--jobs", "1", "--manifest", str(out / "manifest.json")], (0, 1))
    if number % 32 == 0:
        policy = r.choice(["raise", "skip", "mask"])
        command(prepare.main, [name, "--raw", str(root), "--out", str(out / "records"), "--jobs", "1", "--on_bad", policy, "--max_bad", "1"], (0, 1))
    written = {path.name for path in out.iterdir()}
    assert written <= {"manifest.json", "records", "records.lock", ".records.lock"}, f"written beside the output: {written}"
    if written:
        shutil.rmtree(out)
        out.mkdir()
    assert before == surroundings(), "something else changed"
    return done, found


def peak_memory() -> int:
    """Peak memory of this process, bytes; on Linux without that of the process it was forked from."""
    try:
        with open("/proc/self/status") as status:
            return 1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except OSError:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(arguments=None) -> int:
    """The command line."""
    parser = Parser(prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--cases", type=int, help="ends after so many cases, however long they take")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dataset", choices=MAKERS, action="append", help="default: all four")
    parser.add_argument("--only", type=int, help="number of the one case to repeat")
    parser.add_argument("--keep_going", action="store_true", help="show every failure, not only the first")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _alarm)
    failures = cases = readable = 0
    with tempfile.TemporaryDirectory() as folder:
        base, names = pathlib.Path(folder), options.dataset or list(MAKERS)
        os.environ["XDG_CACHE_HOME"] = str(base / "cache")
        for child in ("good", "out", "damaged", "cache"):
            (base / child).mkdir()
        for name in names:
            MAKERS[name](base / "good" / name)
        (base / "good" / "victim").mkdir()
        np.save(base / "good" / "victim" / "secret.npy", np.arange(9))
        end, most = time.monotonic() + options.seconds, options.cases if options.only is None else 1
        while cases < most if most else time.monotonic() < end:
            name = names[cases % len(names)]
            number = options.only if options.only is not None else cases // len(names)
            try:
                signal.alarm(PATIENCE)
                done, found = case(name, options.seed, number, base)
                readable += found == "data"
                memory = peak_memory()
                assert memory < MEMORY, f"{memory / 1e9:.2f} GB of memory"
                if options.only is not None:
                    print("\n".join(done), found, sep="\n")
            except (Exception, Slow):
                failures += 1
                print(f"--dataset {name} --seed {options.seed} --only {number}", flush=True)
                print(*damage(name, options.seed, number, base)[0], sep="\n")
                traceback.print_exc(file=sys.stdout)
                if not options.keep_going:
                    break
            finally:
                signal.alarm(0)
            cases += 1
    print(f"{cases} cases, {readable} of them still read completely, {failures} failures", flush=True)
    return 1 if failures else 0


def _alarm(*_):
    raise Slow(f"one case took more than {PATIENCE} s")


if __name__ == "__main__":
    sys.exit(run_command(main))
