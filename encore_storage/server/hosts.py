"""Hosts, as names or as addresses of the Internet Protocol."""

from __future__ import annotations

import ipaddress

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def ip_address_of(host: str) -> IpAddress | None:
    """The address that the host is written as; None if it is a name.

    >>> ip_address_of("::1")
    IPv6Address('::1')
    """
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether it stands for this machine alone.

    >>> is_loopback("localhost"), is_loopback("127.3.2.1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    address = ip_address_of(host)
    return host == "localhost" if address is None else address.is_loopback
