"""What we take of uvicorn beside its documented settings is there, in every version that is allowed."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from gateway.edge.server import Server, listen
from gateway.edge.uvicorn_seam import SocketProtocol

ROOT = Path(__file__).resolve().parents[3]


def test_the_version_is_one_that_was_looked_at() -> None:
    """A release outside of these bounds has to be looked at before they are moved: by this file's other tests."""
    needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert [each for each in needs if each.startswith("uvicorn")] == ["uvicorn>=0.50,<0.60"]
    major, minor = (int(part) for part in version("uvicorn").split(".")[:2])
    assert (0, 50) <= (major, minor) < (0, 60)


def test_only_the_seam_and_the_server_know_uvicorn() -> None:
    """And of its protocols only the seam."""
    known = set()
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            known |= {(path.name, name) for name in names if name.split(".")[0] == "uvicorn"}
    assert known == {
        ("server.py", "uvicorn"),
        ("uvicorn_seam.py", "uvicorn"),
        ("uvicorn_seam.py", "uvicorn.server"),
        ("uvicorn_seam.py", "uvicorn.protocols.websockets.websockets_sansio_impl"),
    }


async def test_a_protocol_of_ones_own_is_given_what_ours_needs_and_told_to_stop() -> None:
    made: list[dict[str, Any]] = []
    stopped: list[object] = []

    class Recording(asyncio.Protocol):
        def __init__(self, **given: Any) -> None:
            made.append(given)

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = transport
            made[0]["server_state"].connections.add(self)

        def shutdown(self) -> None:
            stopped.append(self)
            made[0]["server_state"].connections.discard(self)
            self._transport.close()

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    config = uvicorn.Config(app, http=Recording, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    listener = listen("127.0.0.1", 0)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    _, writer = await asyncio.open_connection(*listener.getsockname())
    while not made:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0.01)
    assert made[0].keys() == {"config", "server_state", "app_state", "_loop"}
    state = made[0]["server_state"]
    assert isinstance(state, ServerState)
    assert (type(state.connections), type(state.tasks), type(state.default_headers)) == (set, set, list)
    assert state.total_requests == 0
    assert made[0]["config"].loaded_app is not None
    assert made[0]["config"].ws_protocol_class is not None
    server.should_exit = True
    await serving
    assert len(stopped) == 1
    writer.close()


def test_what_the_server_overrides_is_there_to_be_overridden() -> None:
    for name in ("capture_signals", "on_tick"):
        ours, theirs = (inspect.signature(getattr(each, name)) for each in (Server, uvicorn.Server))
        assert list(ours.parameters) == list(theirs.parameters)


async def test_the_protocol_for_sockets_keeps_its_handshake_as_ours_expects() -> None:
    base = SocketProtocol.__mro__[1]
    for name in ("connection_made", "data_received", "handle_connect", "send", "shutdown"):
        assert callable(getattr(base, name))

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    config = uvicorn.Config(app, ws=SocketProtocol, lifespan="off", log_config=None)
    config.load()
    protocol = SocketProtocol(config=config, server_state=ServerState(), app_state={})
    assert protocol.conn.handshake_exc is None
    assert (protocol.handshake_initiated, protocol.handshake_complete, protocol.close_sent) == (False, False, False)
    assert protocol.initial_response is None
