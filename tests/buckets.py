"""A bucket on this machine for tests, and what is in it."""

import importlib.util
import logging
import pathlib

import pytest

from benchmarks.bucket_server import BUCKET, environment, serving

needs_bucket = pytest.mark.skipif(importlib.util.find_spec("gcsfs") is None, reason="gcsfs is not installed: pip install -e '.[gcs]'")
needs_s3 = pytest.mark.skipif(
    importlib.util.find_spec("s3fs") is None or importlib.util.find_spec("moto") is None, reason="pip install s3fs 'moto[server]'"
)


def download(address, folder):
    """Copies a folder of the bucket to this machine."""
    from omnisat_jax.files.buckets import Bucket

    bucket = Bucket(address)
    for name in bucket.objects():
        path = pathlib.Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bucket.read(name))
    return pathlib.Path(folder)


def upload(folder, address):
    """Copies a folder into the bucket; dataset.json last."""
    from omnisat_jax.files.buckets import Bucket

    target = Bucket(address)
    for path in sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.name == "dataset.json"):
        target.write(path.relative_to(folder).as_posix(), path.read_bytes())


def names(address):
    """Names of the objects of a folder."""
    from omnisat_jax.files.buckets import Bucket

    return set(Bucket(address).objects())


@pytest.fixture(scope="module")
def store():
    """The objects of an empty bucket of this module, which this process and its children use."""
    from omnisat_jax.files import buckets

    with serving() as (address, objects), pytest.MonkeyPatch.context() as patch:
        for name, value in environment(address).items():
            patch.setenv(name, value)
        buckets.forget()
        yield objects
        buckets.forget()


@pytest.fixture(scope="module")
def bucket(store):
    """The address of the bucket of `store`."""
    return f"gs://{BUCKET}"


@pytest.fixture
def memory(monkeypatch):
    """The address of an empty bucket in the memory of this process, which needs no server and no extra; other processes do not see it."""
    from fsspec.implementations.memory import MemoryFileSystem

    from omnisat_jax.files import addresses, buckets

    class Objects(MemoryFileSystem):
        store, pseudo_dirs, protocol, cachable = {}, [""], "memory", False

        def find(self, path, **options):
            return {name.lstrip("/"): self.info(name) for name in super().find(path)}

        def info(self, path, **options):
            return super().info(path) | {"etag": hash(self.cat_file(path))}

    objects, usual = Objects(), buckets._filesystem
    monkeypatch.setitem(addresses.BUCKETS, "memory", ("fsspec", "gcs"))
    monkeypatch.setattr(buckets, "_filesystem", lambda scheme: objects if scheme == "memory" else usual(scheme))
    return "memory://bkt"


@pytest.fixture(scope="module")
def s3():
    """The address of an empty bucket of a server on this machine that answers as S3 does; this process and its children use it."""
    import boto3
    from moto.server import ThreadedMotoServer

    from omnisat_jax.files import buckets

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line per request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    variables = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bkt")
        buckets.forget()
        yield "s3://bkt"
        buckets.forget()
    server.stop()
