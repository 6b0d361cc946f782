"""What a worker says about an HTTP endpoint, and what the engine keeps of it (wire-protocol 6.1)."""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Literal

import attrs
import msgspec
from msgspec import Raw, Struct

from iii_trio.clients.urls import Url
from iii_trio.kernel.http_functions import RegistrationRefused

DEFAULT_TIMEOUT_MS: Final = 30_000
LONGEST_TIMEOUT_MS: Final = 60_000


class BearerSaid(Struct, frozen=True, tag_field="type", tag="bearer"):
    """`Authorization: Bearer`."""

    token_key: str


class ApiKeySaid(Struct, frozen=True, tag_field="type", tag="api_key"):
    """A header of the endpoint's own."""

    header: str
    value_key: str


class HmacSaid(Struct, frozen=True, tag_field="type", tag="hmac"):
    """A signature of time and body."""

    secret_key: str


class BasicSaid(Struct, frozen=True, tag_field="type", tag="basic"):
    """`Authorization: Basic`."""

    username_key: str
    password_key: str


class HttpInvocation(Struct, frozen=True):
    """The member `invocation` of a `registerfunction`."""

    url: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] | None = None
    timeout_ms: int | None = None
    headers: dict[str, str] | None = None
    auth: BearerSaid | ApiKeySaid | HmacSaid | BasicSaid | None = None

    @classmethod
    def decode(cls, raw: Raw) -> "HttpInvocation":
        """Raises RegistrationRefused."""
        try:
            said = _DECODE(memoryview(raw))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RegistrationRefused(f"its invocation is malformed: {error}") from error
        if said.timeout_ms is not None and said.timeout_ms < 0:
            raise RegistrationRefused("its invocation is malformed: timeout_ms is negative")
        return said

    @property
    def timeout(self) -> float:
        """Seconds for the whole request."""
        given = DEFAULT_TIMEOUT_MS if self.timeout_ms is None else self.timeout_ms
        return min(given, LONGEST_TIMEOUT_MS) / 1000


_DECODE: Final = msgspec.json.Decoder(HttpInvocation).decode
Header = tuple[str, str]


@attrs.frozen
class FixedHeader:
    """Authentication by a header that is the same for every call."""

    name: str
    value: str = attrs.field(repr=False)

    def header(self, _timestamp: str, _body: bytes) -> Header:
        """The header of one call."""
        return self.name, self.value


@attrs.frozen
class Signature:
    """Authentication by HMAC-SHA256 of the timestamp and the body."""

    secret: str = attrs.field(repr=False)

    def header(self, timestamp: str, body: bytes) -> Header:
        """The header of one call."""
        signed = timestamp.encode() + b":" + b64encode(body)
        return "x-iii-signature", f"sha256={hmac.new(self.secret.encode(), signed, sha256).hexdigest()}"


Authentication = FixedHeader | Signature | None


@attrs.frozen
class Target:
    """An endpoint as it is called: checked, with the secrets that were read when it was registered."""

    function_id: str
    url: Url
    method: str
    timeout: float
    headers: tuple[Header, ...] = attrs.field(repr=False)
    authentication: Authentication = None


def read_authentication(said: HttpInvocation, environment: Mapping[str, str]) -> Authentication:
    """Read the secrets that an invocation names. Raises RegistrationRefused naming the variable that is not set."""

    def secret(key: str, code: str) -> str:
        value = environment.get(key)
        if value is None:
            raise RegistrationRefused(f"{code}: the environment variable {key} of the engine is not set")
        return value

    match said.auth:
        case BearerSaid(key):
            return FixedHeader("authorization", f"Bearer {secret(key, 'token_not_found')}")
        case ApiKeySaid(header, key):
            return FixedHeader(header, secret(key, "api_key_not_found"))
        case HmacSaid(key):
            return Signature(secret(key, "secret_not_found"))
        case BasicSaid(name, password):
            pair = f"{secret(name, 'username_not_found')}:{secret(password, 'password_not_found')}"
            return basic(pair.encode())
    return None


def basic(pair: bytes) -> FixedHeader:
    """Basic authentication with `user:password`."""
    return FixedHeader("authorization", f"Basic {b64encode(pair).decode()}")
