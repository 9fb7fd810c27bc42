"""What an address of the network says about where it leads."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host name or number is this machine's own, where only its programs can reach it.

    Its twin, which a test compares with it, is ``is_loopback`` in ``interbench.base.remote``.
    """
    host = host.rstrip(".")
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
