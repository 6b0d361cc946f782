"""Which addresses belong to the public internet: the judgement behind `block_private_ips` (wire-protocol 6.3)."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

_CLOSED_4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT; one cloud's metadata service
            "127.0.0.0/8",
            "168.63.129.16/32",  # a cloud's host services, reached by its machines alone
            "169.254.0.0/16",  # link-local; metadata services
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments; one cloud's metadata service
            "192.0.2.0/24",  # documentation, as the next two of its kind
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved; broadcast
        ),
    )
)
_CLOSED_6: Final = tuple(
    map(
        IPv6Network,
        (
            "64:ff9b:1::/48",  # NAT64 inside one network
            "100::/64",  # discarded
            "2001:db8::/32",  # documentation
            "3fff::/20",  # documentation
            "fc00::/7",  # unique local; a cloud's metadata service
            "fe80::/10",  # link-local
            "fec0::/10",  # site-local
            "ff00::/8",  # multicast
        ),
    )
)
_LAST_32_BITS: Final = tuple(map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
"""Networks whose addresses hold an IPv4 address at their end: compatible (with `::` and `::1`), mapped, translated, NAT64."""

_ISATAP: Final = 0x5EFE


def is_public(address: str) -> bool:
    """Whether anybody on the internet could reach it; an IPv6 address that leads to an IPv4 one is judged as that.

    What is no address at all is not public.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _CLOSED_4)
    if parsed.scope_id is not None or any(parsed in network for network in _CLOSED_6):
        return False
    return all(is_public(str(inner)) for inner in _embedded(parsed))


def _embedded(address: IPv6Address) -> Iterable[IPv4Address]:
    value = int(address)
    if any(address in network for network in _LAST_32_BITS) or (value >> 32) & 0xFFFF == _ISATAP:
        yield IPv4Address(value & 0xFFFFFFFF)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
