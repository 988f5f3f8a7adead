"""Models are read from buckets as from folders."""

import pytest

from omnisat_jax import Model
from omnisat_jax.files.buckets import Bucket
from omnisat_jax.inference.model_info import ModelError
from tests.buckets import bucket, needs_bucket, store  # noqa: F401 - fixtures
from tests.predict.models import save_random_model

pytestmark = needs_bucket


def test_a_model_of_a_bucket_is_that_of_its_folder(bucket, tmp_path):  # noqa: F811
    save_random_model(tmp_path / "model")
    target = Bucket(f"{bucket}/run/model")
    for path in (tmp_path / "model").iterdir():
        target.write(path.name, path.read_bytes())
    target.write("pictures/large.png", b"never read")
    found, expected = Model.from_pretrained(f"{bucket}/run/model"), Model.from_pretrained(tmp_path / "model")
    assert found.trained.checksum == expected.trained.checksum
    target.delete(["statistics.json"])
    with pytest.raises(ModelError, match=f"(?s)^{bucket}/run/model: .*statistics.json"):
        Model.from_pretrained(f"{bucket}/run/model")
    with pytest.raises(ModelError, match=f"{bucket}/nothing: expected the folder of a trained model, found none of"):
        Model.from_pretrained(f"{bucket}/nothing")
