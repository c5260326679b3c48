"""How laguna's HTTP clients reach an address: through which proxy, and with which certificates.

Addresses of this machine never go through a proxy. The proxy of others is the one of the
environment (`HTTPS_PROXY`, `ALL_PROXY`, …); it is chosen here, since httpx refuses to start at all
where any of those variables has a form that it does not know.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import ssl
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from laguna_agent.errors import ModelError, ServerSettingsError


def client_options(url: str, *, ca: str | None = None, verify: bool = True) -> dict[str, Any]:
    """Arguments of an httpx client for an address. `ca`: a PEM file to trust besides the system's
    certificates; without `verify` any certificate is accepted. Raises LagunaError."""
    secure = urlsplit(url).scheme == "https"
    # Without https there is nothing to verify, and reading all certificates takes a while.
    context = certificates(ca) if secure and verify else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return {"proxy": proxy_for(url), "verify": context, "trust_env": False}


def certificates(ca: str | None = None) -> ssl.SSLContext:
    """The system's certificates (or those of SSL_CERT_FILE), which may include a company's own,
    those of certifi, and those of the file `ca`."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    if ca:
        try:
            context.load_verify_locations(Path(ca).expanduser())
        except OSError as error:  # ssl.SSLError too
            why = error.strerror if not isinstance(error, ssl.SSLError) else "no certificates in it"
            raise ServerSettingsError(
                f"`ca` of the provider: {ca} cannot be read: {why}",
                hint="It is a file of certificates in PEM form.",
            ) from None
    return context


def proxy_for(url: str) -> str | None:
    """The proxy for an address, or None. Raises ModelError for one that cannot be used."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = getproxies()
    kind = next((k for k in (parts.scheme, "all") if proxies.get(k)), None)
    if (
        kind is None
        or is_local(url)
        or proxy_bypass(f"{host}:{parts.port}" if parts.port else host)
    ):
        return None
    proxy = proxies[kind] if "://" in proxies[kind] else f"http://{proxies[kind]}"
    scheme, _, rest = proxy.partition("://")
    scheme = {"socks": "socks5"}.get(scheme.lower(), scheme.lower())  # as desktops write it
    shown = f"{kind.upper()}_PROXY names the proxy {without_password(f'{scheme}://{rest}')}"
    direct = f"without the proxy: NO_PROXY={host}"
    if scheme not in ("http", "https", "socks5", "socks5h"):
        raise ModelError(
            f"{shown}, of a kind that laguna does not know", hint=f"Reach it {direct}."
        )
    if scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ModelError(
            f"{shown}; for SOCKS laguna needs the Python package socksio",
            hint=f"Install it: {sys.executable} -m pip install socksio. Or {direct}",
        )
    return f"{scheme}://{rest}"


def without_password(url: str) -> str:
    """An address to show."""
    scheme, slashes, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"


def is_local(url: str) -> bool:
    """True for an address on this machine: no proxy, no network."""
    host = (urlsplit(url).hostname or "").lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback or address.is_unspecified
