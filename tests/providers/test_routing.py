"""Which requests have a way upstream, and that no spelling of a path finds another."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.contract.shapes import Uploading
from providers.contract.sockets import SOCKET
from providers.operations import TABLE
from providers.routing import NoRoute, Route, Shared, match

ANTHROPIC = {"anthropic-version": "2026-10-21"}


def found(method: str, path: str, headers: dict[str, str], model: str = "") -> Route | NoRoute:
    """The route or refusal, with `model` in the request's body where that decides."""
    way = match(method, path, headers)
    return way.choose(model, lambda _: None) if isinstance(way, Shared) else way


@pytest.mark.parametrize(
    ("method", "path", "headers", "provider", "name", "upstream"),
    [
        ("POST", "/v1/chat/completions", {}, "openai", "chat.completions", "/v1/chat/completions"),
        ("POST", "/chat/completions", {}, "openai", "chat.completions", "/v1/chat/completions"),
        ("POST", "/v1/v1/chat/completions", {}, "openai", "chat.completions", "/v1/chat/completions"),
        ("POST", "//v1//chat/completions", {}, "openai", "chat.completions", "/v1/chat/completions"),
        ("POST", "/v1/chat%2Fcompletions", {}, "openai", "chat.completions", "/v1/chat/completions"),
        ("POST", "/openai/v1/chat/completions", {}, "openai", "chat.completions", "/v1/chat/completions"),
        ("POST", "/openai/chat/completions", {}, "openai", "chat.completions", "/v1/chat/completions"),
        ("POST", "/v1/completions", {}, "openai", "completions", "/v1/completions"),
        ("POST", "/v1/responses", {}, "openai", "responses", "/v1/responses"),
        ("POST", "/v1/responses/compact", {}, "openai", "responses.compact", "/v1/responses/compact"),
        ("POST", "/responses/input_tokens", {}, "openai", "responses.input_tokens", "/v1/responses/input_tokens"),
        ("POST", "/v1/embeddings", {}, "openai", "embeddings", "/v1/embeddings"),
        ("POST", "/v1/messages", {}, "anthropic", "messages", "/v1/messages"),
        ("POST", "/v1/v1/messages", ANTHROPIC, "anthropic", "messages", "/v1/messages"),
        ("POST", "/anthropic/v1/messages", {}, "anthropic", "messages", "/v1/messages"),
        ("POST", "/anthropic/messages", {}, "anthropic", "messages", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens", {}, "anthropic", "messages.count_tokens", "/v1/messages/count_tokens"),
        ("GET", "/v1/models", {}, "openai", "models", "/v1/models"),
        ("GET", "/v1/models", ANTHROPIC, "anthropic", "models", "/v1/models"),
        ("GET", "/openai/v1/models", ANTHROPIC, "openai", "models", "/v1/models"),
        ("GET", "/v1/models/gpt-5.4", {}, "openai", "models", "/v1/models/gpt-5.4"),
        ("GET", "/v1/models/ft:gpt-4o:org::a1", {}, "openai", "models", "/v1/models/ft:gpt-4o:org::a1"),
        ("GET", "/v1/models/ft%3Agpt-4o", {}, "openai", "models", "/v1/models/ft:gpt-4o"),
        ("GET", "/v1/models/claude-sonnet-4-5", ANTHROPIC, "anthropic", "models", "/v1/models/claude-sonnet-4-5"),
    ],
)
def test_listed_operations(
    method: str, path: str, headers: dict[str, str], provider: str, name: str, upstream: str
) -> None:
    """A listed operation is found however SDKs join its path to a base URL."""
    route = found(method, path, headers)
    assert isinstance(route, Route)
    assert (route.provider, route.operation.name, route.upstream_path) == (provider, name, upstream)


@pytest.mark.parametrize(
    ("path", "headers", "dialect"),
    [
        ("/v1/organization/costs", {}, "openai"),
        ("/v1/evals", {}, "openai"),
        ("/v1/skills", ANTHROPIC, "anthropic"),
        ("/v1/vector_stores/vs_1", {}, "openai"),
        ("/v1/fine_tuning/jobs", {}, "openai"),
        ("/v1/realtime/client_secrets", {}, "openai"),
        ("/v1/complete", {}, "anthropic"),
        ("/v1/organizations/me", ANTHROPIC, "anthropic"),
        ("/openai/anything", {}, "openai"),
        ("/openai", {}, "openai"),
        ("/anthropic/v1/chat/completions", {}, "anthropic"),
        ("/v1/models/org/model", {}, "openai"),
        ("/v1/models/org%2Fmodel", {}, "openai"),
        ("/v1/models/a%20b", {}, "openai"),
        ("/v1/models/%252e%252e", {}, "openai"),
    ],
)
def test_known_but_not_listed(path: str, headers: dict[str, str], dialect: str) -> None:
    """What a known provider has and the table has not is refused with 403, in that provider's dialect."""
    refusal = match("GET", path, headers)
    assert isinstance(refusal, NoRoute)
    assert (refusal.status, refusal.code, refusal.dialect) == (403, "route_not_allowed", dialect)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/nothing",
        "/v1/keys",
        "/v1",
        "//evil/v1/chat/completions",
        "//evil.example/v1/models",
        "http://evil/v1/chat/completions",
        "/@evil/v1/models",
        "/v1/chat/completions/../models",
        "/v1/chat/%2e%2e/models",
        "/v1/%2e%2e/%2e%2e/v1/models",
        "/v1/models/..",
        "/v1/models/%2e%2e%2fchat",
        "/v1/models/.",
        "/v1\\models",
        "/v1/models\x00",
        "/v1/models/\n",
        "/v1/models/\u00e4",
        "/v1/models/%ff",
        "/" + "a" * 5000,
    ],
)
def test_no_provider(path: str) -> None:
    """A path that names no provider, or is no plain path, is not found."""
    refusal = match("GET", path, {})
    assert isinstance(refusal, NoRoute)
    assert (refusal.status, refusal.code) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/chat/completions", ("POST",)),
        ("PATCH", "/v1/models/gpt-5", ("GET",)),
        ("HEAD", "/v1/models", ("GET",)),
        ("TRACE", "/v1/messages", ("POST",)),
    ],
)
def test_other_methods(method: str, path: str, allow: tuple[str, ...]) -> None:
    """A listed path with another method is refused with 405 and says which methods it takes."""
    refusal = match(method, path, {})
    assert isinstance(refusal, NoRoute)
    assert (refusal.status, refusal.code, refusal.allow) == (405, "method_not_allowed", allow)


