"""OpenAI's Realtime API: a conversation over a WebSocket, billed response by response.

Promises: every `response.done` is added up, and every transcription of what was said, at its own model's price. The
bound of what is not finished is sound: a response reads no more than all that was sent and generated so far, and
writes no more than the session's or its own output limit. Where voice activity may start a response by itself, one
more is counted, and one for each half second by which the sound is ahead of time.

Assumed, and published: user audio is at most a token per 20 ms (the documentation says 100), and a picture no more
than the bytes of its message. Source: providers.md §3 and P1; openai 3.57's types.
"""

from __future__ import annotations

import msgspec

from providers.contract.flags import Flags
from providers.contract.shapes import NOTHING_ELSE, Asked, Call, HoldSteps, Reading
from providers.contract.sockets import NOTHING_DUE, Due, Frame, Pace, SocketMeter, Stop
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage, summed
from providers.openai import fields
from providers.openai.hosted import CLIENT, IN_TOKENS
from providers.openai.realtime_usage import transcription_usage, usage_of
from providers.reading.answer import Seen, read_usage
from providers.reading.frames import base64_bytes, refuse_unclear, size
from providers.reading.json_text import NULL, UNREADABLE, Object, given

_STEP = Usage(input_tokens=250, input_audio_tokens=250, output_tokens=250, output_audio_tokens=250)
_STEPS = 16  # some spoken sentences and what they answer
_OUTPUT_TOKENS_MAX = 4_096  # "1 to 4096, or inf for the maximum available tokens for a given model"
_PROMPT_TOKENS = 1_024  # the instructions that the server sets by default, and the template
_BYTES_PER_MS = {"audio/pcm": 48, "pcm16": 48}  # 24 kHz, 16 bit; both G.711 formats are 8
_BOUND_MS_PER_TOKEN = 20
_TYPICAL_MS_PER_TOKEN = 100
_SPOKEN_MS_PER_TOKEN = 50
_RUNNING_MAX = 256  # responses at once: each counts for the bound, and nobody has so many


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    event_id: str | None = None
    audio: str | None = None
    delta: msgspec.Raw = NULL
    response: msgspec.Raw = NULL
    session: msgspec.Raw = NULL
    item: msgspec.Raw = NULL
    usage: msgspec.Raw = NULL
    error: msgspec.Raw = NULL


class _Response(msgspec.Struct, gc=False):
    id: str | None = None
    usage: msgspec.Raw = NULL
    max_output_tokens: int | str | None = None
    max_response_output_tokens: int | str | None = None
    tools: msgspec.Raw = NULL


class _Error(msgspec.Struct, gc=False):
    event_id: str | None = None
    code: str | None = None
    param: str | None = None


_EVENT = msgspec.json.Decoder(_Event)
_OWN = frozenset(_Event.__struct_fields__)
_RESPONSE = msgspec.json.Decoder(_Response)
_ERROR = msgspec.json.Decoder(_Error)
_ANY = msgspec.json.Decoder(dict[str, object])


class _Tool(msgspec.Struct, gc=False):
    type: str = ""


class _Tools(msgspec.Struct, gc=False):
    tools: msgspec.Raw = NULL


_TOOLS = msgspec.json.Decoder(list[_Tool])
_TOOLS_OF = msgspec.json.Decoder(_Tools)


def _unknown_tool(json_text: msgspec.Raw, where: str) -> Stop | None:
    """Why tools cannot be taken: one that neither the client runs nor costs what it brings has no price here."""
    for at, tool in enumerate(_TOOLS.decode(json_text) if given(json_text) else ()):
        if tool.type not in CLIENT and tool.type not in IN_TOKENS:
            param = f"{where}[{at}].type"
            return Stop("unbounded_cost", f"What {param} asks for has no price here, so it cannot be capped.", param)
    return None


class _Asks(msgspec.Struct, frozen=True):
    """What a client's event changes: a response with its output bound, and how the session is set up."""

    event_id: str | None = None
    output_tokens_max: int | None = None  # a response is asked for, that may write so much
    session_output_max: int | None = None
    listens: bool = False  # voice activity may start responses
    transcriber: str = ""
    remote: bool = False  # the input holds what its bytes do not show
    copies: int = 1  # how often the bytes count: tools are written anew by the provider


