"""A hub on the loopback interface that holds one repository of one commit."""

import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator, Mapping

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = ("main", "v1.0", COMMIT)


class _Hub(http.server.BaseHTTPRequestHandler):
    files: Mapping[str, bytes] = {}
    asked: list[str] = []

    def do_GET(self):  # noqa: N802
        self._answer(body=True)

    def do_HEAD(self):  # noqa: N802
        self._answer(body=False)

    def log_message(self, *_):
        pass

    def _answer(self, body):
        path = self.path.partition("?")[0]
        self.asked.append(path)
        status, headers, content = self._find(path.strip("/").split("/"))
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content)), "X-Repo-Commit": COMMIT} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _find(self, parts):
        api = parts[:2] == ["api", "models"]
        owner, name, kind, revision, *rest = (parts[2:] if api else parts) + [""] * 4
        if (owner, name) == ("org", "gated"):
            return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
        if (owner, name) != ("org", "model"):
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if revision not in REVISIONS:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if api and kind == "revision":
            return 200, {}, json.dumps({"id": "org/model", "sha": COMMIT, "siblings": []}).encode()
        if api:
            return 200, {}, json.dumps([_entry(*item) for item in self.files.items()]).encode()
        content = self.files["/".join(part for part in rest if part)]
        return 200, {"ETag": f'"{_oid(content)}"', "Accept-Ranges": "none"}, content


def _oid(content):
    return hashlib.sha1(content).hexdigest()


def _entry(name, content):
    return {"type": "file", "path": name, "size": len(content), "oid": _oid(content)}


@contextlib.contextmanager
def hub(files: Mapping[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Yields the address of a hub with org/model, which holds these files, and the paths that it was asked for."""
    asked: list[str] = []
    handler = type("Hub", (_Hub,), {"files": files, "asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()
