"""Requests that are almost right, by lot, and a provider that reads each of them in the dearest way there is.

Promises: the same seed gives the same requests. A request is a good one of some shape with a few things wrong or odd in
its bytes: members twice or in another case, escapes, numbers in strange forms, unknown fields, unknown things at any
depth of what is said, tools, tiers, white space. The provider shares no code with what it is compared with: it reads a
body with every parser of others at hand, and bills the dearest reading at the catalogue's price. It keeps its promises,
and no more: not above the output limit that it read, not above a token for a byte of text.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from providers.ground.usage import Usage
from providers.pricing.catalogue import Catalogue
from providers.pricing.prices import Price
from tests.attack.node import Node
from tests.insides import SETTINGS, objects

CATALOGUE = Catalogue.load()
NOW_MS = 1_795_000_000_000
MODELS = {
    "openai": ("gpt-4o-mini", "gpt-4o", "gpt-4.1", "gpt-5-nano", "o3", "gpt-4o-search-preview"),
    "anthropic": ("claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-1"),
    "google": ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-2.0-flash"),
}
UNDECLARED = 4_096  # what the provider writes where it reads no limit
# What a provider knows of a request that costs something; only the one parser that takes names in any case has them in
# lower case.
_CHAT = frozenset(("model", "messages", "max_tokens", "max_completion_tokens", "n", "best_of", "service_tier", "tools"))
_RESPONSES = frozenset(("model", "input", "instructions", "max_output_tokens", "service_tier", "tools"))
_MESSAGES = frozenset(("model", "messages", "system", "max_tokens", "tools"))
_GEMINI = frozenset(("contents", "systemInstruction", "generationConfig", "generation_config", "tools"))
KNOWN = {
    "/v1/chat/completions": _CHAT,
    "/v1/responses": _RESPONSES,
    "/v1/messages": _MESSAGES,
    "/v1/embeddings": frozenset(("model", "input")),
}
# What is said in a request, as deep as it goes, of text alone: by the member that says it.
STRANGER = "hologram"
_SAID = {"type": "text", "text": "hi"}
_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_DOCUMENT = {"type": "document", "source": {"type": "content", "content": [_SAID]}, "title": "t"}
INSIDES: dict[str, list[Any]] = {
    "/v1/chat/completions": [
        {"role": "system", "content": [_SAID]},
        {"role": "user", "content": [_SAID, _SAID | {"prompt_cache_breakpoint": {"mode": "explicit"}}]},
        {"role": "assistant", "content": None, "tool_calls": [_CALL]},
        {"role": "tool", "tool_call_id": "c", "content": [_SAID]},
    ],
    "/v1/messages": [
        {"role": "user", "content": [_SAID | {"cache_control": {"type": "ephemeral"}}, _DOCUMENT]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [_SAID, _DOCUMENT]}]},
    ],
    "/v1/responses": [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "42"}]},
        {"type": "web_search_call", "id": "w", "status": "completed", "action": {"type": "search", "query": "q"}},
    ],
    "google": [
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"function_response": {"name": "f", "response": {}, "parts": [{"text": "x"}]}}]},
    ],
}
TEXT = ("hi", "tell me", "é" * 20, "\U0001f600" * 5, "x" * 400, "日本語" * 10, "\\", '"', "\u0000")


class Sent(msgspec.Struct):
    """One request of the fuzzer's."""

    provider: str
    path: str
    body: bytes
    content_type: str = "application/json"


# ---- what others read