class _Realtime:
    """The shape."""

    name = "openai_realtime"
    first_frame = ""
    secrets = frozenset[str]()

    def read(self, opening: bytes, asked: Asked = NOTHING_ELSE) -> Call:
        """Read a handshake. Raises BadRequest."""
        models = asked.query.get("model", [])
        if len(set(models)) != 1 or not models[0]:
            raise BadRequest("A realtime socket is opened with ?model=, once.", param="model")
        if asked.query.get("call_id"):
            raise BadRequest("'call_id' is not offered here: the call's media passes elsewhere.", param="call_id")
        unlisted = fields.REALTIME_QUERY.unlisted(asked.query)
        return Call(
            model=models[0], stream=True, output_field="max_output_tokens", hold_steps=_HOLD_STEPS, unlisted=unlisted
        )

    def unlisted(self, frame: Frame) -> str:
        """See the interface."""
        return fields.REALTIME_MESSAGES.unlisted(frame)

    def meter(
        self, call: Call, asked: Asked, *, max_input_tokens: int | None, max_output_tokens: int | None
    ) -> SocketMeter:
        """A meter for one socket."""
        return _RealtimeMeter(call.model, max_input_tokens, max_output_tokens or _OUTPUT_TOKENS_MAX)


_HOLD_STEPS = HoldSteps(step=_STEP, count=_STEPS)


