"""Raw folders of every dataset."""

import pytest

from tests.fuzz.datasets import MAKERS


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """{name: a small raw folder without faults} of every dataset."""
    folders = {name: tmp_path_factory.mktemp("intact") / name for name in MAKERS}
    for name, make in MAKERS.items():
        make(folders[name])
    return folders