@pytest.mark.parametrize(
    ("method", "path", "headers", "dialect"),
    [
        ("POST", "/upload/v1beta/files", {}, "google"),
        ("POST", "/v1beta/openai/embeddings", {}, "google"),
        ("POST", "/v1beta/files:register", {}, "google"),
        ("POST", "/v1/voices/add", {}, "elevenlabs"),
        ("DELETE", "/v1/voices/abc", {}, "elevenlabs"),
        ("POST", "/compatibility/v1/embeddings", {}, "cohere"),
        ("POST", "/api/v1/services/aigc/text2image/image-synthesis", {}, "openai"),
        ("POST", "/api/v1/services/rerank/text-rerank/text-rerank", {}, "openai"),
        ("GET", "/v1/chat/completions", {}, "openai"),
        ("DELETE", "/v1/models/ft:gpt-4o:a", {}, "openai"),
        ("DELETE", "/v1/models/ft:mistral:a", {"user-agent": "mistral-client-python/3"}, "mistral"),
        ("POST", "/v1/memory_stores", ANTHROPIC, "anthropic"),
        ("GET", "/v1/whoami", {}, "mistral"),
    ],
)
def test_what_is_known_is_never_not_found(method: str, path: str, headers: dict[str, str], dialect: str) -> None:
    """An operation that a vendor has and this table has not is 403, whatever stands at its path with other methods."""
    refusal = match(method, path, headers)
    assert isinstance(refusal, NoRoute)
    assert (refusal.status, refusal.code, refusal.dialect) == (403, "route_not_allowed", dialect)


SDKS = {
    "openai": (r"self\._(get|post|put|patch|delete)\(\s*(?:path_template\(\s*)?f?\"(/[^\"]+)\"", "/v1"),
    "anthropic": (r"self\._(get|post|put|patch|delete)\(\s*(?:path_template\(\s*)?f?\"(/[^\"]+)\"", ""),
    "mistralai": (r"method=\"([A-Z]+)\",\s*path=\"(/v[^\"]+)\"", ""),
}


