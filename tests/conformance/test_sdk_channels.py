"""Data channels between the workers of every SDK, and requests and answers that are streamed (wire-protocol 10, http.md 9)."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
from asking import TIMEOUT
from processes import Engine, Spawned, eventually, serving
from sdk_install import SDKS, Sdk
from sdk_world import running

from tests.process import forget_peak, peak

MIB = 1024 * 1024
NAMES = [sdk.name for sdk in SDKS]
PAIRS = [(one.name, other.name) for one in SDKS for other in SDKS if one.language != other.language]


@attrs.define(eq=False)
class StreamWorld:
    """The engine, and one worker per SDK."""

    engine: Engine
    workers: dict[str, Spawned] = attrs.field(factory=dict)

    def ask(self, method: str, target: str, content: bytes = b"", kind: str = "application/json") -> httpx2.Response:
        with httpx2.Client(timeout=TIMEOUT, trust_env=False) as client:
            return client.request(method, self.engine.http + target, content=content, headers={"content-type": kind})

    def wait_serving(self, name: str) -> None:
        def probe() -> bool | None:
            assert self.workers[name].process.poll() is None, self.workers[name].output()
            return True if self.ask("POST", f"/{name}/upload").status_code == 200 else None

        eventually(probe, f"{name} serves")


@pytest.fixture(scope="module")
def streams(installed: Mapping[Sdk, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamWorld]:
    folder = tmp_path_factory.mktemp("streams")
    with ExitStack() as stack:
        world = StreamWorld(stack.enter_context(serving(folder)))
        url = world.engine.url
        for sdk in SDKS:
            process = running(folder, sdk, installed[sdk], "streams", url, url, sdk.name)
            world.workers[sdk.name] = stack.enter_context(process)
        for name in NAMES:
            world.wait_serving(name)
        yield world


def digest(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize(("writer", "reader"), PAIRS)
def test_a_reference_nested_in_data_works_between_languages(streams: StreamWorld, writer: str, reader: str) -> None:
    # wire 68, 74
    size = 1_000_000
    asked = json.dumps({"from": writer, "to": reader, "size": size}).encode()
    answer = streams.ask("POST", f"/{reader}/pipe", asked)
    assert answer.status_code == 200, answer.text
    sent = bytes(number % 251 for number in range(size))
    assert answer.json() == {"texts": [f"from {writer}"], **digest(sent)}


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_streamed(streams: StreamWorld, name: str) -> None:  # http 55, 56, 68
    answer = streams.ask("GET", f"/{name}/download")
    assert (answer.status_code, answer.headers["content-type"]) == (206, "text/csv")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.content == b"0,1,2," + b"x" * 200_000


BODIES = pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/octet-stream", bytes(range(256)) * 8_000),
        ("application/json", b'{"z":2, "a":1}'),
        ("application/x-www-form-urlencoded", b"a=1&b=%C3%A9"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\ncontent-disposition: form-data; name="f"\r\n\r\n\x00\xff\r\n--b--\r\n',
        ),
    ],
)


@BODIES
@pytest.mark.parametrize("name", NAMES)
def test_a_body_is_read_from_its_channel(streams: StreamWorld, name: str, kind: str, body: bytes) -> None:
    # http 36, 37, 38, 68
    answer = streams.ask("POST", f"/{name}/upload", body, kind)
    assert (answer.status_code, answer.json()) == (200, digest(body))


@BODIES
@pytest.mark.parametrize("name", NAMES)
def test_a_handler_in_the_wrapper_of_the_sdk(streams: StreamWorld, name: str, kind: str, body: bytes) -> None:
    # http 37, 55, 68
    answer = streams.ask("POST", f"/{name}/store", body, kind)
    assert (answer.status_code, answer.json()) == (201, digest(body))
    assert (answer.headers["x-kind"], answer.headers["transfer-encoding"]) == (kind, "chunked")


@pytest.mark.parametrize("name", NAMES)
def test_events_arrive_when_they_are_written(streams: StreamWorld, name: str) -> None:  # http 57, 68
    """The handler writes the next one when another request has acknowledged the one before."""
    with (
        httpx2.Client(timeout=TIMEOUT, trust_env=False) as client,
        client.stream("GET", f"{streams.engine.http}/{name}/events") as answer,
    ):
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")
        pieces = answer.iter_raw()
        for number in range(3):
            received = b""
            while len(received) < len(b"data: 0\n\n"):
                received += next(pieces)
            assert received == b"data: %d\n\n" % number
            assert streams.ask("POST", f"/{name}/acknowledge").status_code == 204
        assert list(pieces) == []


@pytest.mark.parametrize("name", ["python-new", "node-new"])
def test_sixty_four_mebibytes_each_way_in_little_memory(streams: StreamWorld, name: str) -> None:
    # http 38, 56, 65, 68
    pid, sha = streams.engine.spawned.process.pid, hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        for number in range(1024):
            sha.update(piece := bytes([number % 256]) * 65536)
            yield piece

    before = forget_peak(pid)
    with httpx2.Client(timeout=TIMEOUT, trust_env=False) as client:
        stored = client.post(f"{streams.engine.http}/{name}/store", content=pieces(), headers={"content-type": "a/b"})
        assert stored.json() == {"size": 64 * MIB, "sha": sha.hexdigest()}
        fetched = hashlib.sha256()
        with client.stream("GET", f"{streams.engine.http}/{name}/fetch/1024") as answer:
            assert answer.status_code == 206
            for piece in answer.iter_raw():
                fetched.update(piece)
    assert fetched.digest() == sha.digest()
    assert peak(pid) - before < 16 * MIB
