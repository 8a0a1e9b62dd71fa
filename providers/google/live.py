"""Google's Live API (BidiGenerateContent): a conversation over a WebSocket, billed turn by turn.

Promises: every `usageMetadata` is added up: the server sends one for each turn, and each counts its whole context anew.
The client's first message names the model and the limits. Messages are protobuf as JSON, so every name is read in both
spellings (`turnComplete`, `turn_complete`), and they may come as text or as bytes. Where sound or video is streamed a
turn may begin at any moment, so the bound always counts one, and one for each half second that is ahead of time.

Assumed, and published: sound is at most a token per 20 ms (documented are 32 a second), a picture at most 2,240.
Source: providers.md §3, §5.2 and P3; google-genai 3's types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from providers.bounding.extent import Extent
from providers.contract.flags import CONTRADICTORY, INCOMPLETE, Flags
from providers.contract.shapes import NOTHING_ELSE, Asked, Call, HoldSteps, Reading
from providers.contract.sockets import NOTHING_DUE, Due, Frame, Pace, SocketMeter, Stop
from providers.google import fields
from providers.google.input import Content
from providers.google.spelling import Names
from providers.ground.errors import BadRequest
from providers.ground.tiers import term
from providers.ground.usage import Usage, summed
from providers.reading.answer import Seen, count, part, strings
from providers.reading.frames import base64_bytes, bounded, frame_object, size
from providers.reading.json_text import Object
from providers.reading.request import Head, present

_STEP = Usage(input_tokens=250, input_audio_tokens=250, output_tokens=250, output_audio_tokens=250)
_HOLD_STEPS = HoldSteps(step=_STEP, count=16)
_OUTPUT_TOKENS_MAX = 65_536
_BOUND_MS_PER_TOKEN = 20
_TYPICAL_MS_PER_TOKEN = 31
_SPOKEN_MS_PER_TOKEN = 40  # 25 tokens a second
_SPOKEN_BYTES_PER_MS = 48  # 24 kHz, 16 bit
_BOUND_PICTURE_TOKENS = 2_240
_TYPICAL_PICTURE_TOKENS = 258
_RATE = re.compile(r"rate=(\d{4,6})")
_TOP = Names("setup clientContent realtimeInput toolResponse contextUpdate")
_INNER = {
    "setup": Names("model generationConfig sessionResumption tools avatarConfig proactivity"),
    "contextUpdate": Names("tools"),
    "generationConfig": Names("maxOutputTokens"),
    "sessionResumption": Names("handle"),
    "clientContent": Names("turns turnComplete"),
    "realtimeInput": Names("mediaChunks audio video text"),
}
_PROACTIVITY = Names("proactiveVideo")
_METERED = frozenset(("web_search",))  # of the tools that Google runs and charges for, those that its messages count
_TURNS_MAX = 256  # at once: each counts for the bound


def _member(record: object, name: str) -> object:
    """A member by its camel-case name, in either spelling."""
    if not isinstance(record, dict):
        return None
    found = record.get(name)
    if found is None and not name.islower():
        found = record.get(re.sub(r"([A-Z])", lambda upper: "_" + upper[1].lower(), name))
    return found


def _refuse_unclear(frame: bytes, names: Names = _TOP) -> None:
    """Refuse a message in which something that matters stands twice, at whatever depth and in whatever spelling."""
    head = names.read(frame, whole=names is _TOP)
    for name in head.keys() & _INNER.keys():
        if present(head, name):
            _refuse_unclear(bytes(head[name]), _INNER[name])


class _GeminiLive:
    """The shape."""

    name = "gemini_live"
    first_frame = "call"
    secrets = frozenset[str]()

    def read(self, opening: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read the client's first message. Raises BadRequest."""
        _refuse_unclear(bounded(opening))
        message = frame_object(opening)
        setup = _member(message, "setup")
        model = _member(setup, "model")
        if not isinstance(model, str) or not model:
            raise BadRequest("A live socket begins with a setup message that names its model.", param="setup.model")
        head = _INNER["setup"].read(bytes(_TOP.read(opening)["setup"]))
        unbounded, unpriced = _tools(head["tools"]) if present(head, "tools") else ("", "")
        if present(head, "avatarConfig"):
            unbounded = unbounded or "avatarConfig"
        if present(head, "proactivity") and present(_PROACTIVITY.read(bytes(head["proactivity"])), "proactiveVideo"):
            unbounded = unbounded or "proactivity.proactiveVideo"  # a turn for each picture, if it likes
        return Call(
            model=model.removeprefix("models/"),
            stream=True,
            output_field="maxOutputTokens",
            unbounded=f"setup.{unbounded}" if unbounded else "",
            unpriced=f"setup.{unpriced}" if unpriced else "",
            unlisted=fields.LIVE_MESSAGES.unlisted(opening) if asked.sound else "",
            hold_steps=_HOLD_STEPS,
        )

    def unlisted(self, frame: Frame) -> str:
        """See the interface. Tools that come in the midst are as those that the setup brings."""
        head = _TOP.read(bounded(frame))
        tools = _updated(head)
        unbounded = _tools(tools)[0] if tools is not None else ""
        return f"contextUpdate.{unbounded}" if unbounded else fields.LIVE_MESSAGES.unlisted(frame)

    def meter(
        self, call: Call, asked: Asked, *, max_input_tokens: int | None, max_output_tokens: int | None
    ) -> SocketMeter:
        """A meter for one socket."""
        return _LiveMeter(max_input_tokens, max_output_tokens or _OUTPUT_TOKENS_MAX)