@pytest.mark.parametrize("sdk", SDKS)
def test_every_operation_of_the_sdks_is_served_or_refused_by_name(sdk: str) -> None:
    """What an official SDK can ask is an operation here or 403, so that a new release shows what is new in it."""
    pattern, version = SDKS[sdk]
    spec = importlib.util.find_spec(sdk)
    assert spec is not None
    assert spec.submodule_search_locations
    asked: set[tuple[str, str]] = set()
    for place in spec.submodule_search_locations:
        for source in Path(place).rglob("*.py"):
            for method, path in re.findall(pattern, source.read_text(errors="ignore")):
                asked.add(
                    (method.upper(), version + re.sub(r"\{[^}]*\}", "x", path.partition("#")[0].partition("?")[0]))
                )
    assert len(asked) > 40
    for method, path in sorted(asked):
        way = match(method, path, {})
        assert not isinstance(way, NoRoute) or way.status == 403, (method, path, way)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/responses",
        "/v1/chat/completions",
        "/v1/messages",
        "/openai/v1/responses",
        "/v1beta/models/gemini-2.5-flash:generateContent",
        "/v1/responses/resp_1",
    ],
)
def test_a_socket_where_requests_are_taken(path: str) -> None:
    """426: a client of both, as Codex is one, turns to HTTP at once instead of trying again."""
    refusal = match(SOCKET, path, {})
    assert isinstance(refusal, NoRoute)
    assert (refusal.status, refusal.code, refusal.allow) == (426, "upgrade_required", ())


def test_a_socket_where_nothing_is() -> None:
    """No path is not found, and a socket of a vendor's that is not offered is refused by name, as ever."""
    for path, status in (("/v1/nowhere", 404), ("/v1/agent/converse", 403), ("/v1/keys", 404)):
        refusal = match(SOCKET, path, {})
        assert isinstance(refusal, NoRoute)
        assert refusal.status == status


PIECES = (
    "/ // v1 v2 .. . %2e %2f %5c \\ @ evil chat completions models messages openai anthropic http: %00 ; ? # %25 gpt-5 "
    "{id} \u2025 %c0%af"
)
ATTACK = st.lists(st.sampled_from([*PIECES.split(), " ", "\x00"]), max_size=9).map("".join)


@given(method=st.sampled_from(["GET", "POST"]), path=ATTACK | st.text(max_size=40), anthropic=st.booleans())
def test_upstream_paths_come_from_the_table(method: str, path: str, anthropic: bool) -> None:
    """Whatever the client writes, a path that goes upstream is a row's, with at most a plain id in it."""
    route = found(method, path, ANTHROPIC if anthropic else {})
    if isinstance(route, Route):
        rows = [row for row in TABLE if row.provider == route.provider and row.method == method]
        patterns = [re.sub(r"\\{\w+\\}", r"[A-Za-z0-9][A-Za-z0-9._:-]*", re.escape(row.upstream)) for row in rows]
        assert any(re.fullmatch(pattern, route.upstream_path) for pattern in patterns)
        assert ".." not in route.upstream_path.split("/")


def test_every_operation_has_a_shape() -> None:
    """Each row has a meter."""
    for row in TABLE:
        assert row.operation.shape.name
        assert row.operation.dialect


@pytest.mark.parametrize(
    ("path", "headers", "model", "provider", "upstream"),
    [
        ("/v1/chat/completions", {}, "grok-4", "xai", "/v1/chat/completions"),
        ("/v1/chat/completions", {}, "qwen-max", "qwen", "/compatible-mode/v1/chat/completions"),
        ("/chat/completions", {}, "kimi-k2.6", "kimi", "/v1/chat/completions"),
        ("/v1/chat/completions", {}, "MiniMax-M2", "minimax", "/v1/chat/completions"),
        ("/v1/chat/completions", {}, "deepseek-chat", "deepseek", "/v1/chat/completions"),
        ("/v1/chat/completions", {}, "codestral-latest", "mistral", "/v1/chat/completions"),
        ("/v1/chat/completions", {}, "gpt-oss-120b", "openai", "/v1/chat/completions"),
        ("/v1/chat/completions", {"user-agent": "Cerebras/Python 1.91.0"}, "gpt-oss-120b", "cerebras", None),
        ("/v1/chat/completions", {"user-agent": "mistral-client-python/3.7"}, "gpt-5", "mistral", None),
        ("/v1/chat/completions", {"user-agent": "OpenAI/Python 3.54"}, "grok-4", "xai", None),
        ("/v1/chat/completions", {}, "nobody-knows", "openai", None),
        ("/grok/v1/chat/completions", {}, "gpt-5", "xai", None),
        ("/qwen/v1/chat/completions", {}, "gpt-5", "qwen", "/compatible-mode/v1/chat/completions"),
        ("/moonshot/chat/completions", {}, "", "kimi", None),
        ("/v1/embeddings", {}, "mistral-embed", "mistral", None),
        ("/v1/chat/completions", {}, "claude-haiku-4-5", "anthropic", "/v1/chat/completions"),
        ("/v1/chat/completions", {}, "gemini-2.5-flash", "google", "/v1beta/openai/chat/completions"),
        ("/v1/chat/completions", {}, "command-a-03-2025", "cohere", "/compatibility/v1/chat/completions"),
        ("/anthropic/v1/chat/completions", {}, "gpt-5", "anthropic", "/v1/chat/completions"),
        ("/google/v1/chat/completions", {}, "", "google", "/v1beta/openai/chat/completions"),
        ("/gemini/v1beta/openai/chat/completions", {}, "", "google", "/v1beta/openai/chat/completions"),
        ("/v1beta/openai/chat/completions", {}, "gpt-5", "google", "/v1beta/openai/chat/completions"),
        ("/cohere/v1/chat/completions", {}, "", "cohere", "/compatibility/v1/chat/completions"),
        ("/cohere/compatibility/v1/chat/completions", {}, "", "cohere", "/compatibility/v1/chat/completions"),
        ("/compatibility/v1/chat/completions", {}, "gpt-5", "cohere", "/compatibility/v1/chat/completions"),
        # Headers that only a vendor's own clients send mean nothing at the path of everybody's.
        ("/v1/chat/completions", {"x-goog-api-key": "k"}, "gpt-5", "openai", None),
        ("/v1/chat/completions", {"x-goog-api-key": "k"}, "", "openai", None),
        ("/v1/chat/completions", {"x-client-name": "us"}, "gpt-5", "openai", None),
        ("/v1/chat/completions", {"user-agent": "cohere/7"}, "nobody-knows", "openai", None),
        ("/v1/chat/completions", ANTHROPIC, "nobody-knows", "openai", None),
        ("/v1/responses", {}, "grok-4", "xai", None),
    ],
)
def test_a_shared_path_goes_where_mount_client_or_model_say(
    path: str, headers: dict[str, str], model: str, provider: str, upstream: str | None
) -> None:
    """Of several providers with a path, the first that is named is meant: by the mount, the client, the model."""
    route = found("POST", path, headers, model)
    assert isinstance(route, Route)
    assert route.provider == provider
    assert upstream in (None, route.upstream_path)


