"""Models that fail in the middle of a map; importable by the processes of Ray."""

import dataclasses
import os
import pathlib
import signal

from omnisat_jax.errors import UserError
from tests.predict.region import Identity


@dataclasses.dataclass(frozen=True)
class Load:
    """Returns a model, and notes in a file which process loads it.

    Attributes:
      folder: of the notes.
      how: "" = nothing fails; "killed" = the first process dies in its second batch; "refused" = the model cannot be used.
    """

    folder: pathlib.Path
    how: str = ""

    def __call__(self):
        with open(self.folder / "loads", "a") as target:
            target.write(f"{os.getpid()}\n")
        return Fragile(self)


class Fragile(Identity):
    def __init__(self, load):
        super().__init__()
        self.load, self.count = load, 0

    def predict_batch(self, batch):
        self.count += 1
        if self.count == 2 and self.load.how == "killed":
            try:
                (self.load.folder / "killed").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        if self.load.how == "refused":
            raise UserError("this model: expected good weights, found others")
        return super().predict_batch(batch)
