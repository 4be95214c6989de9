"""A stand-in of the hub's HTTP API on the loopback: what the real client asks for when it uploads a folder.

Cards are held against the hub's documented rules (huggingface.co/docs/hub: repositories-licenses, model-cards,
datasets-cards, spaces-config-reference), as its own endpoint does before it takes a file.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

TOKEN = "hf_loopback"
LICENCES = {"apache-2.0", "mit", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0", "odc-by", "unknown", "other"}
SIZES = {"n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M"}
REPO_ID = re.compile(r"^(?:[\w.-]+/)?[\w.-]+$")


def faults(content: str, kind: str) -> list[str]:
    """Give what the hub would say against a card."""
    found = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
    head: Any = yaml.safe_load(found[1]) if found else None
    if not isinstance(head, dict):
        return ["no metadata"]
    licences = head.get("license", [])
    said = [
        f'"license" must be one of {sorted(LICENCES)}'
        for one in ([licences] if isinstance(licences, str) else licences)
        if one not in LICENCES
    ]
    said += ['"base_model" is no model id'] * (not REPO_ID.match(head.get("base_model", "a/b")))
    said += ['"size_categories" is unknown'] * (not set(head.get("size_categories", [])) <= SIZES)
    said += ['"tags" are no texts'] * (not all(isinstance(tag, str) for tag in head.get("tags", [])))
    if kind == "space":
        said += ['"sdk" or "app_file" is missing'] * (head.get("sdk") != "static" or "app_file" not in head)
    if kind == "dataset":
        said += ['"configs" name no file'] * (not all(one.get("data_files") for one in head.get("configs", [])))
    return said


class Hub:
    """What the stand-in holds: repositories by kind and name, with `private` and their `files`; every request's path.

    `refusal` is answered to whoever creates a repository.
    """

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], dict[str, Any]] = {}
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.refusal: tuple[int, str] | None = None
        self.url = ""

    def answer(self, method: str, path: str, body: bytes, token: str | None) -> tuple[int, Any]:
        """Answer a request by status and JSON."""
        self.asked.append(f"{method} {path}")
        if method == "PUT":
            self.blobs[path.rpartition("/")[2]] = body
            return 200, {}
        if token != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid username or password."}
        if path == "/api/repos/create":
            return self.create(json.loads(body))
        if path == "/api/validate-yaml":
            asked = json.loads(body)
            errors = [{"message": fault} for fault in faults(asked["content"], asked["repoType"])]
            return (400 if errors else 200), {"errors": errors, "warnings": []}
        if found := re.fullmatch(r"/(?:(dataset|space)s/)?(.+)\.git/info/lfs/objects/batch", path):
            return 200, {"transfer": "basic", "objects": [self.room_for(one) for one in json.loads(body)["objects"]]}
        if found := re.fullmatch(
            r"/api/(model|dataset|space)s/([^/]+/[^/]+)(?:/(preupload|commit|revision)/main)?", path
        ):
            return self.of_repo(found[1], found[2], found[3], body)
        return 404, {"error": f"nothing at {path}"}

    def create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        """Create a repository; 409 with its address if it is there."""
        if self.refusal is not None:
            return self.refusal[0], {"error": self.refusal[1]}
        kind, name = asked.get("type", "model"), f"{asked['organization'] or 'me'}/{asked['name']}"
        status = 409 if (kind, name) in self.repos else 200
        self.repos.setdefault(
            (kind, name), {"private": asked["visibility"] == "private", "sdk": asked.get("sdk"), "files": {}}
        )
        return status, {"url": self.address(kind, name), "error": "exists"}

    def address(self, kind: str, name: str) -> str:
        """Give a repository's page."""
        return f"{self.url}/{'' if kind == 'model' else f'{kind}s/'}{name}"

    def room_for(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Say where a large file is to be put."""
        return {**asked, "actions": {"upload": {"href": f"{self.url}/blobs/{asked['oid']}"}}}

    def of_repo(self, kind: str, name: str, what: str | None, body: bytes) -> tuple[int, Any]:
        """Answer what is asked of a repository."""
        repo = self.repos.get((kind, name))
        if repo is None:
            return 404, {"error": "Repository not found"}
        if what == "preupload":
            modes = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(body)["files"]
            ]
            return 200, {"files": modes}
        if what == "commit":
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    repo["files"][value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    repo["files"][value["path"]] = self.blobs[value["oid"]]
                    assert hashlib.sha256(self.blobs[value["oid"]]).hexdigest() == value["oid"]
            return 200, {
                "commitUrl": f"{self.address(kind, name)}/commit/{'1' * 40}",
                "commitOid": "1" * 40,
                "success": True,
            }
        return 200, {"id": name, "private": repo["private"], "sha": "1" * 40, "siblings": []}


@contextlib.contextmanager
def hub_server() -> Iterator[Hub]:
    """Serve the stand-in; close it at the end."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            status, said = hub.answer(self.command, path, body, self.headers.get("Authorization"))
            sent = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if status >= 400 and "error" in said:
                self.send_header("X-Error-Message", said["error"])
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def do_PUT(self) -> None:
            self.answer()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()
