"""The manifest of a raw folder: its contents, and a checksum of every file, which finds flipped bits that no reader can see."""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

from omnisat_jax.errors import DataError, Finding, UserError, printable
from omnisat_jax.files.atomic import write_json
from omnisat_jax.files.json_file import Value, read_json
from omnisat_jax.files.paths import need_file

FORMAT = 2
READABLE = (1, 2)  # formats whose checksums can be compared
CHUNK = 2**20  # bytes
_ADVICE = "Write it anew with --update, or name another with --manifest."


def checksum(root: pathlib.Path, path: pathlib.Path) -> tuple[str, dict | Finding]:
    """(path below root, {"bytes", "sha256"} or a finding about the file)."""
    name = path.relative_to(root).as_posix()
    digest, size = hashlib.sha256(), 0
    try:
        with open(need_file(path, what="a file of the dataset"), "rb") as source:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except DataError as error:
        return name, error.finding
    except OSError as error:
        return name, Finding("unreadable", "-", printable(str(path)), "a file that can be read", error.strerror or str(error))
    return name, {"bytes": size, "sha256": digest.hexdigest()}


def read(path: pathlib.Path, dataset: str) -> dict[str, dict]:
    """{path below the root: {"bytes", "sha256"}} from an earlier check.

    Raises:
      DataError: not a manifest, or one of another dataset.
    """
    try:
        return _files(read_json(path, what=f"a manifest of {dataset}"), dataset)
    except DataError as error:
        raise DataError(
            tile="-",
            path=path,
            expected=error.expected,
            found=error.found,
            advice=_ADVICE,
        ) from error


def _files(manifest: Value, dataset: str) -> dict[str, dict]:
    written, found = manifest.get("format"), manifest.get("dataset")
    if written.value not in READABLE or found.value != dataset:
        raise manifest.error(f"a manifest of {dataset}, format {FORMAT}", f"one of {found.value!r}, format {written.value!r}", _ADVICE)
    return {
        name: {"bytes": entry.get("bytes").integer(0, 2**63), "sha256": entry.get("sha256").text()}
        for name, entry in manifest.get("files").items().items()
    }


def compare(files: Mapping[str, dict], manifest: Mapping[str, dict]) -> list[Finding]:
    """Findings where the checksums of `files` differ from those of `manifest`; both are {path: {"bytes", "sha256"}}."""
    findings = []
    for path in sorted(set(files) | set(manifest)):
        have, want, shown = files.get(path), manifest.get(path), printable(path)
        if have is None:
            findings.append(Finding("gone", "-", shown, f"{manifest[path]['bytes']:,} bytes", "no such file"))
        elif want is None:
            findings.append(Finding("unlisted", "-", shown, "no such file in the manifest", f"{have['bytes']:,} bytes"))
        elif have != want:
            expected, found = (f"{entry['bytes']:,} bytes, sha256 {printable(entry['sha256'])[:12]}..." for entry in (want, have))
            findings.append(Finding("changed", "-", shown, expected, found))
    return findings


def write(path: pathlib.Path, content: Mapping[str, Any]) -> None:
    """Writes a manifest.

    Raises:
      UserError: it cannot be written; says how to keep it elsewhere.
    """
    try:
        write_json(path, {"format": FORMAT, **content})
    except UserError as error:
        raise UserError(
            f"the check is complete (above), but its manifest could not be written: {error}. --manifest FILE keeps it elsewhere."
        ) from error
