"""A server that answers as Google Cloud Storage does, as far as gcsfs and TensorStore ask: objects in memory, on a loopback port.

It has what runs depend on and gcp-storage-emulator lacks: generations with preconditions, by which TensorStore writes without losing what another
process wrote, and requests that are answered side by side. It can delay every answer, and fail some of them, as a busy service does.
"""

import collections
import contextlib
import datetime
import hashlib
import http.server
import itertools
import json
import multiprocessing
import re
import threading
import time
import urllib.parse
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping

BUCKET = "bkt"
_BOUNDARY = "batch_of_answers"
_OBJECT = re.compile(r"/(?:download/)?storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>[^/?]+)(?P<copy>/(?:rewriteTo/b/[^/]+|moveTo)/o/(?P<target>[^/]+))?")
_LIST = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)/o")
_UPLOAD = re.compile(r"/(?:resumable/)?upload/storage/v1/b/(?P<bucket>[^/]+)/o")


class Store:
    """The objects of a bucket, and how requests for them go wrong.

    Attributes:
      latency: seconds by which every answer is delayed.
      fault: (number of the request, method, path) -> a status to answer with, -1 to close the connection without an answer, or 0 to do what is asked.
      requests: counts of answered requests, by method.
      times: {generation: when it was written}.
    """

    def __init__(self) -> None:
        self.latency = 0.0
        self.fault: Callable[[int, str, str], int] = lambda number, method, path: 0
        self.requests: collections.Counter[str] = collections.Counter()
        self.numbers, self.lock = itertools.count(1), threading.Lock()
        self._objects: dict[str, tuple[bytes, int]] = {}
        self._hashes: dict[int, str] = {}
        self.times: dict[int, str] = {}
        self.uploads: dict[str, tuple[str, bytes]] = {}
        self._generations = itertools.count(10**15)

    def get(self, name: str) -> tuple[bytes, int] | None:
        """Content and generation of an object."""
        return self._objects.get(name)

    def put(self, name: str, content: bytes, query: Mapping[str, str]) -> int:
        """Writes an object; returns its generation, or 0 where a precondition does not hold."""
        with self.lock:
            if not self._holds(name, query):
                return 0
            self._objects[name] = content, next(self._generations)
            self.times[self._objects[name][1]] = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
            self._hashes[self._objects[name][1]] = b64encode(hashlib.md5(content).digest()).decode()
            return self._objects[name][1]

    def md5(self, generation: int) -> str:
        """The MD5 of what was written as that generation, in base 64."""
        return self._hashes[generation]

    def remove(self, name: str, query: Mapping[str, str]) -> int:
        """Deletes an object; returns the status."""
        with self.lock:
            if name not in self._objects:
                return 404
            if not self._holds(name, query):
                return 412
            del self._objects[name]
            return 204

    def names(self, prefix: str) -> list[str]:
        """Names with a prefix, sorted."""
        with self.lock:
            return sorted(name for name in self._objects if name.startswith(prefix))

    def _holds(self, name: str, query: Mapping[str, str]) -> bool:
        wanted = query.get("ifGenerationMatch")
        return wanted is None or int(wanted) == self._objects.get(name, (b"", 0))[1]


