"""The URL policy: parse, scheme, allow list, addresses, in this order (wire-protocol 6.3)."""

import re
from collections.abc import Sequence

import attrs

from iii_trio.clients.addresses import is_public
from iii_trio.clients.outbound import Outbound
from iii_trio.clients.urls import InvalidUrl, Url, parse_url
from iii_trio.protocol.errors import UrlValidationFailed

from .config import SecurityConfig


@attrs.frozen
class UrlPolicy:
    """What a `security` block allows. Every refusal is an UrlValidationFailed with one of five texts."""

    allowed: tuple[re.Pattern[str], ...]
    require_https: bool
    block_private_ips: bool

    @classmethod
    def of(cls, security: SecurityConfig) -> "UrlPolicy":
        """The policy of a configuration."""
        return cls(security.patterns(), security.require_https, security.block_private_ips)

    def parse(self, text: str) -> Url:
        """The URL of a text, if it is one."""
        try:
            return parse_url(text)
        except InvalidUrl as error:
            raise UrlValidationFailed(str(error)) from error

    async def check(self, url: Url, outbound: Outbound) -> tuple[str, ...] | None:
        """Check a URL; returns the addresses that were checked, to which alone may be connected; None if any will do."""
        if self.require_https and url.scheme != "https":
            raise UrlValidationFailed("HTTPS is required")
        if not self._is_allowed(url.host):
            raise UrlValidationFailed("URL not in allowlist")
        if not self.block_private_ips:
            return None
        addresses = (url.host,) if url.is_address else tuple(await self._resolve(url, outbound))
        if not all(map(is_public, addresses)):
            raise UrlValidationFailed("Private IP blocked")
        return addresses

    def _is_allowed(self, host: str) -> bool:
        spellings = (host, f"[{host}]") if ":" in host else (host,)
        return any(glob.fullmatch(spelling) for glob in self.allowed for spelling in spellings)

    async def _resolve(self, url: Url, outbound: Outbound) -> Sequence[str]:
        try:
            addresses = await outbound.resolve(url.host, url.port)
        except OSError as error:
            raise UrlValidationFailed("DNS lookup failed") from error
        if not addresses:
            raise UrlValidationFailed("DNS lookup failed")
        return addresses
