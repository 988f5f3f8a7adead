"""run.json: the data of a run, every start that did something, and where its time went."""

import datetime
import importlib.metadata
import logging
import pathlib
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import jax

from omnisat_jax.errors import printable
from omnisat_jax.files import atomic, working_copy
from omnisat_jax.files.json_file import read_json
from omnisat_jax.parallel.hosts import is_leader
from omnisat_jax.train.identity import STAGES, Change
from omnisat_jax.train.workdir import WorkdirError, cores
from omnisat_jax.types import StrPath

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy")
# Between starts, a change of these may change the last digits of a result, or more. On CPUs the number of threads changes the rounding.
COMPARED = ("git", "versions", "device", "cores", "processes", "mesh", "precision")
ADVICE = "Restore it; or delete it: checkpoints know their data themselves, only the record of earlier starts is lost."
log = logging.getLogger(__name__)


def versions() -> dict[str, str]:
    """{name: version} of Python and of the packages that what is computed depends on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


class Start:
    """This start of a run. It is compared with the earlier ones at once, and recorded when something runs or if it is the first.

    Attributes:
      new: whether no earlier start is known.
    """

    def __init__(
        self,
        workdir: StrPath,
        *,
        flat: dict[str, Any],
        data: dict[str, Any],
        computing: dict[str, Any],
        accept_new_data: bool,
        changes: Sequence[Change] = (),
    ):
        """Compares this start with the earlier ones. Must be called after `workdir.claim`.

        Args:
          workdir: folder of the run.
          flat: {dotted key: value} of the whole configuration.
          data: "fingerprint", "source" and whatever else is known of the data.
          computing: "mesh" (sizes of its axes) and "precision".
          accept_new_data: go on although the data have changed.
          changes: what `workdir.claim` returned.

        Raises:
          WorkdirError: the folder was started on other data, and that is not accepted.
          DataError: run.json is damaged.
        """
        self._folder, self._flat, self._changes = pathlib.Path(workdir), flat, list(changes)
        known = self._read()
        self.new = known is None
        if self.new and any((self._folder / stage).exists() for stage in (*STAGES, "evaluate")):
            log.warning("%s is missing: the record of earlier starts is lost; checkpoints know their data themselves", self._path)
        if known and known["data"]["fingerprint"] != data["fingerprint"] and not accept_new_data:
            before = known["data"]
            earlier = len(before["fingerprint"]) != len(data["fingerprint"])
            note = " Earlier versions computed other fingerprints: if the data have not changed, use --accept_new_data." if earlier else ""
            raise WorkdirError(
                f"{workdir}: this run was started on data {before['fingerprint']} ({before.get('source')}), now they are "
                f"{data['fingerprint']} ({data['source']}). Restore the data, choose another --workdir, or continue anyway with --accept_new_data.{note}"
            )
        device = jax.devices()[0]
        self._facts = {
            "time": f"{datetime.datetime.now():%Y-%m-%d %H:%M:%S}",
            "host": socket.gethostname(),
            "command": shlex.join(sys.argv),
            "git": _git(),
            "versions": versions(),
            "device": {"kind": device.device_kind, "platform": device.platform, "count": jax.device_count()},
            "cores": len(cores()),
            "processes": jax.process_count(),
            **computing,
        }
        self._data = data
        self._begun = False
        starts = (known or {}).get("starts") or []
        self._differences = _differences(starts[-1] if starts else {}, self._facts)
        if self.new:
            self._append()

    def begin(self) -> list[str]:
        """Records this start. Must be called whenever something is about to run.

        Returns:
          What to show the user, at the first call only: changed keys, and differences from the last start.
        """
        if self._begun:
            return []
        self._begun = True
        if not self.new:
            self._append()
        changes = [f"{change}{f': {change.note}' if change.note else ''}" for change in self._changes]
        return [printable(text) for text in changes + self._differences]

    def note_time(self, stage: str, seconds: dict[str, float]) -> None:
        """Adds where the time of this start of a stage went, on process 0."""
        self._add("seconds", stage, seconds)

    def note_compiling(self, stage: str, times: dict[str, float]) -> None:
        """Adds what the programs of a stage or of the evaluation cost before they ran in this start (see `compile_time.compile_times`), on process 0."""
        self._add("compiling", stage, times)

    def _add(self, key, stage, numbers):
        record = self._read() if is_leader() else None
        if record:
            record[key].setdefault(stage, []).append(numbers)
            self._write(record)

    def note(self, key: str, facts: dict[str, Any]) -> None:
        """Adds facts that the run found out, on process 0. They are kept until the next start that does something."""
        record = self._read() if is_leader() else None
        if record:
            self._write(record | {key: facts})

    @property
    def _path(self):
        return self._folder / "run.json"

    def _append(self):
        if not is_leader():
            return
        earlier = self._read() or {"starts": [], "seconds": {}, "compiling": {}}
        start = self._facts | {"data": {key: self._data.get(key) for key in ("fingerprint", "source")}}
        if self._changes:
            start["changed"] = {change.key: [change.before, change.now] for change in self._changes}
        # The top level describes the last start, for readers that look at one run.
        record = self._facts | {"config": self._flat, "data": self._data, "starts": [*earlier["starts"], start]}
        record |= {key: earlier[key] for key in ("seconds", "compiling")}
        self._write(record)
        if self._changes:
            atomic.write_json(self._folder / "config.json", self._flat)
            working_copy.push(self._folder)

    def _write(self, record):
        atomic.write_json(self._path, record)
        working_copy.push(self._folder)

    def _read(self) -> dict[str, Any] | None:
        """run.json with a list of starts, even where an earlier version wrote only the last one; None if there is none."""
        if not self._path.exists():
            return None
        value = read_json(self._path, what="the record of the run", advice=ADVICE)
        value.get("data").get("fingerprint").text()
        value.get("config").items()
        for start in value.find("starts", []).list():
            start.items()
        record = dict(value.value)
        for key in ("seconds", "compiling"):
            for starts in value.find(key, {}).items().values():
                for numbers in starts.list():
                    for entry in numbers.items().values():
                        entry.number()
            record[key] = record.get(key) or {}
        if "starts" not in record:
            record["starts"] = [{key: record[key] for key in ("command", *COMPARED) if key in record}]
        return record


def _differences(before, now):
    """Differences between two starts, one line per fact."""
    lines = []
    for key in COMPARED:
        if key not in before or before[key] == now[key]:
            continue
        old, new = before[key], now[key]
        if isinstance(old, dict) and isinstance(new, dict):
            names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
            lines += [f"{key} {name}: {old.get(name)!r} at the last start, {new.get(name)!r} now" for name in names]
        else:
            lines.append(f"{key}: {old!r} at the last start, {new!r} now")
    return lines


def _git():
    """The revision of the code and whether it was changed since; None outside a repository."""
    here = pathlib.Path(__file__).parent
    try:
        revision = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"revision": revision, "dirty": bool(changed.strip())}
