"""A stand-in for Google Cloud Storage on the loopback interface: the part of its JSON API that a run uses.

with object_store() as store:
    subprocess.run(command, env=os.environ | store.environment)  # a command that works on gs://bucket/...
"""

import contextlib
import email
import itertools
import json
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

BUCKET = "bucket"


class Store(NamedTuple):
    """A store and how to reach it."""

    environment: dict[
        str, str
    ]  # of a process whose gs://bucket this is; gcsfs reads one, TensorStore the other
    objects: dict[str, tuple[int, bytes]]  # name -> generation and content

    def copy_to(self, directory: Path) -> None:
        """Writes every object as a file."""
        for name, (_, data) in self.objects.items():
            if not name.endswith("/"):
                path = directory / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)


@contextlib.contextmanager
def object_store() -> Iterator[Store]:
    """gs://bucket in the memory of this process, for others to work on."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.objects, server.sessions, server.numbers = {}, {}, itertools.count(1)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    yield Store({"STORAGE_EMULATOR_HOST": address, "TENSORSTORE_GCS_HTTP_URL": address}, server.objects)
    server.shutdown()
    thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        """Nothing: a client that was killed leaves its connection open."""


class _Handler(BaseHTTPRequestHandler):
    """Objects by name; every write makes a new generation, as in the real one."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, query = self._path()
        name = _object_in(path)
        if path.endswith("/o"):
            self._answer(200, self._list(query))
        elif name is None:
            self._answer(200 if path.endswith(f"/b/{BUCKET}") else 404, {"name": BUCKET, "location": "here"})
        elif name not in self.server.objects:
            self._answer(404, {"error": {"code": 404, "message": f"No such object: {name}"}})
        elif query.get("alt") == "media":
            self._send_data(name)
        else:
            self._answer(200, self._about(name))

    def do_POST(self):
        path, query = self._path()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "upload_id" in query:
            self._go_on_with(query["upload_id"], body)
        elif path.startswith("/upload/"):
            self._upload(query, body)
        elif path.startswith("/batch/"):
            self._batch(body)
        elif "/rewriteTo/" in path:
            old, new = path.split("/rewriteTo/")
            self._store(_object_in(new), self.server.objects[_object_in(old)][1])
            self._answer(200, {"done": True, "resource": self._about(_object_in(new))})
        else:
            self._answer(501, {})

    def do_PUT(self):
        self._go_on_with(self._path()[1]["upload_id"], self.rfile.read(int(self.headers["Content-Length"])))

    def _go_on_with(self, session: str, body: bytes) -> None:
        """Part of an upload; the last one says how long it all is."""
        name, before = self.server.sessions[session]
        self.server.sessions[session] = name, before + body
        if self.headers.get("Content-Range", "").endswith("/*"):
            self._answer(308, {}, {"Range": f"bytes=0-{len(before + body) - 1}"})
        else:
            self._store(name, before + body)
            self._answer(200, self._about(name))

    def do_DELETE(self):
        found = self.server.objects.pop(_object_in(self._path()[0]), None)
        self._answer(404 if found is None else 204, {})

    def _upload(self, query: dict[str, str], body: bytes) -> None:
        if query["uploadType"] == "resumable":
            session = str(next(self.server.numbers))
            self.server.sessions[session] = query.get("name") or json.loads(body)["name"], b""
            host = self.headers["Host"]
            self._answer(200, {}, {"Location": f"http://{host}/upload/session?upload_id={session}"})
            return
        name = query.get("name")
        if query["uploadType"] == "multipart":
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            about, content = email.message_from_bytes(head + body).get_payload()
            name, body = json.loads(about.get_payload())["name"], content.get_payload(decode=True)
        wanted = query.get("ifGenerationMatch")
        if wanted is not None and int(wanted) != self.server.objects.get(name, (0,))[0]:
            self._answer(412, {})
            return
        self._store(name, body)
        self._answer(200, self._about(name))

    def _batch(self, body: bytes) -> None:
        """Many deletions in one request, the only thing that is sent so."""
        parts = []
        for line in body.decode().splitlines():
            if line.startswith("DELETE "):
                path = urllib.parse.urlsplit(line.split()[1]).path
                found = self.server.objects.pop(_object_in(path), None)
                status = "404 Not Found" if found is None else "204 No Content"
                parts.append(f"--cut\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 {status}\r\n\r\n\r\n")
        text = "".join(parts) + "--cut--"
        self._send(200, text.encode(), {"Content-Type": "multipart/mixed; boundary=cut"})

    def _list(self, query: dict[str, str]) -> dict:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        items, folders = [], set()
        for name in sorted(self.server.objects):
            rest = name.removeprefix(prefix)
            if not name.startswith(prefix):
                continue
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.split(delimiter)[0] + delimiter)
            else:
                items.append(self._about(name))
        return {"kind": "storage#objects", "items": items, "prefixes": sorted(folders)}

    def _store(self, name: str, data: bytes) -> None:
        self.server.objects[name] = next(self.server.numbers), data

    def _about(self, name: str) -> dict:
        generation, data = self.server.objects[name]
        return {
            "kind": "storage#object",
            "name": name,
            "bucket": BUCKET,
            "size": str(len(data)),
            "generation": str(generation),
            "metageneration": "1",
            "id": f"{BUCKET}/{name}/{generation}",
            "updated": "2026-01-01T00:00:00Z",
            "timeCreated": "2026-01-01T00:00:00Z",
        }

    def _send_data(self, name: str) -> None:
        generation, data = self.server.objects[name]
        headers, status, asked = {"x-goog-generation": str(generation)}, 200, self.headers.get("Range")
        if asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin = int(first) if first else len(data) - int(last)
            end = min(int(last) + 1, len(data)) if first and last else len(data)
            if begin >= len(data):
                self._send(416, b"", headers)
                return
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
            status, data = 206, data[begin:end]
        self._send(status, data, headers)

    def _path(self) -> tuple[str, dict[str, str]]:
        parts = urllib.parse.urlsplit(self.path)
        return parts.path, dict(urllib.parse.parse_qsl(parts.query))

    def _answer(self, status: int, content: dict, headers: dict[str, str] | None = None) -> None:
        body = b"" if status == 204 else json.dumps(content).encode()
        self._send(status, body, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing: the tests read what the runs print."""


def _object_in(path: str) -> str | None:
    """The name in .../b/BUCKET/o/NAME."""
    _, found, name = path.partition(f"/b/{BUCKET}/o/")
    return urllib.parse.unquote(name) if found and name else None
