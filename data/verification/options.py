"""Options of a verification."""

import dataclasses
import pathlib
from collections.abc import Collection


@dataclasses.dataclass(frozen=True)
class VerificationOptions:
    """How a raw folder or a folder of records is verified.

    Attributes:
      allowed: kinds of findings that are not failures.
      json_file: also write contents and findings there, or None.
      nomenclature: see `open_dataset` (raw folders only).
      manifest: file of the manifest; None = <root>/manifest.json (raw folders only).
      update: write the manifest anew instead of comparing with it (raw folders only).
      jobs: number of processes (raw folders only).
      unlabelled: see `open_dataset` (raw folders only).
    """

    allowed: Collection[str] = ()
    json_file: pathlib.Path | None = None
    nomenclature: str = ""
    manifest: pathlib.Path | None = None
    update: bool = False
    jobs: int = 1
    unlabelled: str = "refuse"
