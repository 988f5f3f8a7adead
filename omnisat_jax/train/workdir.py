"""The folder of a run: what it was started with, and whether a new start may go on in it."""

import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys

import jax

from omnisat_jax.errors import UserError
from omnisat_jax.parallel.hosts import is_leader

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy")


class WorkdirError(UserError):
    """The folder belongs to another run."""


def claim(workdir, flat: dict):
    """Creates the folder, or checks that it was made with the same configuration.

    Args:
      flat: {dotted key: value} of the whole configuration.

    Raises:
      WorkdirError: another configuration, shown key by key; or a folder with other things in it.
    """
    workdir = pathlib.Path(workdir)
    path = workdir / "config.json"
    flat = json.loads(json.dumps(flat))
    if path.is_file():
        before = json.loads(path.read_text())
        changes = [
            f"  {key}: {before.get(key, '(absent)')!r} before, {flat.get(key, '(absent)')!r} now"
            for key in sorted(before.keys() | flat.keys())
            if before.get(key, "(absent)") != flat.get(key, "(absent)")
        ]
        if changes:
            raise WorkdirError(
                f"{workdir} holds a run with another configuration:\n"
                + "\n".join(changes)
                + "\nGive the same configuration to continue it, or another --workdir to start a new run."
            )
        return
    if workdir.is_dir() and any(workdir.iterdir()):
        raise WorkdirError(f"{workdir} is not empty and holds no run (no config.json): choose another --workdir")
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(path, flat)


def describe(workdir, *, flat: dict, data: dict, mesh, precision: str, accept_new_data: bool):
    """Writes run.json: all that is needed to repeat the run.

    Raises:
      WorkdirError: the folder was started on other data, and that is not accepted.
    """
    path = pathlib.Path(workdir) / "run.json"
    earlier = {}
    if path.is_file():
        about = json.loads(path.read_text())
        before, earlier = about["data"], about.get("seconds", {})
        if before["fingerprint"] != data["fingerprint"] and not accept_new_data:
            raise WorkdirError(
                f"{workdir}: this run was started on data {before['fingerprint']} ({before['source']}), now they are "
                f"{data['fingerprint']} ({data['source']}). Restore the data, choose another --workdir, or go on regardless with --accept_new_data."
            )
    if not is_leader():
        return
    device = jax.devices()[0]
    write_json(
        path,
        {
            "command": shlex.join(sys.argv),
            "config": flat,
            "data": data,
            "git": _git(),
            "versions": {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES},
            "device": {"kind": device.device_kind, "platform": device.platform, "count": jax.device_count()},
            "cores": len(cores()),  # the number of threads changes the rounding on CPUs
            "processes": jax.process_count(),
            "mesh": dict(mesh.shape),
            "precision": precision,
            "seconds": earlier,
        },
    )


def cores() -> list[int]:
    """CPU cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def note_time(workdir, stage: str, seconds: dict):
    """Adds where the time of one start of a stage went to run.json, on process 0."""
    if is_leader():
        path = pathlib.Path(workdir) / "run.json"
        about = json.loads(path.read_text())
        about.setdefault("seconds", {}).setdefault(stage, []).append(seconds)
        write_json(path, about)


def is_done(workdir, stage: str) -> bool:
    """Whether a stage has finished."""
    return (pathlib.Path(workdir) / stage / "done.json").is_file()


def mark_done(workdir, stage: str, facts: dict):
    """Declares a stage finished, on process 0."""
    if not is_leader():
        return
    folder = pathlib.Path(workdir) / stage
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "done.json", facts)


def write_json(path, value):
    """Writes a file whole or not at all."""
    path = pathlib.Path(path)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.replace(path)


def _git():
    """Revision of the code and whether it was changed since; None outside a repository."""
    here = pathlib.Path(__file__).parent
    try:
        revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"revision": revision, "dirty": bool(changed.strip())}