def _tools(json_text: msgspec.Raw) -> tuple[str, str]:
    """Of declared tools, a field that nobody can bound and one that has no price; "" where there is none."""
    extent = Extent()
    content = Content(extent)
    content.declared(json_text)
    return extent.unbounded, extent.unpriced or ("tools" if content.tools - _METERED else "")


def _updated(head: Head) -> msgspec.Raw | None:
    """The tools that a message puts in place of those before; None where it does not."""
    if not present(head, "contextUpdate"):
        return None
    update = _INNER["contextUpdate"].read(bytes(head["contextUpdate"]))
    if not present(update, "tools"):
        return None
    tools = _INNER["contextUpdate"].read(bytes(update["tools"]))
    return tools["tools"] if present(tools, "tools") else None


class _LiveMeter:
    __slots__ = (
        "_audio_bytes", "_context_bytes", "_flags", "_input_max", "_live", "_output_max", "_pace", "_pending",
        "_pictures", "_remote", "_seen", "_spoken_bytes", "_started", "_total", "_unreported", "_written",
    )  # fmt: skip

    def __init__(self, max_input_tokens: int | None, max_output_tokens: int) -> None:
        self._input_max = max_input_tokens
        self._output_max = max_output_tokens
        self._started = False
        self._context_bytes = 0
        self._audio_bytes = 0
        self._pictures = 0
        self._remote = False
        self._live = False  # a turn may begin by itself
        self._pending = 0  # turns that the client has ended and the server has not counted
        self._unreported = False  # something was generated since the last count
        self._written = 0
        self._pace = Pace()
        self._seen = Seen()
        self._spoken_bytes = 0
        self._total = Usage()
        self._flags: Flags = set()

    # ---- the client's frames

    def weigh(self, frame: Frame) -> Due | Stop:
        """Read a client's message. Raises BadRequest."""
        _refuse_unclear(bounded(frame))
        message = frame_object(frame)
        length = size(frame)
        if message is None:
            return Due(text_bytes=length)
        setup = _member(message, "setup")
        if setup is not None:
            if self._started:
                return Stop("invalid_request", "A live socket is set up once.", "setup")
            limit = _member(_member(setup, "generationConfig"), "maxOutputTokens")
            resumed = _member(_member(setup, "sessionResumption"), "handle")
            asks = {"limit": limit if type(limit) is int and limit > 0 else 0, "remote": int(bool(resumed))}
            return Due(text_bytes=2 * length, event=asks)  # tools are written anew by the provider
        if _member(message, "contextUpdate") is not None:
            tools = _updated(_TOP.read(bounded(frame)))
            if tools is not None and (unpriced := _tools(tools)[1]):
                what = f"contextUpdate.{unpriced}"
                return Stop("unbounded_cost", f"What {what} asks for has no price here, so it cannot be capped.", what)
            return Due(text_bytes=2 * length)
        realtime = _member(message, "realtimeInput")
        if realtime is not None:
            audio, pictures, media = _media(realtime)
            return Due(audio_bytes=audio, pictures=pictures, text_bytes=max(length - media, 0), event={"live": 1})
        content = _member(message, "clientContent")
        ended = _member(content, "turnComplete") is True or _member(message, "toolResponse") is not None
        # Inline pictures and sound count as the bytes of their base64, which is above whatever they come to.
        return Due(text_bytes=length, event={"turns": 1} if ended else None)

    def sent(self, due: Due) -> None:
        """The message is about to be forwarded."""
        self._started = True
        self._audio_bytes += due.audio_bytes
        self._pictures += due.pictures
        self._context_bytes += due.text_bytes
        asks = _asks(due)
        if asks.get("limit"):
            self._output_max = min(self._output_max, asks["limit"])
        self._remote = self._remote or bool(asks.get("remote"))
        self._live = self._live or bool(asks.get("live"))
        if due.audio_bytes:
            self._pace.began()
        self._pending = min(self._pending + asks.get("turns", 0), _TURNS_MAX)

    # ---- the provider's frames

    def received(self, frame: Frame) -> None:
        """Read a server's message."""
        message = frame_object(frame, self._flags)
        if message is None:
            return
        content = _member(message, "serverContent")
        turn = _member(content, "modelTurn")
        if turn is not None:
            self._unreported = True
            self._read_turn(turn)
        if _member(message, "toolCall") is not None:
            self._unreported = True
        searches = _member(_member(content, "groundingMetadata"), "webSearchQueries")
        if isinstance(searches, list) and searches:
            self._total = summed(self._total, Usage(tools={"web_search": len(searches)}))
        counted = _member(message, "usageMetadata")
        if isinstance(counted, dict):
            usage = usage_of(counted, self._flags)
            if usage is not None:
                self._total = summed(self._total, usage)
                self._written += usage.output_tokens
                self._unreported = False
                self._seen, self._spoken_bytes = Seen(), 0
        if _member(content, "turnComplete") is True:
            self._pending = max(self._pending - 1, 0)

    def _read_turn(self, turn: object) -> None:
        parts = _member(turn, "parts")
        for each in parts if isinstance(parts, list) else ():
            data = _member(_member(each, "inlineData"), "data")
            if data is not None:
                self._spoken_bytes += base64_bytes(data)
            else:
                for text in strings(each):
                    self._seen.add(text)

    # ---- what it comes to

    def elapsed(self, ms: int) -> None:
        """Time alone costs nothing here."""
        self._pace.elapsed(ms)

    def used(self, due: Due = NOTHING_DUE) -> Usage:
        """Counted turns, and what the present one has shown."""
        if not self._unreported:
            return self._total
        audio = self._audio_bytes // 32 // _TYPICAL_MS_PER_TOKEN
        pictures = self._pictures * _TYPICAL_PICTURE_TOKENS
        spoken = -(-self._spoken_bytes // _SPOKEN_BYTES_PER_MS // _SPOKEN_MS_PER_TOKEN)
        turn = Usage(
            input_tokens=self._context_bytes // 4 + audio + pictures + self._written,
            input_audio_tokens=audio,
            input_image_tokens=pictures,
            output_tokens=self._seen.so_far() + spoken,
            output_audio_tokens=spoken,
        )
        return summed(self._total, turn)

    def exposed(self, due: Due = NOTHING_DUE) -> Usage:
        """Counted turns, and the most that those to come can be."""
        asks = _asks(due)
        turns = self._pending + asks.get("turns", 0)
        if self._live or asks.get("live"):
            turns = min(turns + self._pace.turns((self._audio_bytes + due.audio_bytes) // 32), _TURNS_MAX)
        elif self._unreported and not turns:
            turns = 1
        most = min(self._output_max, asks.get("limit") or self._output_max)
        audio = -(-(self._audio_bytes + due.audio_bytes) // 16 // _BOUND_MS_PER_TOKEN)  # 8 kHz, the least there is
        context = self._context_bytes + due.text_bytes + audio + self._written + turns * most
        context += (self._pictures + due.pictures) * _BOUND_PICTURE_TOKENS
        if self._input_max is not None and (self._remote or asks.get("remote") or context > self._input_max):
            context = self._input_max
        return summed(
            self._total,
            Usage(
                input_tokens=context * turns,
                input_audio_tokens=context * turns,
                output_tokens=most * turns,
                output_audio_tokens=most * turns,
            ),
        )

    def models(self, due: Due = NOTHING_DUE) -> frozenset[str]:
        """None but its own."""
        return frozenset()

    def busy(self) -> bool:
        """Whether a turn is being answered."""
        return self._pending > 0 or self._unreported

    def farewell(self) -> Frame | None:
        """The API has no goodbye."""
        return None

    def finish(self) -> Reading:
        """Say what was seen."""
        usage = self.used()
        missing = self._unreported or self._pending > 0
        flags = {*self._flags, "usage_missing"} if missing else self._flags
        return Reading(
            usage=usage,
            complete=not missing,
            partial=missing,
            output_tokens_seen=usage.output_tokens,
            flags=tuple(sorted(flags)),
        )


def _asks(due: Due) -> Mapping[str, int]:
    return due.event if isinstance(due.event, dict) else {}


def _media(realtime: object) -> tuple[int, int, int]:
    """Bytes of sound, number of pictures, and how many bytes of the message both are."""
    chunks = _member(realtime, "mediaChunks")
    blobs = [*(chunks if isinstance(chunks, list) else ()), _member(realtime, "audio"), _member(realtime, "video")]
    audio = pictures = length = 0
    for blob in blobs:
        data, kind = _member(blob, "data"), _member(blob, "mimeType")
        if not isinstance(data, str):
            continue
        length += len(data)
        if isinstance(kind, str) and kind.startswith("audio/"):
            rate = _RATE.search(kind)
            # As bytes at 16 kHz: what comes at another rate is so much longer or shorter.
            audio += base64_bytes(data) * 16_000 // max(int(rate[1]) if rate else 16_000, 8_000)
        else:
            pictures += 1
    return audio, pictures, length


def usage_of(counted: Object, flags: Flags) -> Usage | None:
    """One turn's `usageMetadata`; None where it counts nothing at all."""
    said = {name: _member(counted, name) for name in _COUNTS}
    prompt = count(said, flags, "promptTokenCount")
    answer = count(said, flags, "responseTokenCount")
    total = count(said, flags, "totalTokenCount")
    if prompt is None and answer is None and total is None:
        return None
    thoughts = count(said, flags, "thoughtsTokenCount") or 0
    tools = count(said, flags, "toolUsePromptTokenCount") or 0
    tokens_in, tokens_out = (prompt or 0) + tools, (answer or 0) + thoughts
    if prompt is None and total is None:
        flags.add(INCOMPLETE)
    if total is not None and total != tokens_in + tokens_out:
        flags.add(CONTRADICTORY)
        tokens_out += max(total - tokens_in - tokens_out, 0)
    prompts = _by_modality(_member(counted, "promptTokensDetails"), flags)
    answers = _by_modality(_member(counted, "responseTokensDetails"), flags)
    cached = part(count(said, flags, "cachedContentTokenCount"), tokens_in, flags)
    audio = part(prompts.get("AUDIO"), tokens_in, flags)
    pictures = prompts.get("IMAGE", 0) + prompts.get("VIDEO", 0)
    cached_audio = _by_modality(_member(counted, "cacheTokensDetails"), flags).get("AUDIO")
    return Usage(
        input_tokens=tokens_in,
        cache_read_tokens=cached,
        input_audio_tokens=audio,
        input_image_tokens=part(pictures, tokens_in - audio, flags),
        cache_read_audio_tokens=part(cached_audio, min(cached, audio), flags),
        output_tokens=tokens_out,
        reasoning_tokens=part(thoughts, tokens_out, flags),
        output_audio_tokens=part(answers.get("AUDIO"), tokens_out, flags),
        service_tier=term(str(_member(counted, "serviceTier") or "").lower()),
    )


_COUNTS = (
    "promptTokenCount", "responseTokenCount", "totalTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount",
    "cachedContentTokenCount",
)  # fmt: skip


def _by_modality(details: object, flags: Flags) -> dict[str, int]:
    found: dict[str, int] = {}
    for detail in details if isinstance(details, list) else ():
        modality, tokens = _member(detail, "modality"), _member(detail, "tokenCount")
        if isinstance(modality, str):
            found[modality] = found.get(modality, 0) + (count({"n": tokens}, flags, "n") or 0)
    return found


GEMINI_LIVE = _GeminiLive()
