"""docs/embeddings.md: its program reads the products of a map."""

import re
import subprocess
import sys

from omnisat_jax.predict.products.finishing import finish
from omnisat_jax.predict.products.options import EMBEDDINGS, ProductOptions
from tests.conftest import ROOT
from tests.predict.products.test_embeddings import WIDTH, make_map, random_tokens

PAGE = (ROOT / "docs" / "embeddings.md").read_text()


def test_the_program_reads_every_format(tmp_path):
    folder = make_map(tmp_path / "map")
    finish(folder, ProductOptions(embeddings=EMBEDDINGS))
    (program,) = re.findall(r"^```python \S+\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    known = (random_tokens(folder.info.grid)[2] > 0).sum()
    first, second = done.stdout.splitlines()
    assert first == f"{known} patches of {WIDTH} numbers, {known} rows"
    assert second.startswith("largest difference: 0.0000, of unit vectors 0.00")


def test_every_format_is_on_the_page():
    assert all(f"| `{name}` |" in PAGE for name in EMBEDDINGS)