def _pairs_first(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object where the first of two equal names counts."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        found.setdefault(name, value)
    return found


def _pairs_loose(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object as Go reads it: names in any case, the last one counts."""
    return {name.lower(): value for name, value in pairs}


READERS: dict[str, Callable[[bytes], Any]] = {
    "json": json.loads,
    "json, the first counts": lambda body: json.loads(body, object_pairs_hook=_pairs_first),
    "json, in any case": lambda body: json.loads(body, object_pairs_hook=_pairs_loose),
    "msgspec": msgspec.json.decode,
    "msgspec, lenient": lambda body: msgspec.json.decode(body, strict=False),
}


def readings(body: bytes, node: Node) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object that some parser makes of a body, by the parser."""
    for name, read in READERS.items():
        try:
            found = read(body)
        except (ValueError, RecursionError, msgspec.MsgspecError):
            continue
        if isinstance(found, dict):
            yield name, found
    for name, found in zip(("node", "node, decoded"), node.json(body), strict=True):
        if isinstance(found, dict):
            yield name, found


def _number(value: Any, otherwise: int) -> int:
    """A count as a lenient provider takes it: floats and digits in a string too; nothing below one is a limit."""
    if isinstance(value, bool) or value is None:
        return otherwise
    if isinstance(value, str):
        value = float(value) if value.replace(".", "", 1).isdigit() else otherwise
    if isinstance(value, int | float) and 0 < value < 2**31:
        return int(value)
    return otherwise


class Bill(msgspec.Struct, frozen=True):
    """What a provider that reads a request so would charge for it: the model that it serves, and how much."""

    model: str
    usage: Usage
    picos: int


def bills(sent: Sent, got: bytes, node: Node, model_in_path: str = "") -> dict[str, Bill]:
    """What each reading of what the provider got would cost, by who read it so; nothing where nobody can."""
    found = {name: _bill(sent, read, model_in_path) for name, read in readings(got, node)}
    return {name: bill for name, bill in found.items() if bill is not None}


def decisive(sent: Sent, got: bytes, node: Node, model_in_path: str = "") -> dict[str, Bill]:
    """The same of the members that the provider knows: what no two readings may have otherwise."""
    known = KNOWN.get(sent.path, _GEMINI)
    known = known | {name.lower() for name in known}
    found: dict[str, Bill | None] = {}
    for name, read in readings(got, node):
        found[name] = _bill(sent, {member: value for member, value in read.items() if member in known}, model_in_path)
    return {name: bill for name, bill in found.items() if bill is not None}


def dearest(found: dict[str, Bill]) -> Bill | None:
    """The dearest of them."""
    return max(found.values(), key=lambda bill: bill.picos, default=None)


def _bill(sent: Sent, found: dict[str, Any], model_in_path: str) -> Bill | None:
    model = model_in_path or found.get("model")
    price = CATALOGUE.find(sent.provider, model, NOW_MS) if isinstance(model, str) else None
    if price is None:
        return None
    most = price.max_output_tokens or UNDECLARED
    config = found.get("generationConfig") or found.get("generation_config") or found.get("generationconfig") or {}
    config = config if isinstance(config, dict) else {}
    limits = [
        _number(where.get(name), 0)
        for where, name in (
            (found, "max_tokens"), (found, "max_completion_tokens"), (found, "max_output_tokens"),
            (config, "maxOutputTokens"), (config, "max_output_tokens"), (config, "maxoutputtokens"),
        )
    ]  # fmt: skip
    choices = max(
        _number(found.get("n"), 1), _number(found.get("best_of"), 1), _number(config.get("candidateCount"), 1),
        _number(config.get("candidate_count"), 1), _number(config.get("candidatecount"), 1),
    )  # fmt: skip
    output = min(max(limits) or most, most) * choices
    tier = found.get("service_tier") if sent.provider != "anthropic" and not sent.path.endswith("embeddings") else ""
    tiers = ("priority", "fast") if sent.provider == "openai" else ("priority",)
    usage = Usage(
        input_tokens=_said_bytes(found),
        output_tokens=0 if sent.path.endswith("embeddings") else output,
        service_tier=tier if tier in tiers else "",
    )
    return Bill(model=str(model), usage=usage, picos=_priced(price, usage))


def _said_bytes(value: Any) -> int:
    """A token for every byte of every text in what the model could be told, however deep it is nested."""
    tokens, left = 0, [value]
    while left:
        value = left.pop()
        if isinstance(value, str):
            tokens += len(value.encode("utf-8", "surrogatepass"))
        elif isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list):
            left += value
    return tokens


def _priced(price: Price, usage: Usage) -> int:
    return price.cost_picos(usage)


# ---- what is sent


class Fuzzer:
    """Makes requests. One for a run."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def make(self) -> Sent:
        """The next request."""
        dice = self._dice
        sent, members = dice.choice((self._chat, self._responses, self._messages, self._embeddings, self._gemini))()
        if dice.random() < 0.25:
            self._inside(sent, members)
        for _ in range(dice.choice((0, 0, 1, 1, 2, 3))):
            dice.choice((self._odd_number, self._stranger, self._tool, self._nested, self._content))(members)
        sent.body = self._written(members)
        return sent

    def _inside(self, sent: Sent, members: list[tuple[str, Any]]) -> None:
        """Say much instead of little, and most often something in it that nobody knows."""
        said = INSIDES.get("google" if sent.provider == "google" else sent.path)
        if said is None:
            return
        said = json.loads(json.dumps(said))
        if self._dice.random() < 0.8:
            place, found = self._dice.choice([each for each in objects(said) if each[0]])
            if "type" in found and not place.endswith(SETTINGS) and self._dice.random() < 0.5:
                found["type"] = STRANGER
            else:
                found[STRANGER] = self._dice.choice((1, "x", None, {}, {"type": "text"}, [STRANGER]))
        for at, (name, _) in enumerate(members):
            if name in ("messages", "input", "contents"):
                members[at] = (name, said)

    def _limit(self) -> Any:
        return self._dice.choice((1, 16, 100, 700, 3000, 20_000))

    def _chat(self) -> tuple[Sent, list[tuple[str, Any]]]:
        members: list[tuple[str, Any]] = [
            ("model", self._dice.choice(MODELS["openai"])),
            ("messages", [{"role": "user", "content": self._dice.choice(TEXT)}]),
        ]
        if self._dice.random() < 0.8:
            members.append((self._dice.choice(("max_tokens", "max_completion_tokens")), self._limit()))
        if self._dice.random() < 0.2:
            members.append(("n", self._dice.choice((1, 2, 5))))
        if self._dice.random() < 0.3:
            members.append(("stream", True))
        return Sent("openai", "/v1/chat/completions", b""), members

    def _responses(self) -> tuple[Sent, list[tuple[str, Any]]]:
        members: list[tuple[str, Any]] = [
            ("model", self._dice.choice(MODELS["openai"][:5])),
            ("input", self._dice.choice(TEXT)),
            ("max_output_tokens", self._limit()),
        ]
        return Sent("openai", "/v1/responses", b""), members

    def _messages(self) -> tuple[Sent, list[tuple[str, Any]]]:
        members: list[tuple[str, Any]] = [
            ("model", self._dice.choice(MODELS["anthropic"])),
            ("max_tokens", self._limit()),
            ("messages", [{"role": "user", "content": [{"type": "text", "text": self._dice.choice(TEXT)}]}]),
        ]
        return Sent("anthropic", "/v1/messages", b""), members

    def _embeddings(self) -> tuple[Sent, list[tuple[str, Any]]]:
        members: list[tuple[str, Any]] = [
            ("model", "text-embedding-3-large"),
            ("input", [self._dice.choice(TEXT) for _ in range(self._dice.choice((1, 3)))]),
        ]
        return Sent("openai", "/v1/embeddings", b""), members

    def _gemini(self) -> tuple[Sent, list[tuple[str, Any]]]:
        model = self._dice.choice(MODELS["google"])
        config: dict[str, Any] = {"maxOutputTokens": self._limit()}
        if self._dice.random() < 0.3:
            config["candidateCount"] = self._dice.choice((1, 2, 4))
        members: list[tuple[str, Any]] = [
            ("contents", [{"role": "user", "parts": [{"text": self._dice.choice(TEXT)}]}]),
            (self._dice.choice(("generationConfig", "generation_config")), config),
        ]
        return Sent("google", f"/v1beta/models/{model}:generateContent", b""), members

    # ---- what is odd about them

    def _odd_number(self, members: list[tuple[str, Any]]) -> None:
        odd = (0, -1, 1.5, 1e3, "100", "\uff11\uff12", None, True, [], {}, 10**12, 2**63, "1e9", 4096.0)
        name = self._dice.choice(
            ("max_tokens", "max_completion_tokens", "max_output_tokens", "n", "best_of", "maxOutputTokens")
        )
        members.append((name, self._dice.choice(odd)))

    def _stranger(self, members: list[tuple[str, Any]]) -> None:
        members.append(
            self._dice.choice(
                (("brand_new_field", 9), ("service_tier", "priority"), ("service_tier", "batch"),
                 ("service_tier", "fast"),
                 ("speed", "fast"), ("prediction", {"type": "content", "content": "x" * 50}), ("store", True),
                 ("reasoning_effort", "high"), ("thinking", {"type": "enabled", "budget_tokens": 1024}),
                 ("metadata", {"a": "b"}), ("temperature", 0.5), ("fallbacks", [{"model": "claude-opus-4-1"}]))
            )
        )  # fmt: skip

    def _tool(self, members: list[tuple[str, Any]]) -> None:
        tool = self._dice.choice(
            ({"type": "function", "function": {"name": "f", "parameters": {}}}, {"type": "web_search"},
             {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "64g"}},
             {"type": "image_generation"}, {"type": "telepathy"}, {"googleSearch": {}},
             {"type": "web_search_20250305", "name": "web_search"})
        )  # fmt: skip
        members.append(("tools", [tool]))

    def _nested(self, members: list[tuple[str, Any]]) -> None:
        deep: Any = "x"
        for _ in range(self._dice.choice((5, 60, 900))):
            deep = [deep] if self._dice.random() < 0.5 else {"a": deep}
        members.append((self._dice.choice(("metadata", "file_id", "messages", "user")), deep))

    def _content(self, members: list[tuple[str, Any]]) -> None:
        parts = [{"type": "image_url", "image_url": {"url": "https://a.example/x.png"}}, {"type": "text", "text": "y"}]
        members.append(("messages", [{"role": "user", "content": parts}]))

    # ---- how they are written

    def _written(self, members: list[tuple[str, Any]]) -> bytes:
        dice = self._dice
        again = [self._again(member, members) for member in members if dice.random() < 0.05]
        members = [*members, *again]
        if dice.random() < 0.3:
            dice.shuffle(members)
        pieces = [f"{self._name(name)}{dice.choice(('', '', ' '))}:{self._value(value)}" for name, value in members]
        text = dice.choice(("{%s}", "{%s}", "{%s}", " {%s} ", "{\n%s\n}", "\ufeff{%s}", "{%s}x", "[{%s}]")) % ",".join(
            pieces
        )
        body = text.encode("utf-8", "surrogatepass")
        if dice.random() < 0.03:
            at = dice.randrange(len(body))
            body = body[:at] + dice.choice((b"", b"\0", b"\xff", b'"', b"}", b",")) + body[at + 1 :]
        return body

    def _again(self, member: tuple[str, Any], members: list[tuple[str, Any]]) -> tuple[str, Any]:
        """A member once more: in another case, or with another's value."""
        name, value = member
        other = self._dice.choice(members)[1]
        return self._dice.choice((name, name.upper(), name.title(), name.replace("_", ""))), self._dice.choice(
            (value, other)
        )

    def _name(self, name: str) -> str:
        if self._dice.random() < 0.03 and name:
            at = self._dice.randrange(len(name))
            return f'"{name[:at]}\\u{ord(name[at]):04x}{name[at + 1 :]}"'
        return json.dumps(name)

    def _value(self, value: Any) -> str:
        if isinstance(value, dict) and value and self._dice.random() < 0.05:
            name, inner = self._dice.choice(list(value.items()))
            return json.dumps(value)[:-1] + f",{json.dumps(name)}:{json.dumps(self._dice.choice((inner, 99_999)))}}}"
        if isinstance(value, int) and not isinstance(value, bool) and self._dice.random() < 0.03:
            return self._dice.choice((f"{value}.0", f"{value}e0", f"{value}E+0", f"0{value}", f"+{value}", f"-{value}"))
        return json.dumps(value, ensure_ascii=self._dice.random() < 0.5)
