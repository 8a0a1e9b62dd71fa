"""Which client speaks to real providers: ours, or aiohttp's, which is loaded only where it is asked for."""

from __future__ import annotations

from gateway.config import UpstreamClient
from gateway.upstream.base import Upstream
from gateway.upstream.http import HttpUpstream


def real(client: UpstreamClient) -> Upstream:
    """Real providers, over that client."""
    if client == "lean":
        return HttpUpstream()
    from gateway.upstream.aiohttp_client import AiohttpUpstream

    return AiohttpUpstream()
