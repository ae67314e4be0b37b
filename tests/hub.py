"""A small server on this machine that answers as the Hugging Face Hub does."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "1" * 40


class Hub(BaseHTTPRequestHandler):
    """Serves /ORG/NAME/resolve/REVISION/FILE from the folder `root`, as the Hugging Face Hub does."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        match = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)", self.path)
        file = self.root / match[1] / match[3] if match else None
        exists = file is not None and file.is_file()
        data = file.read_bytes() if exists else b""
        self.send_response(200 if exists else 404)
        if exists:
            revision = match[2] if re.fullmatch("[0-9a-f]{40}", match[2]) else COMMIT
            self.send_header("X-Repo-Commit", revision)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)
            self.served.append(self.path)

    do_GET = do_HEAD = answer

    def log_message(self, *args):
        pass


class WritableHub(Hub):
    """Also takes commits of files, from those with the token "good", and lists the files of a repository."""

    def do_GET(self):
        listed = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(?:/(revision|tree)/[^/]+)?", self.path.split("?")[0])
        if listed is None:
            self.answer()
        elif not (self.root / listed[1]).is_dir():
            self.reply(404, {"error": "Repository not found"}, "RepoNotFound")
        elif listed[2] == "tree":
            files = sorted(p for p in (self.root / listed[1]).iterdir())
            entries = [{"type": "file", "path": p.name, "size": p.stat().st_size, "oid": "0" * 40} for p in files]
            self.reply(200, entries)
        else:
            self.reply(200, {"id": listed[1], "sha": COMMIT, "siblings": [], "tags": []})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.headers["Authorization"] != "Bearer good":
            self.reply(401, {"error": "Invalid token"})
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            self.created.append("private" if asked.get("private") or asked.get("visibility") == "private" else "public")
            (self.root / asked["organization"] / asked["name"]).mkdir(parents=True, exist_ok=True)
            self.reply(200, {"url": f"{self.url}/{asked['organization']}/{asked['name']}"})
        elif self.path == "/api/validate-yaml":
            self.reply(200, {"warnings": [], "errors": []})
        elif match := re.fullmatch(r"/api/models/(.+)/preupload/main", self.path):
            names = [f["path"] for f in json.loads(body)["files"]]
            self.reply(200, {"files": [{"path": n, "uploadMode": "regular", "shouldIgnore": False} for n in names]})
        elif match := re.fullmatch(r"/api/models/(.+)/commit/main", self.path):
            lines = [json.loads(line) for line in body.splitlines()]
            for file in (line["value"] for line in lines if line["key"] == "file"):
                (self.root / match[1] / file["path"]).write_bytes(base64.b64decode(file["content"]))
            self.reply(200, {"commitUrl": f"{self.url}/{match[1]}/commit/{COMMIT}", "commitOid": COMMIT})

    def reply(self, status: int, value, code: str = ""):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(hub: type[Hub], root: Path) -> Iterator[type[Hub]]:
    """Serve the repositories in `root` within the block, at the attribute `url` of what is yielded."""
    handler = type("OwnHub", (hub,), {"root": root, "served": [], "created": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    handler.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield handler
    finally:
        server.shutdown()
        server.server_close()
