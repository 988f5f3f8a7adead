"""Claims the folder that records are written to, so that nothing else is overwritten."""

import pathlib
from typing import Any

from omnisat_jax.errors import UserError, printable
from omnisat_jax.files import atomic
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.files.paths import entries
from omnisat_jax.records.description import CLAIM


class ForeignFolder(UserError):
    """The folder to write to holds something else."""


def claim_folder(folder: pathlib.Path, content: dict[str, Any]) -> None:
    """Writes preparing.json into an empty folder, or compares the one that is there.

    Args:
      folder: exists.
      content: of dataset.json; "version", "fingerprint" and "made_with" identify the preparation.

    Raises:
      ForeignFolder: the folder holds other files, or is being prepared from other data.
    """
    marker = folder / CLAIM
    ours = {name: content[name] for name in ("version", "fingerprint", "made_with")}
    # Listed before the marker is looked for: another shard writes the marker first, and anything else after it.
    others = [path.name for path in entries(folder) if not atomic.is_partial(path.name)]
    if marker.exists():
        found = read_json(marker, what="what the folder is being prepared from", advice="Choose another folder.")
        if found.find("fingerprint").value != content["fingerprint"]:
            raise ForeignFolder(
                f"{folder}: expected records of these data ({content['fingerprint']}), found those of others "
                f"({printable(str(found.find('fingerprint').value), 40)}): {_difference(found, ours)}. Choose another folder, or delete this one."
            )
        return
    if others:
        raise ForeignFolder(
            f"{folder}: expected an empty folder or one of an interrupted preparation, found other files "
            f"({others[0]}{', ...' if len(others) > 1 else ''}). Choose another folder."
        )
    atomic.write_json(marker, ours)


def _difference(found: Value, ours: dict[str, Any]) -> str:
    """Which options of a claim differ from ours, in words."""
    if found.find("version").value != ours["version"]:
        return f"of version {printable(str(found.find('version').value), 40)}, now {ours['version']}"
    theirs = found.find("made_with", {}).items()
    changed = [
        f"{name} {printable(str(theirs[name].value), 60)} then, {value} now"
        for name, value in ours["made_with"].items()
        if name in theirs and name != "max_bad" and theirs[name].value != value
    ]
    return "; ".join(changed) or "the raw files are others, or were changed"
