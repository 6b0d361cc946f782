"""HTTPS and HTTP/2: hypercorn's part, with an independent client (httpx2)."""

import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
import trio
import trustme
from http_rig import SERVER, Source, TcpNetwork, serving

from iii_trio.kernel import Kernel, ModuleOwner, TrioClock
from iii_trio.modules.http import (
    HttpConfig,
    HttpModule,
    Request,
    RequestHandler,
    Response,
    ServerLimits,
    StreamBroken,
    TlsConfig,
)
from iii_trio.modules.http.hypercorn_server import HypercornServer, TlsError, open_tls
from iii_trio.protocol.errors import ConfigError
from iii_trio.settings import structure_config

VERSIONS = [pytest.param(False, id="HTTP/1.1"), pytest.param(True, id="HTTP/2")]
Ask = Callable[[httpx2.Client], Any]


@attrs.frozen
class Files:
    """A certificate for 127.0.0.1 on disk, and who trusts it."""

    config: TlsConfig
    trust: ssl.SSLContext


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "cert.pem", append=True)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return Files(TlsConfig(str(folder / "cert.pem"), str(folder / "key.pem")), trust)


@pytest.fixture(autouse=True)
def hypercorn() -> Iterator[None]:
    token = SERVER.set("hypercorn")
    yield
    SERVER.reset(token)


@asynccontextmanager
async def secure(files: Files, handler: RequestHandler, limits: ServerLimits | None = None) -> AsyncIterator[str]:
    """A server with TLS and a handler of the test's own; its URL."""
    server = HypercornServer(TrioClock().now, limits or ServerLimits(), tls=open_tls(files.config))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, listeners, handler)
        yield f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def ask(files: Files, url: str, http2: bool, what: Ask) -> Any:
    """Run `what` with a client in a thread of its own."""

    def run() -> Any:
        with httpx2.Client(http2=http2, http1=not http2, verify=files.trust, base_url=url, timeout=8) as client:
            return what(client)

    with trio.fail_after(15):
        return await trio.to_thread.run_sync(run)


@pytest.mark.parametrize("http2", VERSIONS)
async def test_requests_and_answers_are_the_same_over_tls(files: Files, http2: bool) -> None:
    def both(client: httpx2.Client) -> list[httpx2.Response]:
        return [client.post("/orders/7?a=1", json={"x": 1}), client.get("/none"), client.head("/orders/7")]

    config = HttpConfig(host="127.0.0.1", port=0, server="hypercorn", tls=files.config)
    async with serving(config, TcpNetwork()) as rig:
        rig.route("/orders/:id", lambda call: {"status_code": 201, "body": call.payload.value}, "POST")
        posted, missing, head = await ask(files, f"https://127.0.0.1:{rig.network.port}", http2, both)
    assert posted.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    assert (posted.status_code, posted.headers["content-type"]) == (201, "application/json")
    assert (posted.json()["body"], posted.json()["path_params"]) == ({"x": 1}, {"id": "7"})
    assert posted.json()["headers"]["host"] == f"127.0.0.1:{rig.network.port}"
    assert "date" in posted.headers
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "NOT_FOUND")
    assert (head.status_code, head.content, head.headers["allow"]) == (405, b"", "POST")


@pytest.mark.parametrize("http2", VERSIONS)
async def test_large_bodies_go_both_ways(files: Files, http2: bool) -> None:
    async def echo(request: Request) -> Response:
        return Response(200, (), await request.read_body(1 << 30))

    body = bytes(range(256)) * (16 * 1024)
    async with secure(files, echo) as url:
        answer = await ask(files, url, http2, lambda client: client.post("/", content=body))
    assert answer.content == body


async def test_an_upload_that_nobody_reads_stops_nobody_on_its_connection(files: Files) -> None:
    release, begun = trio.Event(), threading.Event()

    async def handle(request: Request) -> Response:
        if request.path == b"/quick":
            release.set()
            return Response(200, (), b"quick")
        begun.set()
        await release.wait()
        return Response(200, (), b"slow")

    def both(client: httpx2.Client) -> tuple[bytes, bytes]:
        with ThreadPoolExecutor(2) as pool:
            slow = pool.submit(client.post, "/slow", content=bytes(4 << 20))
            assert begun.wait(5)
            quick = pool.submit(client.get, "/quick")
            return quick.result().content, slow.result().content

    async with secure(files, handle) as url:
        assert await ask(files, url, True, both) == (b"quick", b"slow")


@pytest.mark.parametrize("http2", VERSIONS)
async def test_streams_come_whole_or_break_visibly(files: Files, http2: bool) -> None:
    async def handle(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        end = [StreamBroken("gone")] if request.path == b"/broken" else []
        headers = [(b"connection", b"keep-alive"), (b"upgrade", b"x")]
        return Response(200, headers, stream=Source([b"abc", b"d" * 100_000, *end]).next)

    def broken(client: httpx2.Client) -> None:
        with pytest.raises(httpx2.RemoteProtocolError):
            client.get("/broken")

    async with secure(files, handle) as url:
        assert (await ask(files, url, http2, lambda client: client.get("/"))).content == b"abc" + b"d" * 100_000
        await ask(files, url, http2, broken)


async def test_bad_heads_are_refused_over_http2(files: Files) -> None:
    calls = []

    async def handle(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        calls.append(request.path)
        return Response(200)

    def ask_badly(client: httpx2.Client) -> list[int]:
        many = {f"x{number}": "1" for number in range(101)}
        return [
            client.get("/a", headers=many).status_code,
            client.get("/", extensions={"target": b"/<a>"}).status_code,
            client.get("/a").status_code,
        ]

    async with secure(files, handle) as url:
        assert await ask(files, url, True, ask_badly) == [431, 400, 200]
    assert calls == [b"/a"]


async def test_what_is_not_tls_is_dropped(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    async def handle(_: Request) -> Response:
        raise AssertionError("called")

    async with secure(files, handle, ServerLimits(head_timeout=0.2)) as url:
        port = int(url.rpartition(":")[2])
        for said in (b"GET / HTTP/1.1\r\nhost: h\r\n\r\n", b""):  # plain HTTP; and a client that says nothing in time
            with trio.fail_after(5):
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    if said:
                        await stream.send_all(said)
                    await read_to_the_end(stream)
    assert not caplog.records


async def read_to_the_end(stream: trio.SocketStream) -> None:
    try:
        while await stream.receive_some(1000):
            pass
    except trio.BrokenResourceError:
        return


def test_the_fast_server_speaks_no_tls(files: Files) -> None:
    block: dict[str, Any] = {"tls": {"cert_file": files.config.cert_file, "key_file": files.config.key_file}}
    with pytest.raises(ConfigError, match="`tls` needs `server: hypercorn`"):
        structure_config(HttpConfig, block)
    assert structure_config(HttpConfig, block | {"server": "hypercorn"}).tls == files.config
    with pytest.raises(ConfigError, match="key_file"):
        structure_config(HttpConfig, {"server": "hypercorn", "tls": {"cert_file": "x"}})


@pytest.mark.parametrize("missing", ["cert_file", "key_file"])
async def test_files_that_cannot_be_used_are_one_clear_error(files: Files, missing: str, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("nothing")
    for path in (tmp_path / "none.pem", tmp_path / "bad.pem"):
        tls = attrs.evolve(files.config, **{missing: str(path)})
        module = HttpModule(HttpConfig(server="hypercorn", tls=tls), ModuleOwner("h", "h"), TcpNetwork())
        with pytest.raises(TlsError) as caught:
            await module.run(Kernel(clock=TrioClock()))
        assert str(path) in str(caught.value)
