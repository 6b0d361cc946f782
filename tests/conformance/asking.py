"""HTTP requests as people make them, and answers taken whole."""

import json
import shutil
import subprocess
from email.utils import parsedate_to_datetime
from typing import Any

import attrs
import httpx2

TIMEOUT = 20.0
COMMON = {"user-agent": "conformance", "accept": "application/json"}
CORS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "*",
    "vary": "origin, access-control-request-method, access-control-request-headers",
}


@attrs.frozen
class Answer:
    """An answer but for its `date`: the status, the header, the body read as JSON."""

    status: int
    headers: dict[str, str]
    body: Any


@attrs.frozen
class Exchange:
    """An answer, and the header of the request it answers, as it was sent."""

    answer: Answer
    sent: dict[str, str]


def ask(base: str, method: str, target: str, body: str | None = None) -> Exchange:
    """One request by httpx2 on a connection of its own; `body` is JSON text."""
    headers = COMMON | ({} if body is None else {"content-type": "application/json"})
    with httpx2.Client(timeout=TIMEOUT, trust_env=False) as client:
        response = client.request(method, base + target, headers=headers, content=body)
    received = Answer(response.status_code, _without_date(dict(response.headers)), _decode(response.content))
    return Exchange(received, dict(response.request.headers))


def curl(base: str, method: str, target: str, body: str | None = None) -> Exchange:
    """The same by `curl`."""
    program = shutil.which("curl")
    assert program is not None
    headers = COMMON | ({} if body is None else {"content-type": "application/json"})
    command = [program, "-sS", "-i", "--noproxy", "*", "--max-time", str(TIMEOUT), "-X", method, base + target]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    if body is not None:
        command += ["--data-binary", body]
        headers |= {"content-length": str(len(body.encode()))}
    ran = subprocess.run(command, check=True, capture_output=True, timeout=2 * TIMEOUT)
    return Exchange(_parse(ran.stdout), headers | {"host": base.removeprefix("http://")})


def ask_as_people_do(base: str, method: str, target: str, body: str | None = None) -> Exchange:
    """By curl where it is installed."""
    return (curl if shutil.which("curl") else ask)(base, method, target, body)


def expected(status: int, body: Any, more: dict[str, str] | None = None) -> Answer:
    """What an answer with compact JSON looks like whole; `more` are header fields beside the usual ones."""
    size = len(json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode())
    headers = {"content-type": "application/json", "content-length": str(size), **CORS, **(more or {})}
    return Answer(status, headers, body)


def _parse(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("ascii").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = ", ".join(filter(None, (headers.get(name.lower()), value.strip())))
    return Answer(int(status.split()[1]), _without_date(headers), _decode(body))


def _without_date(headers: dict[str, str]) -> dict[str, str]:
    parsedate_to_datetime(headers.pop("date"))  # raises if it is none
    return headers


def _decode(body: bytes) -> Any:
    return json.loads(body) if body else None