@contextlib.contextmanager
def serving() -> Iterator[tuple[str, Store]]:
    """Yields the address of a server and its objects; the server ends with the body."""
    store = Store()
    handler = type("Handler", (_Handler,), {"store": store})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", store
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def serving_elsewhere() -> Iterator[tuple[str, Callable[[float], None]]]:
    """Yields the address of a server in a process of its own, which takes no time from this one, and a function that sets its latency in seconds."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        address = here.recv()

        def set_latency(seconds: float) -> None:
            here.send(seconds)
            here.recv()

        yield address, set_latency
    finally:
        process.kill()
        process.join()


def _serve(pipe):
    with serving() as (address, store):
        pipe.send(address)
        while True:
            store.latency = pipe.recv()
            pipe.send(None)


def environment(address: str) -> dict[str, str]:
    """Environment variables with which gcsfs and TensorStore use a server in place of Google's."""
    return {
        "STORAGE_EMULATOR_HOST": address,
        "TENSORSTORE_GCS_HTTP_URL": address,
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # asks a gRPC service, and waits for it for a minute
    }


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """Says nothing of clients that were killed."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: Store

    def log_message(self, format, *args):
        """Keeps the terminal quiet."""

    def _do(self):
        url = urllib.parse.urlsplit(self.path)
        self.query = {key: values[-1] for key, values in urllib.parse.parse_qs(url.query, keep_blank_values=True).items()}
        body = self._body()
        if self.store.latency:
            time.sleep(self.store.latency)
        status = self.store.fault(next(self.store.numbers), self.command, url.path)
        if status:
            if status < 0:
                self.close_connection = True
            else:
                self._send(status)
            return
        with self.store.lock:
            self.store.requests[self.command] += 1
        self._route(url.path, body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _do

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().strip(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _route(self, path: str, body: bytes) -> None:
        if path.startswith("/batch/"):
            return self._batch(body)
        match = _OBJECT.fullmatch(path) or _UPLOAD.fullmatch(path) or _LIST.fullmatch(path)
        if match and match["bucket"] != BUCKET:
            return self._send(404)
        if match and match.re is _UPLOAD:
            return self._upload(body)
        if match and match.re is _LIST:
            return self._list()
        if match:
            name = urllib.parse.unquote(match["name"])
            if self.command == "DELETE":
                return self._send(self.store.remove(name, self.query))
            return self._copy(name, urllib.parse.unquote(match["target"])) if match["copy"] else self._get(name)
        known = path == f"/storage/v1/b/{BUCKET}"
        return self._json({"kind": "storage#bucket", "name": BUCKET, "id": BUCKET}) if known else self._send(404)

    def _get(self, name: str) -> None:
        found = self.store.get(name)
        if found is None:
            return self._send(404)
        content, generation = found
        if self.query.get("ifGenerationNotMatch") == str(generation):
            return self._send(304)
        if self.query.get("ifGenerationMatch", str(generation)) != str(generation):
            return self._send(412)
        if self.query.get("alt") != "media":
            return self._json(self._about(name, content, generation))
        headers = {"X-Goog-Generation": str(generation), "X-Goog-Hash": f"md5={self.store.md5(generation)}", "X-Goog-Stored-Content-Length": str(len(content))}
        part = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not part:
            return self._send(200, content, headers)
        first, last = part[1], part[2]
        start = int(first) if first else max(0, len(content) - int(last))
        end = min(int(last) + 1 if first and last else len(content), len(content))
        if start >= len(content):
            return self._send(416)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        return self._send(206, content[start:end], headers)

    def _list(self) -> None:
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        items, prefixes = [], {}
        for name in self.store.names(prefix):
            below, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            if found:
                prefixes[prefix + below + delimiter] = None
            elif (entry := self.store.get(name)) is not None and self.query.get("startOffset", "") <= name:
                items.append(self._about(name, *entry))
        first = int(self.query.get("pageToken") or 0)
        last = first + int(self.query.get("maxResults") or 1000)
        more = {"nextPageToken": str(last)} if last < len(items) else {}
        self._json({"kind": "storage#objects", "items": items[first:last], "prefixes": list(prefixes)} | more)

    def _upload(self, body: bytes) -> None:
        kind, name = self.query.get("uploadType"), self.query.get("name", "")
        if "upload_id" in self.query:
            return self._resume(self.query["upload_id"], body)
        if kind == "multipart":
            # A part that describes the object, and one with its content, each between boundaries.
            boundary = b"--" + self.headers["Content-Type"].partition("boundary=")[2].strip("\"'").encode()
            about, second = body.split(boundary, 2)[1:]
            name = json.loads(about[about.index(b"{") :]).get("name", name)
            return self._written(name, second[: second.rindex(b"\n" + boundary)].partition(b"\n\n")[2])
        if kind == "resumable":
            name = name or json.loads(body or b"{}").get("name", "")
            token = f"{time.time_ns()}"
            self.store.uploads[token] = name, b""
            where = f"http://{self.headers['Host']}{urllib.parse.urlsplit(self.path).path}?uploadType=resumable&upload_id={token}"
            return self._send(200, b"", {"Location": where})
        return self._written(name, body)

    def _resume(self, token: str, body: bytes) -> None:
        name, before = self.store.uploads[token]
        part = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", self.headers.get("Content-Range", f"bytes 0-{len(body)}/{len(body)}"))
        assert part
        content = before[: int(part[1] or len(before))] + body
        self.store.uploads[token] = name, content
        if part[2] != "*" and len(content) >= int(part[2]):
            return self._written(name, content)
        return self._send(308, b"", {"Range": f"bytes=0-{len(content) - 1}"} if content else {})

    def _written(self, name: str, content: bytes) -> None:
        generation = self.store.put(name, content, self.query)
        return self._json(self._about(name, content, generation)) if generation else self._send(412)

    def _copy(self, name: str, target: str) -> None:
        found = self.store.get(name)
        if found is None:
            return self._send(404)
        generation = self.store.put(target, found[0], {})
        if "/moveTo/" in self.path:
            self.store.remove(name, {})
            return self._json(self._about(target, found[0], generation))
        size = str(len(found[0]))
        return self._json({"done": True, "objectSize": size, "totalBytesRewritten": size, "resource": self._about(target, found[0], generation)})

    def _batch(self, body: bytes) -> None:
        """Several deletions in one request."""
        answers = []
        for path in re.findall(rb"DELETE (\S+) HTTP/1.1", body):
            match = _OBJECT.fullmatch(urllib.parse.urlsplit(path.decode()).path)
            status = self.store.remove(urllib.parse.unquote(match["name"]), {}) if match else 404
            answers.append(f"--{_BOUNDARY}\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n\r\n")
        self._send(200, ("".join(answers) + f"--{_BOUNDARY}--\r\n").encode(), {"Content-Type": f"multipart/mixed; boundary={_BOUNDARY}"})

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json; charset=UTF-8"})

    def _send(self, status: int, content: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(content)

    def _about(self, name: str, content: bytes, generation: int) -> dict[str, str]:
        when = self.store.times[generation]
        return {
            "kind": "storage#object", "id": f"{BUCKET}/{name}/{generation}", "name": name, "bucket": BUCKET, "generation": str(generation),
            "metageneration": "1", "contentType": "application/octet-stream", "timeCreated": when, "updated": when, "storageClass": "STANDARD",
            "size": str(len(content)), "md5Hash": self.store.md5(generation), "etag": str(generation),
        }  # fmt: skip