def test_the_catalogue_knows_better_than_names() -> None:
    """An exact id of the catalogue wins over the beginning of a name, and a key's only provider over the first."""
    shared = match("POST", "/v1/chat/completions", {})
    assert isinstance(shared, Shared)
    assert shared.choose("qwen-3-32b", {"qwen-3-32b": "cerebras"}.get).provider == "cerebras"
    assert shared.choose("qwen-3-32b", lambda _: None).provider == "qwen"
    assert shared.choose("llama-9", lambda _: None, {"cerebras"}.__contains__).provider == "cerebras"
    assert shared.choose("llama-9", lambda _: "nowhere").provider == "openai"


@pytest.mark.parametrize(
    ("headers", "query", "provider"),
    [
        ({}, b"", "openai"),
        ({"authorization": "token abc"}, b"", "deepgram"),
        ({"user-agent": "Cerebras/JS 1.91.0"}, b"", "cerebras"),
        ({"user-agent": "mistral-client-typescript/2.7.0"}, b"", "mistral"),
        (ANTHROPIC, b"beta=true", "anthropic"),
    ],
)
def test_what_names_no_model_goes_by_the_client(headers: dict[str, str], query: bytes, provider: str) -> None:
    """Listing models has no body, so only the client's own headers tell; OpenAI's is the first."""
    way = match("GET", "/v1/models", headers, query)
    route = way.choose("", lambda _: None) if isinstance(way, Shared) else way
    assert isinstance(route, Route)
    assert route.provider == provider


def test_an_object_is_looked_for_where_its_owner_made_it() -> None:
    """A path with an id that several providers have goes where the caller's own object of that id and kind is."""
    shared = match("GET", "/v1/responses/resp_1", {})
    assert isinstance(shared, Shared)
    assert shared.choose("", lambda _: None).provider == "openai"
    assert shared.choose("", lambda _: None, made={("xai", "response")}).provider == "xai"
    assert shared.choose("", lambda _: None, made={("xai", "file")}).provider == "openai"
    assert shared.choose("", lambda _: None, {"xai"}.__contains__).provider == "xai"


def test_an_operation_that_takes_uploads_has_a_shape_for_them_and_shares_its_path_with_such_only() -> None:
    """Whoever reads the beginning of a body does not know yet which provider it is for."""
    uploads: dict[tuple[str, str], set[bool]] = {}
    for row in TABLE:
        operation = row.operation
        assert not operation.upload_bytes_max or isinstance(operation.shape, Uploading), row.path
        uploads.setdefault((row.method, row.path), set()).add(bool(operation.upload_bytes_max))
    assert all(len(kinds) == 1 for kinds in uploads.values())
