"""A bucket on this machine: gcp-storage-emulator on a loopback port, in a process of its own."""

import contextlib
import importlib.util
import pathlib
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.distributed.processes import free_port

MISSING = [name for name in ("gcsfs", "gcp_storage_emulator") if importlib.util.find_spec(name) is None]
needs_bucket = pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed: pip install -e '.[gcs]' gcp-storage-emulator")
NAME = "bkt"


def environment(address):
    """Environment variables with which gcsfs and TensorStore use a server in place of Google's."""
    return {
        "STORAGE_EMULATOR_HOST": address,
        "TENSORSTORE_GCS_HTTP_URL": address,
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # asks a gRPC service, and waits for it for a minute
    }


@contextlib.contextmanager
def server():
    """Yields the address of an emulator with an empty bucket."""
    port = free_port()
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host=127.0.0.1", f"--port={port}", "--in-memory", f"--default-bucket={NAME}", "-q"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(process, f"{address}/storage/v1/b/{NAME}")
        yield address
    finally:
        process.kill()
        process.wait()


def _wait(process, address):
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(address, timeout=10).close()
            return
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, "the emulator does not answer"
            time.sleep(0.05)


def download(address, folder):
    """Copies a folder of the bucket to this machine."""
    from omnisat_jax.files.buckets import Bucket

    bucket = Bucket(address)
    for name in bucket.objects():
        path = pathlib.Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bucket.read(name))
    return pathlib.Path(folder)


@pytest.fixture(scope="module")
def bucket():
    """The address of an empty bucket of this module, which this process and its children use."""
    with server() as address, pytest.MonkeyPatch.context() as patch:
        for name, value in environment(address).items():
            patch.setenv(name, value)
        from omnisat_jax.files import buckets

        buckets.forget()
        yield f"gs://{NAME}"
        buckets.forget()


def names(address):
    """Names of the objects of a folder."""
    from omnisat_jax.files.buckets import Bucket

    return set(Bucket(address).objects())



