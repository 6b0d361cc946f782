"""Which endpoints HTTP-invoked functions may reach, and that they reach no other (wire-protocol 6.3)."""

import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from endpoint import Endpoint, answer, open_endpoint
from fake_outbound import FakeOutbound
from http_functions_rig import ANYTHING, SECRETS, Scene, configured, error
from wire_client import MODERN, World, open_world

from iii_trio.clients.outbound import TcpOutbound
from iii_trio.testing import MemoryNetwork

PUBLIC, PRIVATE = "93.184.216.34", "10.0.0.7"
HTTP_ALLOWED = {"security": {"require_https": False}}


def refused(text: str) -> dict[str, Any]:
    return error("url_validation_failed", text)


@asynccontextmanager
async def open_faked(
    outbound: FakeOutbound, config: dict[str, Any] = HTTP_ALLOWED, endpoint: Endpoint | None = None
) -> AsyncIterator[Scene]:
    async with open_world(configured(config), env=SECRETS, outbound=outbound) as world:
        yield Scene(world, endpoint or Endpoint(), await world.connect(MODERN), await world.connect(MODERN))


async def is_registered(scene: Scene, url: str) -> bool:
    await scene.owner.register("f", invocation={"url": url})
    await scene.owner.fence()
    found = scene.world.engine.kernel.functions.find("default", "f") is not None
    await scene.owner.say(type="unregisterfunction", id="f")
    await scene.owner.fence()
    return found


# --- the policy -------------------------------------------------------------------------------------------------------

REFUSED = {
    "not a url": "Invalid URL",
    "http://public.test/": "HTTPS is required",
    "ftp://public.test/": "HTTPS is required",
    "https://127.0.0.1/": "Private IP blocked",
    "https://10.0.0.1/": "Private IP blocked",
    "https://169.254.169.254/latest/meta-data": "Private IP blocked",
    "https://[::1]/": "Private IP blocked",
    "https://[::ffff:127.0.0.1]/": "Private IP blocked",
    "https://[64:ff9b::10.0.0.1]/": "Private IP blocked",
    "https://[2002:7f00:1::]/": "Private IP blocked",
    "https://0.0.0.0/": "Private IP blocked",
    "https://2130706433/": "Private IP blocked",
    "https://0x7f.1/": "Private IP blocked",
    "https://0177.0.0.1/": "Private IP blocked",
    "https://127.1/": "Private IP blocked",
    "https://127.0.0.1./": "Private IP blocked",
    "https://\uff11\uff12\uff17.0.0.1/": "Private IP blocked",
    "https://public.test@10.0.0.1/": "Private IP blocked",
    "https://loop.test/": "Private IP blocked",
    "https://mixed.test/": "Private IP blocked",
    "https://nothing.test/": "DNS lookup failed",
    "https://empty.test/": "DNS lookup failed",
}


