"""Host names and IP addresses."""

from __future__ import annotations

import ipaddress


def ip_address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the host as an IP address, or None if it is a name.

    >>> ip_address_of("::1")
    IPv6Address('::1')
    """
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Return whether a host is reachable from this machine only.

    >>> is_loopback("localhost"), is_loopback("127.3.2.1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    address = ip_address_of(host)
    return host == "localhost" if address is None else address.is_loopback
