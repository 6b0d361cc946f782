"""HTTP endpoints registered with the published SDKs' `HttpInvocationConfig` (wire 43, 44, 45, 46, 49, 50)."""

import hashlib
import hmac
import json
import os
import re
import shutil
import sys
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import attrs
import pytest
from node_tools import find_node
from processes import ROOT, Spawned, eventually, spawn
from sdk_install import SCRIPTS, SDKS, Sdk, install

OLDEST = (Sdk("python-oldest", "python", "0.9.0"), Sdk("node-oldest", "node", "0.9.0"))
EVERY = tuple({sdk.name: sdk for sdk in (*OLDEST, *SDKS)}.values())
SECRETS = {"PARTNER_TOKEN": "tok-1", "PARTNER_KEY": "key-1", "PARTNER_SECRET": "sec-1"}
CONFIG = """\
workers:
  - name: iii-worker-manager
    config: { host: 127.0.0.1 }
  - name: iii-http-functions
    config:
      security: { url_allowlist: ["127.0.0.1"], block_private_ips: false, require_https: false }
"""


@attrs.define
class Partner:
    """An endpoint that notes what it gets and answers by path."""

    url: str = ""
    seen: list[dict[str, Any]] = attrs.field(factory=list)

    def answer(self, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append({"method": request.command, "path": request.path, "headers": headers, "body": body})
        return {
            "/empty": (204, b""),
            "/text": (200, b"hello"),
            "/own": (422, b'{"error":{"code":"NO_STOCK","message":"none left"}}'),
            "/broken": (500, b"oops"),
        }.get(request.path, (200, json.dumps({"path": request.path}).encode()))

    def of(self, path: str) -> dict[str, Any]:
        (found,) = (request for request in self.seen if request["path"] == path)
        return found


@contextmanager
def open_partner() -> Iterator[Partner]:
    partner = Partner()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            status, body = partner.answer(self)
            self.send_response(status)
            if status != 204:
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        partner.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield partner
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def open_engine(folder: Path) -> Iterator[tuple[Spawned, str]]:
    config = folder / "engine.yaml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "iii_trio", "serve", "--config", str(config), "--port", "0"]
    env = {**os.environ, **SECRETS, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with spawn(command, folder / "engine.log", env) as engine:
        ready = eventually(lambda: engine.find(r"\[READY\] listener on 127\.0\.0\.1:(\d+)$"), "the worker port")
        yield engine, f"ws://127.0.0.1:{ready[1]}"


@contextmanager
def open_worker(folder: Path, sdk: Sdk, url: str, scene: dict[str, Any]) -> Iterator[Spawned]:
    installed, suffix = install(sdk), {"python": "py", "node": "mjs"}[sdk.language]
    script = Path(shutil.copy(SCRIPTS / f"http_functions.{suffix}", folder))
    if sdk.language == "node":
        (folder / "node_modules").symlink_to(installed / "node_modules")
    program = find_node().node if sdk.language == "node" else str(installed / "bin" / "python")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("III_", "OTEL_", "PYTHON"))}
    env = {**inherited, "HOME": str(folder), "III_URL": url, "PYTHONUNBUFFERED": "1"}
    with spawn([program, str(script), url, json.dumps(scene)], folder / "worker.log", env) as worker:
        yield worker


def outcomes(worker: Spawned, count: int) -> list[Any]:
    """The lines of JSON that the worker printed, once there are that many."""

    def probe() -> list[Any] | None:
        lines = re.findall(r'^\{"(?:result|error)".*$', worker.output(), re.MULTILINE)
        assert len(lines) >= count or worker.process.poll() is None, worker.output()
        return [json.loads(line) for line in lines] if len(lines) >= count else None

    return eventually(probe, "every call has an outcome")


@pytest.mark.parametrize("sdk", EVERY, ids=[sdk.name for sdk in EVERY])
def test_endpoints_as_functions(sdk: Sdk, tmp_path: Path) -> None:  # wire 43, 44, 45, 46, 49, 50
    with open_partner() as partner, open_engine(tmp_path) as (engine, url):
        functions = {
            "p::plain": {"url": f"{partner.url}/plain", "headers": {"x-tenant": "t1"}, "timeout_ms": 5000},
            "p::put": {"url": f"{partner.url}/put", "method": "PUT"},
            "p::get": {"url": f"{partner.url}/get", "method": "GET"},
            "p::bearer": {"url": f"{partner.url}/bearer", "auth": {"type": "bearer", "token_key": "PARTNER_TOKEN"}},
            "p::key": {
                "url": f"{partner.url}/key",
                "auth": {"type": "api_key", "header": "x-key", "value_key": "PARTNER_KEY"},
            },
            "p::hmac": {"url": f"{partner.url}/hmac", "auth": {"type": "hmac", "secret_key": "PARTNER_SECRET"}},
            "p::empty": {"url": f"{partner.url}/empty"},
            "p::text": {"url": f"{partner.url}/text"},
            "p::own": {"url": f"{partner.url}/own"},
            "p::broken": {"url": f"{partner.url}/broken"},
            "p::void": {"url": f"{partner.url}/void"},
            "p::secretless": {"url": f"{partner.url}/x", "auth": {"type": "bearer", "token_key": "NOT_SET"}},
            "p::elsewhere": {"url": "http://partner.example/"},
        }
        ok = [name for name in functions if name != "p::void"]
        scene = {
            "functions": functions,
            "calls": [[name, {"sku": "A-7"}] for name in ok],
            "void": "p::void",
            "gone": "p::plain",
        }
        with open_worker(tmp_path, sdk, url, scene) as worker:
            found = outcomes(worker, len(ok) + 1)
            eventually(lambda: "/void" in {request["path"] for request in partner.seen} or None, "the void call")
        by_name = dict(zip(ok, found, strict=False))
        for name in ("plain", "put", "get", "bearer", "key", "hmac"):
            assert by_name[f"p::{name}"] == {"result": {"path": f"/{name}"}}
        assert by_name["p::empty"] == {"result": None}
        codes = {name: outcome["error"]["code"] for name, outcome in by_name.items() if "error" in outcome}
        assert codes == {
            "p::text": "invalid_response",
            "p::own": "NO_STOCK",
            "p::broken": "http_error",
            "p::secretless": "function_not_found",
            "p::elsewhere": "function_not_found",
        }
        assert "none left" in by_name["p::own"]["error"]["message"]
        assert found[-1]["error"]["code"] == "function_not_found"
        assert "token_not_found: the environment variable NOT_SET" in engine.output()
        assert "URL not in allowlist" in engine.output()
        check_requests(partner)


def check_requests(partner: Partner) -> None:
    plain = partner.of("/plain")
    assert plain["method"] == "POST"
    assert json.loads(plain["body"])["sku"] == "A-7"
    assert plain["headers"]["content-type"] == "application/json"
    assert plain["headers"]["x-iii-function-path"] == "p::plain"
    assert plain["headers"]["x-tenant"] == "t1"
    assert [partner.of(path)["method"] for path in ("/put", "/get")] == ["PUT", "GET"]
    assert partner.of("/bearer")["headers"]["authorization"] == "Bearer tok-1"
    assert partner.of("/key")["headers"]["x-key"] == "key-1"
    signed = partner.of("/hmac")
    text = signed["headers"]["x-iii-timestamp"].encode() + b":" + b64encode(signed["body"])
    assert signed["headers"]["x-iii-signature"] == "sha256=" + hmac.new(b"sec-1", text, hashlib.sha256).hexdigest()
    assert json.loads(partner.of("/void")["body"])["void"] is True
