"""URLs taken apart once, so that what is checked is what is connected to (wire-protocol 6.3).

Hosts are read as browsers read them: `http://2130706433/`, `http://0x7f.1/` and `http://127.1/` are all 127.0.0.1, and so
are those with full-width digits.
What browsers repair and nobody writes on purpose (backslashes, control characters, percent signs in a host) is refused.
"""

import ipaddress
import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

import attrs
import idna

from iii_trio.protocol.errors import IIIError

DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}
_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<query>\?[^#]*)?(?:#.*)?"
)
_AUTHORITY: Final = re.compile(
    r"(?:(?P<user>.*)@)?(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:@]+))(?::(?P<port>[0-9]{0,5}))?"
)
_UNFIT: Final = re.compile(r"[\x00-\x1f\x7f\\]")
_LABEL: Final = re.compile(r"[a-z0-9!$&'()*+,;=_~-]{1,63}")
_NUMBER: Final = re.compile(r"0[xX][0-9A-Fa-f]*|[0-9]+")
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_PATH_SAFE: Final = "".join(set(_PRINTABLE) - set('"<>`{}^'))
_QUERY_SAFE: Final = "".join(set(_PRINTABLE) - set("\"<>'"))
_HIGHEST_PORT: Final = 65_535
_LONGEST_HOST: Final = 253


class InvalidUrl(IIIError):
    """The text is no absolute URL with a host."""

    def __init__(self) -> None:
        super().__init__("Invalid URL")


@attrs.frozen
class Url:
    """An absolute URL with a host. Does not show its path and query, which may hold secrets."""

    scheme: str
    host: str
    """Lower-case ASCII name without a last dot, or an address in its canonical form, IPv6 without brackets."""

    port: int
    """The one given, or the scheme's own; 0 if there is neither."""

    target: str = attrs.field(repr=False)
    """Path and query as they go into the request line."""

    credentials: bytes | None = attrs.field(default=None, repr=False)
    """`user:password`, if the URL carries them."""

    @property
    def is_address(self) -> bool:
        """Whether the host is an address, which needs no lookup."""
        return ":" in self.host or self.host.rpartition(".")[2].isdecimal()

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme, 0) else f"{host}:{self.port}"


def parse_url(text: str) -> Url:
    """Take a URL apart. Raises InvalidUrl."""
    text = text.strip(" \t\r\n")
    url = _URL.fullmatch(text)
    authority = _AUTHORITY.fullmatch(url["authority"]) if url else None
    if url is None or authority is None or _UNFIT.search(text):
        raise InvalidUrl
    scheme = url["scheme"].lower()
    host = str(_six(authority["six"])) if authority["six"] else _host(authority["name"])
    port = int(authority["port"] or DEFAULT_PORTS.get(scheme, 0))
    if port > _HIGHEST_PORT:
        raise InvalidUrl
    target = quote(url["path"] or "/", safe=_PATH_SAFE) + quote(url["query"] or "", safe=_QUERY_SAFE)
    user = authority["user"]
    return Url(scheme, host, port, target, unquote_to_bytes(_pair(user)) if user else None)


def _pair(user: str) -> str:
    return user if ":" in user else f"{user}:"


def _six(text: str) -> ipaddress.IPv6Address:
    try:
        return ipaddress.IPv6Address(text)
    except ValueError:
        raise InvalidUrl from None


def _host(name: str) -> str:
    host = _ascii(name).removesuffix(".")
    labels = host.split(".")
    if len(host) > _LONGEST_HOST or not all(map(_LABEL.fullmatch, labels)):
        raise InvalidUrl
    return _four(labels) if _NUMBER.fullmatch(labels[-1]) else host


def _ascii(name: str) -> str:
    if name.isascii():
        return name.lower()
    try:
        return idna.encode(name, uts46=True).decode().lower()
    except (idna.IDNAError, UnicodeError):
        raise InvalidUrl from None


def _four(labels: list[str]) -> str:
    """An IPv4 address in any of its spellings: fewer parts, hexadecimal, octal, one number (WHATWG URL, IPv4 parser)."""
    numbers = [_number(label) for label in labels]
    *head, last = numbers
    if len(numbers) > 4 or any(number > 255 for number in head) or last >= 256 ** (5 - len(numbers)):
        raise InvalidUrl
    value = last + sum(number << 8 * (3 - place) for place, number in enumerate(head))
    return str(ipaddress.IPv4Address(value))


def _number(label: str) -> int:
    if not _NUMBER.fullmatch(label):
        raise InvalidUrl
    digits = label.lower()
    try:
        if digits.startswith("0x"):
            return int(digits[2:] or "0", 16)
        return int(digits, 8 if len(digits) > 1 and digits.startswith("0") else 10)
    except ValueError:
        raise InvalidUrl from None
