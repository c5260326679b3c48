"""The addresses that a person means who types one: without `http://` or the path, as a port."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from laguna_agent.errors import UsageError

_EXAMPLE = "It looks like http://127.0.0.1:8080/v1, or just 8080 for this machine."
_ENDINGS = re.compile(r"/(?:chat/completions|completions|models|embeddings|responses|messages)$")


def addresses(typed: str, *, port: int | None = None) -> list[str]:
    """The addresses of an API that a person may mean, the likeliest first.

    `port` is the one where none is typed. Raises UsageError for what is no address.
    """
    text = typed.strip().strip("\"'<>").rstrip("/")
    scheme, rest = "", text
    if given := re.match(r"(?i)(https?):/*", text):
        scheme, rest = given[1].lower(), text[given.end() :]
    elif "://" in text:
        raise UsageError(f"{text} is no address of a model server", hint=_EXAMPLE)
    rest = re.sub(r"[?#].*", "", rest)
    if re.fullmatch(r":?\d{2,5}(?:/.*)?", rest):
        rest = f"127.0.0.1:{rest.removeprefix(':')}"
    host, slash, path = rest.partition("/")
    if host.count(":") > 1 and not host.startswith("[") and "@" not in host:
        host = f"[{host}]"
    try:
        parts = urlsplit(f"//{host}")
        name, number = parts.hostname or "", parts.port
        if ":" in name:
            ipaddress.ip_address(name)
    except ValueError:
        name, number = "", None
    if not re.fullmatch(r"[\w.:%-]+", name) or name.startswith((".", "-")):
        raise UsageError(f"{text or 'nothing'} is no address of a model server", hint=_EXAMPLE)
    user = f"{host.rpartition('@')[0]}@" if "@" in host else ""
    # What servers print that listen everywhere is no address to connect to.
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)  # noqa: S104
    number = port if number is None and not scheme else number
    host = f"{user}[{name}]" if ":" in name else f"{user}{name}"
    host += f":{number}" if number is not None else ""
    path = _ENDINGS.sub("", f"{slash}{path}".rstrip("/"))
    paths = ["/v1"] if not path else [path] if path.endswith("/v1") else [path, f"{path}/v1", "/v1"]
    schemes = [scheme] if scheme else _schemes(name, number)
    return list(dict.fromkeys(f"{s}://{host}{p}" for s in schemes for p in paths))


def _schemes(name: str, port: int | None) -> list[str]:
    """https for what is far (a name with a dot, and no port), else http first."""
    far = "." in name and not re.fullmatch(r"[\d.]+|.*\.(?:local|lan|home|internal)", name)
    if port == 443 or (far and port is None):
        return ["https"]
    return ["http", "https"]