@pytest.mark.parametrize("url", REFUSED)
@pytest.mark.parametrize("config", [{}, {"security": {}}], ids=["no security", "empty security"])
async def test_the_default_policy(
    url: str, config: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:  # wire 47; config 17
    # http 93
    outbound = FakeOutbound(
        {"public.test": [[PUBLIC]], "loop.test": [["127.0.0.1"]], "mixed.test": [[PUBLIC, PRIVATE]], "empty.test": [[]]}
    )
    async with open_faked(outbound, config) as scene:
        assert not await is_registered(scene, url)
        assert f"its URL is refused: {REFUSED[url]}" in caplog.text
        assert (await scene.caller.error("f"))["code"] == "function_not_found"
        assert await is_registered(scene, "https://public.test/")
        assert outbound.connected == []


OPEN = {"security": {"require_https": False, "block_private_ips": False}}


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://[::1]:1/", "https://nothing.test/", "ftp://127.0.0.1/x"])
async def test_an_open_policy_looks_nothing_up(url: str) -> None:  # wire 47
    outbound = FakeOutbound()
    async with open_faked(outbound, OPEN) as scene:
        assert await is_registered(scene, url)
        assert outbound.lookups == []


@pytest.mark.parametrize(
    ("globs", "url", "allowed"),
    [
        (["*.ok.test"], "http://a.ok.test/", True),
        (["*.ok.test"], "http://A.OK.test:81/x", True),
        (["*.ok.test"], "http://ok.bad.test/", False),
        (["*.ok.test"], "http://ok.test/", False),
        (["*.ok.test"], "http://bad.test/a.ok.test", False),
        (["*.ok.test"], "http://a.ok.test@bad.test/", False),
        (["https://x.org"], "https://x.org/", False),
        (["b.test", "a?.test"], "http://a1.test/", True),
        (["a[0-9].test"], "http://ax.test/", False),
        (["a[!0-9].test"], "http://ax.test/", True),
        ([], "http://any.test/", True),
        (["::1"], "http://[0::1]/", True),
        (["B\u00fccher.test"], "http://xn--bcher-kva.test/", False),
    ],
)
async def test_the_allow_list(globs: list[str], url: str, allowed: bool) -> None:  # wire 48
    config = {"security": {**OPEN["security"], "url_allowlist": globs}}
    async with open_faked(FakeOutbound(), config) as scene:
        assert await is_registered(scene, url) is allowed


async def test_the_order_of_the_checks(caplog: pytest.LogCaptureFixture) -> None:
    config = {"security": {"url_allowlist": ["ok.test"]}}
    async with open_faked(FakeOutbound(), config) as scene:
        for url in ("http://[", "http://10.0.0.1/", "https://10.0.0.1/", "https://ok.test/"):
            assert not await is_registered(scene, url)
    texts = [record.getMessage().rpartition(": ")[2] for record in caplog.records if "refused" in record.getMessage()]
    assert texts == ["Invalid URL", "HTTPS is required", "URL not in allowlist", "DNS lookup failed"]


async def test_the_policy_holds_at_every_call() -> None:
    outbound = FakeOutbound({"moving.test": [[PUBLIC], [PRIVATE], OSError("gone"), []]})
    async with open_faked(outbound) as scene:
        await scene.owner.register("f", invocation={"url": "http://moving.test/"})
        await scene.owner.fence()
        for text in ("Private IP blocked", "DNS lookup failed", "DNS lookup failed"):
            assert {"error": await scene.caller.error("f")} == refused(text)
        assert outbound.connected == []


# --- rebinding --------------------------------------------------------------------------------------------------------


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:  # 6.3: no rebinding
    async with open_endpoint() as endpoint, open_endpoint() as inside:
        # registration and call see the public address; whoever looked again would find the private one
        outbound = FakeOutbound(
            {"rebind.test": [[PUBLIC], [PUBLIC], ["127.0.0.1"]]},
            {PUBLIC: endpoint.port, "127.0.0.1": inside.port},
        )
        async with open_faked(outbound) as scene:
            await scene.owner.register("f", invocation={"url": "http://rebind.test:8080/a"})
            await scene.owner.fence()
            assert await scene.caller.value("f") == {"ok": True}
            assert outbound.connected == [(PUBLIC, 8080)]
            assert outbound.lookups == ["rebind.test"] * 2
            assert endpoint.seen[0].headers["host"] == "rebind.test:8080"
            assert {"error": await scene.caller.error("f")} == refused("Private IP blocked")
            assert (len(endpoint.seen), inside.seen) == (1, [])


async def test_a_connection_is_used_for_its_own_host_only() -> None:
    async with open_endpoint() as endpoint:
        outbound = FakeOutbound({"a.test": [[PUBLIC]], "b.test": [[PUBLIC]]}, {PUBLIC: endpoint.port})
        async with open_faked(outbound) as scene:
            for host in ("a.test", "b.test", "a.test", "b.test"):
                await scene.owner.register("f", invocation={"url": f"http://{host}/"})
                await scene.owner.fence()
                await scene.caller.value("f")
        assert [(seen.headers["host"], seen.connection) for seen in endpoint.seen] == [
            ("a.test", 1),
            ("b.test", 2),
            ("a.test", 1),
            ("b.test", 2),
        ]


async def test_a_redirect_is_not_followed() -> None:  # wire 46
    async with open_endpoint() as inside:
        away = answer("307 Temporary Redirect", b'{"r":1}', f"location: {inside.url()}")
        async with open_endpoint(x=away) as endpoint:
            outbound = FakeOutbound({"a.test": [[PUBLIC]]}, {PUBLIC: endpoint.port, "127.0.0.1": inside.port})
            async with open_faked(outbound) as scene:
                await scene.owner.register("f", invocation={"url": "http://a.test/x"})
                await scene.owner.fence()
                assert await scene.caller.value("f") == {"r": 1}
        assert inside.seen == []


async def test_another_address_is_tried_when_one_refuses() -> None:
    async with open_endpoint() as endpoint:
        outbound = FakeOutbound({"a.test": [["93.184.216.1", PUBLIC]]}, {PUBLIC: endpoint.port})
        async with open_faked(outbound) as scene:
            await scene.owner.register("f", invocation={"url": "http://a.test/"})
            await scene.owner.fence()
            assert await scene.caller.value("f") == {"ok": True}
        assert outbound.connected == [("93.184.216.1", 80), (PUBLIC, 80)]


async def test_where_no_address_answers() -> None:
    outbound = FakeOutbound({"a.test": [["93.184.216.1", PUBLIC]]})
    async with open_faked(outbound) as scene:
        await scene.owner.register("f", invocation={"url": "http://a.test/"})
        await scene.owner.fence()
        text = f"cannot connect to a.test:80: 93.184.216.1 refuses; {PUBLIC} refuses"
        assert {"error": await scene.caller.error("f")} == error("http_request_failed", text)


# --- waiting ----------------------------------------------------------------------------------------------------------


async def test_a_slow_lookup_holds_up_its_own_connection_only(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:  # 1.4
    del autojump_clock
    outbound = FakeOutbound(stuck={"slow.test"})
    async with open_world(configured({}), network=MemoryNetwork(), outbound=outbound) as world:
        owner, other = await world.connect(MODERN), await world.connect(MODERN)
        await owner.register("f", invocation={"url": "https://slow.test/"})
        await owner.register("after")
        await outbound.looking.wait()
        began = trio.current_time()
        assert await other.fence() == []
        assert (await other.error("after"))["code"] == "function_not_found"
        assert trio.current_time() == began
        await owner.say(type="ping")
        await owner.hear("pong", within=60)
        assert trio.current_time() == began + 10
        assert "function f of worker" in caplog.text
        assert "its checks took longer than 10 s" in caplog.text
        call = await other.invoke("after", {})
        await owner.serve_one("after", result=1)
        assert (await other.outcome(call))["result"] == 1


async def test_a_worker_that_leaves_during_the_checks_registers_nothing() -> None:
    outbound = FakeOutbound(stuck={"slow.test"})
    async with open_faked(outbound, {}) as scene:
        await scene.owner.register("f", invocation={"url": "https://slow.test/"})
        await outbound.looking.wait()
        kernel: Any = scene.world.engine.kernel
        kernel.workers.get(scene.owner.id).close("killed")
        assert await scene.caller.fence() == []
        assert kernel.functions.find("default", "f") is None
        assert kernel.workers.get(scene.owner.id) is None


async def test_a_lookup_counts_against_the_time_of_the_call(autojump_clock: trio.testing.MockClock) -> None:
    del autojump_clock
    outbound = FakeOutbound({"a.test": [[PUBLIC]]})
    async with open_world(configured({}), network=MemoryNetwork(), outbound=outbound) as world:
        client = await world.connect(MODERN)
        for timeout_ms, seconds in ((400, 0.4), (None, 30.0), (3_600_000, 60.0)):
            outbound.stuck.clear()
            await client.register("f", invocation={"url": "https://a.test/", "timeout_ms": timeout_ms})
            await client.fence()
            outbound.stuck.add("a.test")
            began = trio.current_time()
            failed = await client.outcome(await client.invoke("f", {}), within=100)
            assert failed["error"]["code"] == "http_request_failed"
            assert "timed out" in failed["error"]["message"]
            assert trio.current_time() - began == pytest.approx(seconds)


async def test_a_registration_waits_for_a_module_that_is_being_restarted() -> None:
    outbound = FakeOutbound({"a.test": [[PUBLIC]]})
    async with open_faked(outbound) as scene:
        host = scene.world.engine.kernel.http_functions
        runner = host._runner
        assert runner is not None
        with host.served_by(runner):
            pass  # what a crash leaves behind
        await scene.owner.register("f", invocation={"url": "http://a.test/"})
        await scene.caller.fence()
        assert scene.world.engine.kernel.functions.find("default", "f") is None
        with host.served_by(runner):
            await scene.owner.fence()
            assert scene.world.engine.kernel.functions.find("default", "f") is not None
        failed = await scene.caller.error("f")
        assert failed == {
            "code": "module_unavailable",
            "message": "the module that calls f is being restarted",
        }


# --- TLS --------------------------------------------------------------------------------------------------------------


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@asynccontextmanager
async def open_tls(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str, trusted: bool = True
) -> AsyncIterator[tuple[World, FakeOutbound, Endpoint]]:
    authority, other = trustme.CA(), trustme.CA()
    file = folder / "authorities.pem"
    (authority if trusted else other).cert_pem.write_to_path(str(file))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with open_endpoint(tls=server_context(authority, *names)) as endpoint:
        outbound = FakeOutbound({"secure.test": [[PUBLIC]]}, {PUBLIC: endpoint.port})
        async with open_world(configured({}), outbound=outbound) as world:
            yield world, outbound, endpoint


async def test_tls_is_verified_for_the_name_of_the_url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with open_tls(monkeypatch, tmp_path, "secure.test") as (world, outbound, endpoint):
        client = await world.connect(MODERN)
        await client.register("f", invocation={"url": "https://secure.test./a"})
        calls = [await client.invoke("f", {}) for _ in range(2)]
        assert [(await client.outcome(call))["result"] for call in calls] == [{"ok": True}] * 2
        assert await client.value("f") == {"ok": True}
        assert outbound.connected == [(PUBLIC, 443)] * 2
        assert [seen.headers["host"] for seen in endpoint.seen] == ["secure.test"] * 3


async def test_tls_is_verified_for_an_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async with open_tls(monkeypatch, tmp_path, PUBLIC) as (world, _, endpoint):
        client = await world.connect(MODERN)
        await client.register("f", invocation={"url": f"https://{PUBLIC}:8443/a"})
        assert await client.value("f") == {"ok": True}
        assert endpoint.seen[0].headers["host"] == f"{PUBLIC}:8443"


@pytest.mark.parametrize(("name", "trusted"), [("other.test", True), ("secure.test", False)])
async def test_tls_that_does_not_verify(
    name: str, trusted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # wire 46
    async with open_tls(monkeypatch, tmp_path, name, trusted=trusted) as (world, _, endpoint):
        client = await world.connect(MODERN)
        await client.register("f", invocation={"url": "https://secure.test/"})
        failed = await client.error("f")
        assert failed["code"] == "http_request_failed"
        assert "TLS with secure.test failed" in failed["message"]
        assert "CERTIFICATE_VERIFY_FAILED" in failed["message"]
        assert endpoint.seen == []


async def test_plain_text_where_tls_was_meant() -> None:  # wire 46
    async def answer_in_plain_text(stream: trio.SocketStream) -> None:
        await stream.receive_some(1)
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        while await stream.receive_some(65536):
            pass

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, answer_in_plain_text, 0, host="127.0.0.1"))
        outbound = FakeOutbound({"secure.test": [[PUBLIC]]}, {PUBLIC: listener.socket.getsockname()[1]})
        async with open_faked(outbound, {}) as scene:
            await scene.owner.register("f", invocation={"url": "https://secure.test/"})
            await scene.owner.fence()
            failed = await scene.caller.error("f")
            assert failed["code"] == "http_request_failed"
            assert "TLS with secure.test failed" in failed["message"]
        nursery.cancel_scope.cancel()


# --- the machine's own network ----------------------------------------------------------------------------------------


async def test_names_and_addresses_of_this_machine() -> None:  # wire 47
    outbound = TcpOutbound()
    assert "127.0.0.1" in await outbound.resolve("localhost", 80)
    assert await outbound.resolve("127.0.0.1", 80) == ("127.0.0.1",)
    for host in ("a" * 64 + ".test", "a..b"):
        with pytest.raises(OSError, match="no host name"):
            await outbound.resolve(host, 80)
    async with open_world(configured(HTTP_ALLOWED)) as world:
        client = await world.connect(MODERN)
        scene = Scene(world, Endpoint(), client, client)
        assert not await is_registered(scene, "http://localhost/")


async def test_localhost_where_it_is_allowed() -> None:
    async with open_endpoint() as endpoint, open_world(configured(ANYTHING)) as world:
        client = await world.connect(MODERN)
        await client.register("f", invocation={"url": f"http://localhost:{endpoint.port}/"})
        assert await client.value("f") == {"ok": True}


def test_an_engine_without_endpoints_loads_no_client() -> None:
    program = """
import sys, trio
from iii_trio import open_engine
async def main():
    async with open_engine({"workers": [{"name": "iii-http-functions"}]}, host="127.0.0.1", port=0):
        print(sorted({"httpcore2", "anyio", "iii_trio.modules.http_functions.runner"} & sys.modules.keys()))
trio.run(main)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60, env=dict(os.environ)
    )
    assert ran.stdout == "[]\n"
