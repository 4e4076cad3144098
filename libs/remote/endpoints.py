"""Which addresses imports may reach: a server that fetches what its clients name must be no door into its network.

Hosts are allowed by name. What a name resolves to is checked at every connection, on the addresses that are then used:
none but public ones, unless the operator has listed that very host. Redirects are not followed (see `transport`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from libs.remote.errors import EndpointNotAllowed

SETTING = "SLIPWAY_IMPORT_ENDPOINTS"
DEFAULT = (
    "*.amazonaws.com,*.amazonaws.com.cn,*.blob.core.windows.net,*.r2.cloudflarestorage.com,storage.googleapis.com,"
    "*.backblazeb2.com,*.digitaloceanspaces.com,*.wasabisys.com"
)
_PORTS = {"https": 443, "http": 80}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are the address that is reached

_ENTRY = r"(https?://)?(\*|(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?"
# Entries with commas between them
EndpointList = Annotated[str, msgspec.Meta(pattern=rf"^({_ENTRY}(, *{_ENTRY})*)?$(?!\n)")]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One entry of the list: `[scheme://]host[:port]`; `*.` at the beginning of a host stands for any subdomain."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, entry: str) -> Endpoint:
        """Raises: ValueError."""
        url = urlsplit(entry if "://" in entry else f"https://{entry}")
        if not re.fullmatch(_ENTRY, entry):
            raise ValueError(f"{entry!r} is not of the form [https://]host[:port]")
        return cls(url.scheme, (url.hostname or "").lower(), url.port or _PORTS[url.scheme])

    @property
    def exact(self) -> bool:
        """Whether it names one host: the operator vouches for what its name resolves to."""
        return not self.host.startswith("*")

    def matches(self, scheme: str, host: str, port: int) -> bool:
        """Whether it allows this address."""
        if (scheme, port) != (self.scheme, self.port):
            return False
        return host == self.host or self.host == "*" or (not self.exact and host.endswith(self.host[1:]))


class Endpoints:
    """The list of what is allowed."""

    def __init__(self, entries: Iterable[Endpoint]) -> None:
        self._entries = tuple(entries)

    @classmethod
    def parse(cls, setting: str) -> Endpoints:
        """From the setting: entries with commas between them. Raises: ValueError, naming the entry."""
        return cls(Endpoint.parse(entry.strip()) for entry in setting.split(",") if entry.strip())

    def require(self, url: str) -> None:
        """Raises: EndpointNotAllowed, if no entry allows the address of `url`."""
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        port = parts.port or _PORTS.get(parts.scheme, 0)
        if not any(entry.matches(parts.scheme, host, port) for entry in self._entries):
            shown = f"{'http://' if parts.scheme == 'http' else ''}{host}{f':{parts.port}' if parts.port else ''}"
            raise EndpointNotAllowed(
                f"Imports from {shown} are not allowed here. The operator of this installation allows them by adding "
                f"'{shown}' to {SETTING}.",
                retryable=False,
            )
        literal = _literal(host)
        if literal is not None:
            self.require_address(host, port, literal)

    def require_address(self, host: str, port: int, address: Address) -> None:
        """Raises: EndpointNotAllowed, if `address` is not public, and no entry names the host itself."""
        if is_public(address) or any(each.exact and (each.host, each.port) == (host, port) for each in self._entries):
            return
        raise EndpointNotAllowed(
            f"{host} is an address within a private network, which imports do not reach. The operator of this "
            f"installation allows it by adding that very host to {SETTING}.",
            retryable=False,
        )


def is_public(address: Address) -> bool:
    """Whether it is an address of the internet: not loopback, link-local, private, shared, reserved or multicast."""
    if isinstance(address, ipaddress.IPv6Address):
        within = address.ipv4_mapped or address.sixtofour
        if within is None and address in _NAT64:
            within = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if within is not None:
            return is_public(within)
    return address.is_global and not address.is_multicast


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
