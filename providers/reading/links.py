"""Whether a link in a request leads to the public, or into the account in which everybody's files lie."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_public(link: str, kept: str) -> bool:
    """Whether it is an http(s) URL of a host that is neither `kept` nor below it; buckets of its storage are public."""
    try:
        parts = urlsplit(link)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return False
    own = host == kept or (host.endswith(f".{kept}") and host != f"storage.{kept}")
    return parts.scheme in ("http", "https") and bool(host) and not own
