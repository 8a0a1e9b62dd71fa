"""wss …/v1/realtime, as OpenAI serves it.

Promises: events that the official SDK's types take (openai 3.57, `types/realtime`). A turn ends, for the voice activity
detection, with a piece of sound that is all zeros. Tokens: words by the simulator's rule, 10 a second of sound heard,
20 a second of sound spoken; what stood in the conversation before is read from the cache in blocks of 128.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, Final

import msgspec

from providers.simulator import prose
from providers.simulator.openai import input as openai_input
from providers.simulator.requests import REFUSED_MODEL
from providers.simulator.talk import (
    Asked,
    Conversation,
    Frame,
    NotOpened,
    Step,
    heard,
    read,
    refused,
    silent,
    sound,
    text,
)
from providers.simulator.tokens import count, openai_image
from providers.simulator.usages import distorted, invoiced

_HEARD_BYTES_PER_TOKEN: Final = 4_800  # 100 ms of 24 kHz, 16 bit
_SPOKEN_BYTES_PER_TOKEN: Final = 2_400
_BLOCK: Final = 128
_OUTPUT_TOKENS_MAX: Final = 4_096


def open_(asked: Asked) -> Conversation | NotOpened:
    """Answer a handshake."""
    model = asked.one("model")
    if not asked.path.endswith("/realtime") or not model or REFUSED_MODEL in model:
        message = f"The model `{model}` does not exist or you do not have access to it."
        return refused("openai", 404, asked.request_id, message)
    return _Realtime(asked, model)


class _Realtime:
    def __init__(self, asked: Asked, model: str) -> None:
        self._asked = asked
        self._ids = 0
        self._buffer = b""
        self._speaking = False
        self._cancelled = False
        self._closed = False
        self._context = {"text": 0, "audio": 0, "image": 0}
        self._cached = {"text": 0, "audio": 0, "image": 0}
        self._heard: list[object] = []  # what the model knows, as a seed
        self.billed: dict[str, int] = {}
        self._session: dict[str, Any] = {
            "type": "realtime",
            "object": "realtime.session",
            "id": self._id("sess"),
            "model": model,
            "output_modalities": ["audio"],
            "instructions": "",
            "tools": [],
            "tool_choice": "auto",
            "max_output_tokens": "inf",
            "truncation": "auto",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24_000},
                    "transcription": None,
                    "noise_reduction": None,
                    "turn_detection": {
                        "type": "server_vad",
                        "threshold": 0.5,
                        "prefix_padding_ms": 300,
                        "silence_duration_ms": 200,
                        "idle_timeout_ms": None,
                        "create_response": True,
                        "interrupt_response": True,
                    },
                },
                "output": {"format": {"type": "audio/pcm", "rate": 24_000}, "voice": "marin", "speed": 1.0},
            },
        }

    def opened(self) -> Iterator[Step]:
        yield self._event("session.created", session=self._session)

    def said(self, frame: Frame) -> Iterator[Step]:
        event = read(frame)
        if event is None or not isinstance(event.get("type"), str):
            return iter([self._error(event, "invalid_json", "The server had an error while parsing your message.")])
        if event["type"] == "response.cancel":
            self._cancelled = True
            return iter(())
        return self._reply(event)

    def ended(self) -> None:
        self._closed = True

    def _reply(self, event: dict[str, Any]) -> Iterator[Step]:
        kind = event["type"]
        if kind == "session.update":
            _merge(self._session, event.get("session") or {})
            yield self._event("session.updated", session=self._session)
        elif kind == "input_audio_buffer.append":
            yield from self._append(heard(event.get("audio")))
        elif kind == "input_audio_buffer.clear":
            self._buffer = b""
            yield self._event("input_audio_buffer.cleared")
        elif kind == "input_audio_buffer.commit":
            if self._buffer:
                yield from self._commit()
            else:
                yield self._error(event, "input_audio_buffer_commit_empty", "The input audio buffer is empty.")
        elif kind == "conversation.item.create":
            yield from self._item(event.get("item") or {})
        elif kind == "response.create":
            yield from self._respond(event.get("response") or {})
        else:
            yield self._error(event, "invalid_value", f"Invalid value: '{kind}'.", param="type")

    # ---- input

    def _append(self, sample: bytes) -> Iterator[Step]:
        detection = self._session["audio"]["input"].get("turn_detection")
        quiet = silent(sample)
        if detection is not None and not quiet and not self._speaking:
            self._speaking = True
            start_ms = len(self._buffer) // 48
            yield self._event("input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id=self._peek("item"))
        self._buffer += sample
        if detection is not None and quiet and self._speaking:
            self._speaking = False
            end_ms = len(self._buffer) // 48
            yield self._event("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=self._peek("item"))
            yield from self._commit()
            if detection.get("create_response", True):
                yield from self._respond({})

    def _commit(self) -> Iterator[Step]:
        size, self._buffer = len(self._buffer), b""
        item = {"id": self._id("item"), "object": "realtime.item", "type": "message", "status": "completed",
                "role": "user", "content": [{"type": "input_audio", "transcript": None}]}  # fmt: skip
        self._context["audio"] += max(1, size // _HEARD_BYTES_PER_TOKEN)
        self._heard.append(size)
        yield self._event("input_audio_buffer.committed", previous_item_id=None, item_id=item["id"])
        yield self._event("conversation.item.added", previous_item_id=None, item=item)
        yield self._event("conversation.item.done", previous_item_id=None, item=item)
        transcription = self._session["audio"]["input"].get("transcription")
        if transcription:
            words = prose.prose(prose.seed(size), tokens=max(1, size // 16_000), limit=None, stops=[])
            yield self._event(
                "conversation.item.input_audio_transcription.completed",
                item_id=item["id"],
                content_index=0,
                transcript=words.text,
                usage=self._transcribed(str(transcription.get("model", "")), size, words.tokens),
            )

    def _transcribed(self, model: str, size: int, words: int) -> dict[str, Any]:
        if model.startswith("gpt-4o"):
            audio = max(1, size // _HEARD_BYTES_PER_TOKEN)
            self._bill(transcription_input_tokens=audio, transcription_output_tokens=words)
            details = {"text_tokens": 0, "audio_tokens": audio}
            return {"type": "tokens", "total_tokens": audio + words, "input_tokens": audio,
                    "input_token_details": details, "output_tokens": words}  # fmt: skip
        self._bill(transcription_ms=-(-size // 48))
        return {"type": "duration", "seconds": size / 48_000}

    def _item(self, item: dict[str, Any]) -> Iterator[Step]:
        said = {"object": "realtime.item", "status": "completed"} | item
        said.setdefault("id", self._id("item"))
        content = item.get("content")
        for each in content if isinstance(content, list) else ():
            kind = each.get("type") if isinstance(each, dict) else None
            if kind == "input_image":
                detail = str(each.get("detail") or "auto")
                self._context["image"] += openai_image(str(each.get("image_url", "")), detail)
            elif kind == "input_audio":
                self._context["audio"] += max(1, len(heard(each.get("audio"))) // _HEARD_BYTES_PER_TOKEN)
            elif isinstance(each, dict):
                self._context["text"] += count(str(each.get("text") or "")) + 4
        self._context["text"] += count(str(item.get("output") or ""))
        self._heard.append(item)
        yield self._event("conversation.item.added", previous_item_id=None, item=said)
        yield self._event("conversation.item.done", previous_item_id=None, item=said)

    # ---- output

    def _respond(self, asked: dict[str, Any]) -> Iterator[Step]:
        faults = self._asked.faults
        self._cancelled = False
        spoken = "audio" in (asked.get("output_modalities") or self._session["output_modalities"])
        limit = asked.get("max_output_tokens") or self._session["max_output_tokens"]
        most = limit if isinstance(limit, int) else _OUTPUT_TOKENS_MAX
        if faults.output_tokens is not None:
            most = min(most, faults.output_tokens)
        before = dict(self.billed)
        used, cached = self._read(asked)
        ident, item_id = self._id("resp"), self._id("item")
        response = self._begun(ident, asked, spoken=spoken, limit=limit)
        place = {"response_id": ident, "item_id": item_id, "output_index": 0, "content_index": 0}
        item: dict[str, Any] = {"id": item_id, "object": "realtime.item", "type": "message", "status": "in_progress",
                                "role": "assistant", "content": []}  # fmt: skip
        part: dict[str, Any] = {"type": "audio", "transcript": ""} if spoken else {"type": "text", "text": ""}
        yield self._event("response.created", response=response)
        yield self._event("response.output_item.added", response_id=ident, output_index=0, item=item)
        yield self._event("conversation.item.added", previous_item_id=None, item=item)
        yield self._event("response.content_part.added", **place, part=part)
        wanted = None if faults.output_tokens is None else faults.output_tokens // (2 if spoken else 1)
        words = prose.prose(
            prose.seed(self._heard), tokens=wanted, limit=max(most // (2 if spoken else 1), 1), stops=[]
        )
        said: list[str] = []
        name = "response.output_audio_transcript" if spoken else "response.output_text"
        for piece in words.pieces:
            if self._cancelled or self._closed:
                break
            self._bill(output_tokens=2 if spoken else 1, output_audio_tokens=int(spoken))
            said.append(piece)
            yield self._event(f"{name}.delta", **place, delta=piece)
            if spoken:
                yield self._event(
                    "response.output_audio.delta", **place, delta=sound(_SPOKEN_BYTES_PER_TOKEN, len(said))
                )
        whole = "".join(said)
        status = "cancelled" if self._cancelled else "incomplete" if words.full else "completed"
        part = yield from self._close_part(place, name, whole, spoken=spoken)
        content = {"type": f"output_{part['type']}"} | {k: v for k, v in part.items() if k != "type"}
        item |= {"status": "completed" if status == "completed" else "incomplete", "content": [content]}
        yield self._event("response.output_item.done", response_id=ident, output_index=0, item=item)
        usage = self._usage_sent(before, used, cached)
        self._heard.append(whole)
        reason = {"cancelled": "client_cancelled", "incomplete": "max_output_tokens"}.get(status)
        response |= {
            "status": status,
            "status_details": {"type": status, "reason": reason} if reason else None,
            "output": [item],
            "usage": usage,
        }
        yield self._event("response.done", response=response)
        limits = [{"name": "tokens", "limit": 40_000, "remaining": 39_000, "reset_seconds": 0.5}]
        yield self._event("rate_limits.updated", rate_limits=limits)

    def _read(self, asked: dict[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
        """Bill what a response reads; how much that is by kind, and how much of it comes from the cache."""
        own = {"text": 8 + count(str(asked.get("instructions") or self._session["instructions"] or "")),
               "audio": 0, "image": 0}  # fmt: skip
        own["text"] += openai_input.schema(asked.get("tools") or self._session["tools"])
        used = {kind: self._context[kind] + own[kind] for kind in own}
        cached = {kind: self._cached[kind] // _BLOCK * _BLOCK for kind in used}
        self._cached = dict(used)
        self._bill(
            input_tokens=sum(used.values()),
            input_audio_tokens=used["audio"],
            input_image_tokens=used["image"],
            cached_tokens=sum(cached.values()),
            cached_audio_tokens=cached["audio"],
        )
        return used, cached

    def _begun(self, ident: str, asked: dict[str, Any], *, spoken: bool, limit: object) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": ident,
            "status": "in_progress",
            "status_details": None,
            "output": [],
            "conversation_id": "conv_" + self._asked.request_id[4:],
            "output_modalities": ["audio"] if spoken else ["text"],
            "max_output_tokens": limit,
            "usage": None,
            "metadata": asked.get("metadata"),
        }

    def _usage_sent(
        self, before: dict[str, int], used: dict[str, int], cached: dict[str, int]
    ) -> dict[str, Any] | None:
        """What a response says that it used since `before`; it stands in the context from now on."""
        faults = self._asked.faults
        made = {name: self.billed[name] - before.get(name, 0) for name in self.billed}
        usages = distorted(_usage(made, used, cached), faults.usage)
        for kind, paid in invoiced(made, faults.usage).items():
            self.billed[kind] = before.get(kind, 0) + paid
        self._context["text"] += made["output_tokens"] - made["output_audio_tokens"]
        self._context["audio"] += made["output_audio_tokens"]
        return usages[-1] if usages else None

    def _close_part(
        self, place: dict[str, Any], name: str, whole: str, *, spoken: bool
    ) -> Generator[Step, None, dict[str, Any]]:
        if spoken:
            yield self._event("response.output_audio.done", **place)
            yield self._event(f"{name}.done", **place, transcript=whole)
            part = {"type": "audio", "transcript": whole}
        else:
            yield self._event(f"{name}.done", **place, text=whole)
            part = {"type": "text", "text": whole}
        yield self._event("response.content_part.done", **place, part=part)
        return part

    # ---- what all events need

    def _bill(self, **more: int) -> None:
        for name, units in more.items():
            self.billed[name] = self.billed.get(name, 0) + units

    def _peek(self, prefix: str) -> str:
        return prose.ident(f"{prefix}_", self._asked.request_id, str(self._ids + 1))

    def _id(self, prefix: str) -> str:
        self._ids += 1
        return prose.ident(f"{prefix}_", self._asked.request_id, str(self._ids))

    def _event(self, kind: str, **fields: object) -> str:
        return text({"type": kind, "event_id": self._id("event"), **fields})

    def _error(self, event: dict[str, Any] | None, code: str, message: str, *, param: str | None = None) -> str:
        error = {"type": "invalid_request_error", "code": code, "message": message, "param": param,
                 "event_id": (event or {}).get("event_id")}  # fmt: skip
        return self._event("error", error=error)


def _usage(made: dict[str, int], used: dict[str, int], cached: dict[str, int]) -> dict[str, Any]:
    return {
        "total_tokens": made["input_tokens"] + made["output_tokens"],
        "input_tokens": made["input_tokens"],
        "output_tokens": made["output_tokens"],
        "input_token_details": {
            "text_tokens": used["text"],
            "audio_tokens": used["audio"],
            "image_tokens": used["image"],
            "cached_tokens": sum(cached.values()),
            "cached_tokens_details": {f"{kind}_tokens": cached[kind] for kind in cached},
        },
        "output_token_details": {
            "text_tokens": made["output_tokens"] - made["output_audio_tokens"],
            "audio_tokens": made["output_audio_tokens"],
        },
    }


def _merge(session: dict[str, Any], update: dict[str, Any]) -> None:
    for name, value in update.items():
        if isinstance(value, dict) and isinstance(session.get(name), dict):
            _merge(session[name], value)
        else:
            session[name] = msgspec.json.decode(msgspec.json.encode(value))
