"""What Gemini's `usageMetadata` and grounding metadata mean.

Promises: output includes thoughts and input what tools gave to read, which Gemini counts beside them; the total is
checked against their sum, and of two readings the larger counts, flagged. Never raises. The names of the live API's
counts are read too, since none contradicts another. Source: providers.md §3 and P3, google-genai 3.6's types.
"""

from __future__ import annotations

from providers.contract.flags import CONTRADICTORY, INCOMPLETE, Flags
from providers.ground.tiers import term
from providers.ground.usage import Usage
from providers.reading.answer import count, part
from providers.reading.json_text import Object

_NUMBERS = {"TEXT": 1, "IMAGE": 2, "VIDEO": 3, "AUDIO": 4, "DOCUMENT": 5}  # with `$alt=json;enum-encoding=int`
_QUERIES_MAX = 1_000  # of one answer; a query costs more than a thousand tokens
_ENTRIES_MAX = 100  # modalities of one count


def service_tier(name: object) -> str:
    """A tier as it is priced, from any of its spellings: `flex`, `FLEX`, `SERVICE_TIER_FLEX`, `ON_DEMAND_FLEX`."""
    if not isinstance(name, str):
        return ""
    name = name.lower().removeprefix("service_tier_").removeprefix("on_demand_")
    return "" if name in ("unspecified", "on_demand", "traffic_type_unspecified") else term(name)


def gemini_usage(usage: Object, flags: Flags, *, tier: str = "") -> Usage | None:
    """Usage from a `usageMetadata`; None where it counts nothing at all.

    `candidatesTokenCount` is left out where nothing but thoughts was put out, and all counts but the prompt's where a
    prompt was blocked. `tier` is billed where the object names none.
    """
    prompt = count(usage, flags, "promptTokenCount")
    said = count(usage, flags, "candidatesTokenCount")
    if said is None:
        said = count(usage, flags, "responseTokenCount")
    thoughts = count(usage, flags, "thoughtsTokenCount")
    tools = count(usage, flags, "toolUsePromptTokenCount")
    cached = count(usage, flags, "cachedContentTokenCount") or 0
    total = count(usage, flags, "totalTokenCount")
    if prompt is None and said is None and thoughts is None and total is None:
        return None
    tokens_in, tokens_out = (prompt or 0) + (tools or 0), (said or 0) + (thoughts or 0)
    if prompt is None:
        flags.add(INCOMPLETE if total is None else CONTRADICTORY)
        tokens_in += max((total or 0) - tokens_in - tokens_out, 0)
    if total is not None and total != tokens_in + tokens_out:
        flags.add(CONTRADICTORY)
        tokens_out += max(total - tokens_in - tokens_out, 0)  # the dearer side
    if cached > tokens_in:
        flags.add(CONTRADICTORY)
        tokens_in += cached
    audio = _of(usage, flags, "AUDIO", "promptTokensDetails", "toolUsePromptTokensDetails")
    image = _of(usage, flags, "IMAGE", "promptTokensDetails", "toolUsePromptTokensDetails")
    spoken = _of(usage, flags, "AUDIO", "candidatesTokensDetails", "responseTokensDetails")
    drawn = _of(usage, flags, "IMAGE", "candidatesTokensDetails", "responseTokensDetails")
    audio = part(audio, tokens_in, flags)
    return Usage(
        input_tokens=tokens_in,
        cache_read_tokens=cached,
        input_audio_tokens=audio,
        input_image_tokens=part(image, tokens_in, flags),
        cache_read_audio_tokens=part(_of(usage, flags, "AUDIO", "cacheTokensDetails"), min(cached, audio), flags),
        output_tokens=tokens_out,
        reasoning_tokens=thoughts or 0,
        output_audio_tokens=part(spoken, tokens_out, flags),
        output_image_tokens=part(drawn, tokens_out, flags),
        service_tier=_served(usage, tier),
    )


def _served(usage: Object, tier: str) -> str:
    """The tier that a usage names, the usual one too; `tier` where it names none."""
    for name in ("serviceTier", "trafficType"):
        if isinstance(stated := usage.get(name), str) and not stated.lower().endswith("unspecified"):
            return service_tier(stated)
    return tier


def _of(usage: Object, flags: Flags, modality: str, *names: str) -> int:
    """What the breakdowns of these names say of a modality."""
    found = 0
    for name in names:
        entries = usage.get(name)
        for entry in entries[:_ENTRIES_MAX] if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get("modality") in (modality, _NUMBERS[modality]):
                found += count(entry, flags, "tokenCount") or 0
    return found


class Grounding:
    """Counts what Google charges for beside tokens: searches, and questions to Maps.

    A stream may say its queries once or piece by piece, so what is said again counts once. Gemini 2 is billed for each
    prompt that was grounded, Gemini 3 for each query [K].
    """

    __slots__ = ("_by_prompt", "_listed", "_maps", "_queries")

    def __init__(self, model: str) -> None:
        self._by_prompt = model.startswith(("gemini-1", "gemini-2"))
        self._queries: set[str] = set()
        self._listed = 0
        self._maps = 0

    def add(self, metadata: object) -> None:
        """One `groundingMetadata`."""
        if not isinstance(metadata, dict):
            return
        queries: list[str] = []
        for name in ("webSearchQueries", "imageSearchQueries"):
            said = metadata.get(name)
            queries += [query for query in said if isinstance(query, str)] if isinstance(said, list) else []
        self._listed = max(self._listed, len(queries))
        for query in queries[:_QUERIES_MAX]:
            if len(self._queries) < _QUERIES_MAX:
                self._queries.add(query)
        chunks = metadata.get("groundingChunks")
        if isinstance(chunks, list) and any(isinstance(chunk, dict) and chunk.get("maps") for chunk in chunks):
            asked = metadata.get("retrievalQueries")
            self._maps = max(self._maps, 1, len(asked) if isinstance(asked, list) else 0)

    def tools(self) -> dict[str, int]:
        """What is billed so far, by the name that it is priced under."""
        searches, maps = max(self._listed, len(self._queries)), self._maps
        if self._by_prompt:
            searches, maps = min(searches, 1), min(maps, 1)
        found = {"web_search": searches, "google_maps": maps}
        return {name: times for name, times in found.items() if times}
