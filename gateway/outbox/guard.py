"""Where a hook may lead to: public addresses over https, unless the operator says that receivers live in his house.

Promises: what is checked is the address that is connected to, after every name has been resolved, so no name and no
second answer of a name server leads round it. Knows nothing of what is sent.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

URL_MAX = 2_000
_WELL_KNOWN_PORTS = 1_024
_WEB_PORTS = frozenset((80, 443))

_PUBLIC_6 = ipaddress.ip_network("2000::/3")
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # protocol assignments
            "192.88.99.0/24",  # relays to 6to4
            "2001::/23",  # protocol assignments, Teredo among them
            "2001:db8::/32",
            "2002::/16",  # 6to4 carries an IPv4 address, which may be any
            "3fff::/20",
        ),
    )
)

AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]


class BadTarget(ValueError):
    """A hook cannot lead there; the message says why and shows nothing of the address's secrets."""


class NotPublic(OSError):
    """The address to be connected to is not a public one."""


def check_url(text: str, *, private: bool) -> str:
    """The URL, if a hook may have it. Names are not resolved here: what they lead to is checked at every connection.

    Args:
        text: As the caller wrote it.
        private: Whether plain http and addresses that are not public are allowed.

    Raises:
        BadTarget: It may not.
    """
    if len(text) > URL_MAX:
        raise BadTarget(f"must have at most {URL_MAX} characters")
    if not text.isascii() or not text.isprintable() or any(each in text for each in " \\<>\"'`{}|^"):
        raise BadTarget("must be a URL of visible ASCII characters")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadTarget("must be a URL such as https://example.com/hooks") from None
    if parts.scheme not in (("https", "http") if private else ("https",)) or not host:
        raise BadTarget("must be a URL such as https://example.com/hooks")
    if parts.username is not None or parts.password is not None:
        raise BadTarget("must not contain a user or a password")
    if parts.fragment:
        raise BadTarget("must not have a fragment")
    if port is not None and (port == 0 or (port < _WELL_KNOWN_PORTS and port not in _WEB_PORTS)):
        raise BadTarget("must have port 80, 443, or one from 1024 on")
    if not private and _is_private_literal(host):
        raise BadTarget("must lead to a public address")
    return text


def _is_private_literal(host: str) -> bool:
    try:
        return not is_public(host)
    except ValueError:
        name = host.rstrip(".").lower()
        return name == "localhost" or name.endswith(".localhost") or _is_number(name)


def _is_number(host: str) -> bool:
    """Whether some resolvers read it as an address, in an old spelling: 127.1, 0x7f.1, 017700000001."""
    last = host.rpartition(".")[2]
    return last.isdigit() or (last[:2] in ("0x", "0X") and all(each in "0123456789abcdefABCDEF" for each in last[2:]))


def is_public(host: str) -> bool:
    """Whether an address, as four numbers or as IPv6, is one of the open internet's. Raises ValueError for a name."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address not in _PUBLIC_6:  # NAT64, link-local, site-local, compatible and translated IPv4 among the rest
            return False
    if any(address in network for network in _NOT_PUBLIC if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def public_sockets(info: AddressInfo) -> socket.socket:
    """A socket to connect with, for aiohttp's `socket_factory`, which is given the final address of each connection.

    Raises:
        NotPublic: It is not a public one.
    """
    if not is_public(str(info[4][0])):
        raise NotPublic("not a public address")
    return any_sockets(info)


def any_sockets(info: AddressInfo) -> socket.socket:
    """The same, wherever it leads to."""
    family, kind, protocol, *_ = info
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setblocking(False)
    return made


def sockets(*, private: bool) -> Callable[[AddressInfo], socket.socket]:
    """Which of the two."""
    return any_sockets if private else public_sockets