class _RealtimeMeter:
    __slots__ = (
        "_asked",
        "_audio_ms",
        "_bytes_per_ms",
        "_context_bytes",
        "_flags",
        "_heard_ms",
        "_input_max",
        "_listens",
        "_model",
        "_model_output_max",
        "_output_max",
        "_pace",
        "_remote",
        "_running",
        "_seen",
        "_spoken_ms",
        "_total",
        "_transcriber",
        "_written",
    )  # fmt: skip

    def __init__(self, model: str, max_input_tokens: int | None, max_output_tokens: int) -> None:
        self._model = model
        self._input_max = max_input_tokens
        self._model_output_max = self._output_max = max_output_tokens
        self._bytes_per_ms = 48
        self._asked: list[tuple[str | None, int]] = []  # responses that the server has not confirmed: id of the event
        self._running: dict[str, int] = {}  # responses that it has: their output bounds
        self._listens = True
        self._transcriber = ""
        self._remote = False
        self._context_bytes = 0
        self._audio_ms = 0
        self._heard_ms = 0  # of it, what has been transcribed
        self._written = 0  # tokens that finished responses put out: they become context
        self._pace = Pace()
        self._seen = Seen()
        self._spoken_ms = 0
        self._total = Usage()
        self._flags: Flags = set()

    # ---- the client's frames

    def weigh(self, frame: Frame) -> Due | Stop:
        """Read a client's event. Raises BadRequest."""
        refuse_unclear(frame, _OWN)
        try:
            event = _EVENT.decode(frame)
        except UNREADABLE:
            return Due(text_bytes=size(frame))  # the server will say what it thinks of it
        if event.type == "input_audio_buffer.append":
            return Due(audio_bytes=base64_bytes(event.audio))
        try:
            return self._asks(event, size(frame), frame)
        except UNREADABLE:
            return Stop("invalid_request", f"The {event.type[:80]} event cannot be read.")

    def _asks(self, event: _Event, length: int, frame: Frame) -> Due | Stop:
        remote = (b'"mcp"' in frame if isinstance(frame, bytes) else '"mcp"' in frame) or (
            b'"prompt"' in frame if isinstance(frame, bytes) else '"prompt"' in frame
        )
        if event.type == "response.create":
            most = self._output_max
            if given(event.response):
                asked = _RESPONSE.decode(event.response)
                if (unknown := _unknown_tool(asked.tools, "response.tools")) is not None:
                    return unknown
                declared = asked.max_output_tokens or asked.max_response_output_tokens
                most = declared if isinstance(declared, int) else self._model_output_max if declared else most
            if len(self._asked) + len(self._running) >= _RUNNING_MAX:  # ours to bound, and memory with it
                return Stop("rate_limited", f"More than {_RUNNING_MAX} responses at once.")
            most = min(max(most, 1), self._model_output_max)
            asks = _Asks(event_id=event.event_id, output_tokens_max=most, remote=remote, copies=2)
            return Due(text_bytes=length, event=asks)
        if event.type in ("session.update", "transcription_session.update") and given(event.session):
            session = _ANY.decode(event.session)
            if (unknown := _unknown_tool(_TOOLS_OF.decode(event.session).tools, "session.tools")) is not None:
                return unknown
            model = session.get("model")
            if model is not None and model != self._model:
                return Stop("model_not_allowed", "A socket keeps the model that it was opened with.", "session.model")
            transcriber = _transcriber(session)
            limit = session.get("max_output_tokens", session.get("max_response_output_tokens"))
            asks = _Asks(
                session_output_max=limit if isinstance(limit, int) else self._model_output_max if limit else None,
                listens=_listens(session) is True,
                transcriber=transcriber or "",
                remote=remote,
                copies=2,
            )
            return Due(text_bytes=length, event=asks)
        return Due(text_bytes=length, event=_Asks(remote=True)) if remote else Due(text_bytes=length)

    def sent(self, due: Due) -> None:
        """The event is about to be forwarded."""
        self._audio_ms += due.audio_bytes // self._bytes_per_ms
        if due.audio_bytes:
            self._pace.began()
            return
        asks = due.event
        if not isinstance(asks, _Asks):
            self._context_bytes += due.text_bytes
            return
        self._context_bytes += due.text_bytes * asks.copies
        self._remote = self._remote or asks.remote
        self._listens = self._listens or asks.listens
        self._transcriber = asks.transcriber or self._transcriber
        if asks.session_output_max is not None:
            self._output_max = max(self._output_max, min(asks.session_output_max, self._model_output_max))
        if asks.output_tokens_max is not None:
            self._asked.append((asks.event_id, asks.output_tokens_max))

    # ---- the provider's frames

    def received(self, frame: Frame) -> None:
        """Read a server's event."""
        try:
            event = _EVENT.decode(frame)
            self._read(event)
        except UNREADABLE:
            self._flags.add("malformed")

    def _read(self, event: _Event) -> None:
        kind = event.type
        if kind.endswith(".delta"):
            self._read_delta(kind, event.delta)
        elif kind == "response.created":
            response = _RESPONSE.decode(event.response) if given(event.response) else _Response()
            most = self._asked.pop(0)[1] if self._asked else self._output_max
            if len(self._running) < _RUNNING_MAX:
                self._running[response.id or ""] = most
        elif kind == "response.done":
            self._read_done(_RESPONSE.decode(event.response) if given(event.response) else _Response())
        elif kind == "conversation.item.input_audio_transcription.completed":
            self._read_transcription(event.usage)
        elif kind in ("session.created", "session.updated", "transcription_session.updated") and given(event.session):
            self._read_session(_ANY.decode(event.session))
        elif kind == "error" and given(event.error):
            error = _ERROR.decode(event.error)
            for at, (event_id, _most) in enumerate(self._asked):
                if (event_id and event_id == error.event_id) or (error.param or "").startswith("response"):
                    del self._asked[at]
                    break
            else:
                if self._asked and error.code == "conversation_already_has_active_response":
                    del self._asked[0]

    def _read_delta(self, kind: str, delta: msgspec.Raw) -> None:
        if not kind.startswith("response."):
            return
        if kind in ("response.output_audio.delta", "response.audio.delta"):
            self._spoken_ms += len(delta) * 3 // 4 // self._bytes_per_ms
        elif memoryview(delta)[0] == 0x22:
            self._seen.add(bytes(delta)[1:-1].decode("utf-8", "replace"))

    def _read_done(self, response: _Response) -> None:
        self._running.pop(response.id or "", None)
        counted = read_usage(response.usage, self._flags)
        usage = None if counted is None else usage_of(counted, self._flags)
        if usage is None:
            self._flags.add("usage_missing")
            usage = self._running_usage()
        self._seen, self._spoken_ms = Seen(), 0
        self._written += usage.output_tokens
        self._total = summed(self._total, usage)

    def _read_transcription(self, json_text: msgspec.Raw) -> None:
        counted = read_usage(json_text, self._flags)
        if counted is None:
            self._flags.add("usage_missing")
            usage = Usage(audio_ms=max(self._audio_ms - self._heard_ms, 0))
            self._heard_ms = self._audio_ms
        else:
            usage = transcription_usage(counted, self._flags)
            self._heard_ms += usage.audio_ms or usage.input_audio_tokens * _TYPICAL_MS_PER_TOKEN
        model = self._transcriber or self._model
        self._total = summed(self._total, Usage(beside={model: usage}))

    def _read_session(self, session: Object) -> None:
        declared = session.get("max_output_tokens", session.get("max_response_output_tokens"))
        if declared is not None:
            most = declared if type(declared) is int and declared > 0 else self._model_output_max
            self._output_max = min(most, self._model_output_max)
        listens = _listens(session)
        if listens is not None:
            self._listens = listens
        transcriber = _transcriber(session)
        if transcriber is not None:
            self._transcriber = transcriber
        kind = _input_format(session)
        if kind:
            self._bytes_per_ms = _BYTES_PER_MS.get(kind, 8)

    # ---- what it comes to

    def elapsed(self, ms: int) -> None:
        """Time alone costs nothing here."""
        self._pace.elapsed(ms)

    def used(self, due: Due = NOTHING_DUE) -> Usage:
        """Finished responses, and what running ones have shown."""
        return summed(self._total, self._running_usage()) if self._running else self._total

    def _running_usage(self) -> Usage:
        audio = self._audio_ms // _TYPICAL_MS_PER_TOKEN
        spoken = -(-self._spoken_ms // _SPOKEN_MS_PER_TOKEN)
        return Usage(
            input_tokens=self._context_bytes // 4 + audio + self._written,
            input_audio_tokens=audio,
            output_tokens=self._seen.so_far() + spoken,
            output_audio_tokens=spoken,
        )

    def exposed(self, due: Due = NOTHING_DUE) -> Usage:
        """Finished responses, and the most that running, asked and spontaneous ones can come to."""
        asks = due.event if isinstance(due.event, _Asks) else _Asks()
        audio_ms = self._audio_ms + due.audio_bytes // self._bytes_per_ms
        outputs = [*self._running.values(), *(most for _, most in self._asked)]
        if asks.output_tokens_max is not None:
            outputs.append(asks.output_tokens_max)
        if (self._listens or asks.listens) and audio_ms:
            most_each = max(self._output_max, asks.session_output_max or 0)
            outputs += [most_each] * min(self._pace.turns(audio_ms), _RUNNING_MAX)
        text = self._context_bytes + due.text_bytes * asks.copies + _PROMPT_TOKENS
        audio = -(-audio_ms // _BOUND_MS_PER_TOKEN)
        context = text + audio + self._written + sum(outputs)
        if self._input_max is not None and (self._remote or asks.remote or context > self._input_max):
            context = self._input_max
            audio = min(audio, context)
        most = Usage(
            input_tokens=context * len(outputs),
            input_audio_tokens=context * len(outputs),  # what was spoken to it and by it: the dearest class
            output_tokens=sum(outputs),
            output_audio_tokens=sum(outputs),
        )
        exposed = summed(self._total, most)
        transcriber = asks.transcriber or self._transcriber
        unheard_ms = audio_ms - self._heard_ms
        if transcriber and unheard_ms > 0:
            tokens = -(-unheard_ms // _BOUND_MS_PER_TOKEN)
            said = Usage(audio_ms=unheard_ms, input_tokens=tokens, input_audio_tokens=tokens, output_tokens=tokens)
            exposed = summed(exposed, Usage(beside={transcriber: said}))
        return exposed

    def models(self, due: Due = NOTHING_DUE) -> frozenset[str]:
        """The model that transcribes."""
        asks = due.event if isinstance(due.event, _Asks) else _Asks()
        return frozenset(name for name in (asks.transcriber, self._transcriber) if name) - {self._model}

    def busy(self) -> bool:
        """Whether a response is running or asked for."""
        return bool(self._running or self._asked)

    def farewell(self) -> Frame | None:
        """The API ends a response by itself when its socket closes."""
        return None

    def finish(self) -> Reading:
        """Say what was seen."""
        usage = self.used()
        missing = "usage_missing" in self._flags or bool(self._running)
        flags = {*self._flags, "usage_missing"} if missing else self._flags
        return Reading(
            usage=usage,
            complete=not self._running,
            partial=missing,
            model=self._model,
            output_tokens_seen=usage.output_tokens,
            flags=tuple(sorted(flags)),
        )


def _object(value: object, *path: str) -> object:
    for name in path:
        value = value.get(name, msgspec.UNSET) if isinstance(value, dict) else msgspec.UNSET
    return value


def _listens(session: Object) -> bool | None:
    """Whether voice activity may start a response; None where the session does not say."""
    for path in (("audio", "input", "turn_detection"), ("turn_detection",)):
        found = _object(session, *path)
        if found is not msgspec.UNSET:
            return found is not None and not (isinstance(found, dict) and found.get("create_response") is False)
    return None


def _transcriber(session: Object) -> str | None:
    """The model that transcribes what is said; "" for none; None where the session does not say."""
    for path in (("audio", "input", "transcription"), ("input_audio_transcription",)):
        found = _object(session, *path)
        if found is None:
            return ""
        if isinstance(found, dict) and isinstance(model := found.get("model"), str):
            return model
    return None


def _input_format(session: Object) -> str:
    """The format of what is said; "" where the session does not say."""
    for path in (("audio", "input", "format", "type"), ("input_audio_format",)):
        found = _object(session, *path)
        if isinstance(found, str):
            return found
    return ""


OPENAI_REALTIME = _Realtime()
