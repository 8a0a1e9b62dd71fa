"""Every operation that prices has a table of fields: what its SDKs send stands in a row, what stands in none is named.

`test_fields` is about the shapes of talk; this is about all of them, and about those whose request is a form.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from anthropic.types.beta.messages import batch_create_params as anthropic_batches
from elevenlabs.audio_isolation.client import AudioIsolationClient
from elevenlabs.music.client import MusicClient
from elevenlabs.speech_to_speech.client import SpeechToSpeechClient
from elevenlabs.speech_to_text.client import SpeechToTextClient
from elevenlabs.text_to_dialogue.client import TextToDialogueClient
from elevenlabs.text_to_sound_effects.client import TextToSoundEffectsClient
from elevenlabs.text_to_speech.client import TextToSpeechClient
from google.genai import types as google
from mistralai.client import models as mistral
from openai.types import batch_create_params as openai_batches
from openai.types import image_create_variation_params as variations
from openai.types import image_edit_params as edits
from openai.types import image_generate_params as generations
from openai.types.audio import transcription_create_params as transcriptions
from openai.types.audio import translation_create_params as translations
from openai.types.responses import response_compact_params as compactions
from xai_sdk.proto import image_pb2 as xai_images

from providers.compatible import fields as compatible_fields
from providers.contract.batch_bound import BatchBound
from providers.contract.fields import Fields
from providers.contract.shapes import Asked, Call, Shape, Uploading
from providers.elevenlabs import fields as elevenlabs_fields
from providers.google import fields as google_fields
from providers.ground.errors import BadRequest
from providers.minimax import fields as minimax_fields
from providers.mistral import fields as mistral_fields
from providers.openai import fields as openai_fields
from providers.operations import TABLE
from providers.simulator import sounds
from providers.stored import batches
from providers.stored.jsonl import FileFacts
from providers.stored.row import Row
from tests.providers.test_fields import MESSAGES, camel, hints, signature

FORM = {"content-type": "multipart/form-data; boundary=XX"}
WAV = sounds.wav(12.5, sample_rate=16_000)
LONG_WAV = sounds.wav(60, sample_rate=16_000)
NEW = "brand_new_field"
TURN = {"role": "user", "parts": [{"text": "hi"}]}
Parts = tuple[tuple[str, str | bytes], ...]


def form(*parts: tuple[str, str | bytes]) -> bytes:
    pieces = []
    for name, value in parts:
        filename = '; filename="a.wav"' if isinstance(value, bytes) else ""
        content = value if isinstance(value, bytes) else value.encode()
        head = f'--XX\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'
        pieces.append(head.encode() + content + b"\r\n")
    return b"".join(pieces) + b"--XX--\r\n"


# ---- every row


def _file(url: str, model: str) -> Asked:
    facts = msgspec.to_builtins(FileFacts(url=url, model=model, batch_bound=BatchBound()))
    return Asked(objects={"file-1": {"requests": facts}})


_SAY = {"model": "gpt-4o", "messages": MESSAGES}
_BATCHED = {"params": {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": MESSAGES}}
_CHATS = "/v1/chat/completions"
# By the shape's name: a request that is read, as a JSON object, as a form, or as sound with a query.
OBJECTS: dict[str, tuple[dict[str, Any], Asked]] = {
    "openai_chat": (_SAY, Asked()),
    "openai_completions": ({"model": "gpt-3.5-turbo-instruct", "prompt": "hi"}, Asked()),
    "openai_responses": ({"model": "gpt-4o", "input": "hi"}, Asked()),
    "openai_compaction": ({"model": "gpt-4o", "input": "hi"}, Asked()),
    "openai_embeddings": ({"model": "text-embedding-3-small", "input": "hi"}, Asked()),
    "openai_speech": ({"model": "tts-1", "input": "hi", "voice": "alloy"}, Asked()),
    "openai_images": ({"model": "gpt-image-2", "prompt": "a cat"}, Asked()),
    "openai_batches": ({"input_file_id": "file-1", "endpoint": _CHATS, "completion_window": "24h"}, _file(_CHATS, "m")),
    "anthropic_messages": (_BATCHED["params"], Asked()),
    "anthropic_batches": ({"requests": [_BATCHED]}, Asked()),
    "mistral_batches": ({"input_files": ["file-1"], "endpoint": _CHATS, "model": "m"}, _file(_CHATS, "m")),
    "mistral_ocr": ({"model": "mistral-ocr-latest", "document": {"type": "document_url", "document_url": "https://a.example/a"}},
                    Asked()),
    "mistral_speech": ({"model": "voxtral-tts", "input": "hi"}, Asked()),
    "minimax_speech": ({"model": "speech-2.6-hd", "text": "hi"}, Asked()),
    "images": ({"model": "grok-imagine-image", "prompt": "a cat"}, Asked()),
    "gemini": ({"contents": [TURN]}, Asked(params={"model": "gemini-2.5-flash"})),
    "gemini_stream": ({"contents": [TURN]}, Asked(params={"model": "gemini-2.5-flash"})),
    "gemini_embed": ({"content": TURN}, Asked(params={"model": "gemini-embedding-001"})),
    "gemini_embed_batch": ({"requests": [{"content": TURN}] * 2}, Asked(params={"model": "gemini-embedding-001"})),
    "cohere_chat": ({"model": "command-r-08-2024", "messages": MESSAGES}, Asked()),
    "cohere_chat_1": ({"model": "command-r-08-2024", "message": "hi"}, Asked()),
    "cohere_embed": ({"model": "embed-v4.0", "texts": ["hi"]}, Asked()),
    "cohere_rerank": ({"model": "rerank-v3.5", "query": "q", "documents": ["d"]}, Asked()),
    "dashscope_generation": ({"model": "qwen-plus", "input": {"prompt": "hi"}}, Asked()),
    "dashscope_embedding": ({"model": "text-embedding-v4", "input": {"texts": ["hi"]}}, Asked()),
    "deepgram_speak": ({"text": "hi"}, Asked()),
    "deepgram_read": ({"text": "hi"}, Asked()),
    "elevenlabs_speech": ({"text": "hi"}, Asked()),
    "elevenlabs_dialogue": ({"inputs": [{"text": "hi", "voice_id": "v"}]}, Asked()),
    "elevenlabs_sounds": ({"text": "rain"}, Asked()),
    "elevenlabs_music": ({"prompt": "rain"}, Asked()),
}  # fmt: skip
FORMS: dict[str, Parts] = {
    "transcription": (("model", "whisper-1"), ("file", LONG_WAV)),
    "elevenlabs_transcript": (("model_id", "scribe_v2"), ("file", LONG_WAV)),
    "elevenlabs_voice_changer": (("model_id", "eleven_multilingual_sts_v2"), ("audio", LONG_WAV)),
    "elevenlabs_isolation": (("audio", LONG_WAV),),
    "openai_images": (("model", "gpt-image-2"), ("prompt", "a cat"), ("image[]", b"png"), ("image[]", b"png")),
}
SOUNDS = {"deepgram_listen"}
# A socket's messages have tables of their own, see `test_socket_tables`.
SOCKETS = {"realtime", "live", "listen.live", "listen.flux", "speak.live", "text-to-speech.live", "speech-to-text.live"}
PRICED = [row for row in TABLE if row.operation.billable]


def read(shape: Shape, name: str, *, new: str = "", query: dict[str, list[str]] | None = None) -> list[Call]:
    """The sample of a shape, in each of its forms, with a new field where that is said."""
    calls = []
    if name in OBJECTS:
        body, asked = OBJECTS[name]
        asked = msgspec.structs.replace(asked, query=query or {})
        calls.append(shape.read(json.dumps(body | ({new: 1} if new else {})).encode(), asked))
    if name in FORMS:
        for parts in ((*FORMS[name], (new, "1")), ((new, "1"), *FORMS[name])) if new else (FORMS[name],):
            calls.append(shape.read(form(*parts), Asked(headers=FORM, query=query or {})))
    if name in SOUNDS:
        query = {"model": ["nova-3"], **(query or {}), **({new: ["1"]} if new else {})}
        calls.append(shape.read(WAV, Asked(query=query, headers={"content-type": "audio/wav"})))
        link = b'{"url": "https://a.example/a", "%b": 1}' % (new or "url").encode()
        if new:
            calls.append(shape.read(link, Asked(headers={"content-type": "application/json"})))
    return calls


@pytest.mark.parametrize("row", PRICED, ids=lambda row: f"{row.provider} {row.method} {row.path}")
def test_every_operation_that_prices_has_a_table(row: Row) -> None:
    """No row can be forgotten: a field that nobody knows is named by each, whatever it is asked by."""
    if row.operation.socket is not None:
        assert row.operation.name in SOCKETS
        return
    shape, name = row.operation.shape, row.operation.shape.name
    known, new = read(shape, name), read(shape, name, new=NEW)
    assert known, f"{name} has no sample: add its table, and one here"
    assert {call.unlisted for call in known} == {""}
    assert {call.unlisted for call in new} == {NEW}


@pytest.mark.parametrize("name", sorted(FORMS))
@pytest.mark.parametrize("size", [1_000, 70_000])
def test_a_field_behind_the_file_is_named_before_its_part_ends(name: str, size: int) -> None:
    """While it arrives: when the name has come, at the latest, and long before the form ends."""
    shape = next(row.operation.shape for row in PRICED if row.operation.shape.name == name)
    if not isinstance(shape, Uploading):
        return  # read whole
    reader = shape.arrival(Asked(headers=FORM))
    body = form(*FORMS[name], (NEW, "x" * 300_000))
    end = body.index(NEW.encode()) + len(NEW) + 5
    called = None
    for at in range(0, end, size):
        reader.feed(body[at : min(at + size, end)])
        called = called or reader.call(len(body), whole=False)
    assert called is not None
    assert called.unlisted == ""
    assert reader.uncovered == NEW


# ---- what the SDKs send

_SPEECH_QUERY = {"output_format", "enable_logging", "optimize_streaming_latency"}


def elevenlabs(*functions: Any) -> set[str]:
    """As they are spelt in the body; the path and the query left out."""
    names = set[str]().union(*map(signature, functions))
    spelt = {"sign_with_c_2_pa": "sign_with_c2pa", "preview_b_64": "preview_b64"}
    # `token` is a key of the browser's, made by the operator: none is known here.
    return {spelt.get(name, name) for name in names} - _SPEECH_QUERY - {"voice_id", "token"}


SENT: dict[str, tuple[Fields, set[str]]] = {
    "openai images": (
        openai_fields.IMAGES,
        hints(generations.ImageGenerateParamsBase, edits.ImageEditParamsBase, variations.ImageCreateVariationParams),
    ),
    "openai transcriptions": (
        openai_fields.TRANSCRIPTION,
        hints(transcriptions.TranscriptionCreateParamsStreaming, transcriptions.TranscriptionCreateParamsNonStreaming,
              translations.TranslationCreateParams),
    ),
    "openai compactions": (openai_fields.RESPONSES, hints(compactions.ResponseCompactParams)),
    "openai batches": (batches.FIELDS["openai"], hints(openai_batches.BatchCreateParams)),
    "anthropic batches": (batches.FIELDS["anthropic"], hints(anthropic_batches.BatchCreateParams) - {"betas"}),
    "mistral batches": (batches.FIELDS["mistral"], set(mistral.CreateBatchJobRequest.model_fields)),
    "mistral transcriptions": (openai_fields.TRANSCRIPTION, set(mistral.AudioTranscriptionRequest.model_fields)),
    "mistral speech": (mistral_fields.SPEECH, set(mistral.SpeechRequest.model_fields)),
    "mistral embeddings": (
        openai_fields.EMBEDDINGS, set(mistral.EmbeddingRequest.model_fields) - {"inputs"} | {"input"}
    ),
    "mistral moderations": (
        openai_fields.EMBEDDINGS, set(mistral.ClassificationRequest.model_fields) - {"inputs"} | {"input"}
    ),
    "google embeddings": (google_fields.EMBED, {camel(name) for name in google.EmbedContentConfig.model_fields}
                          - {"httpOptions"}),
    "xai images": (compatible_fields.IMAGES,
                   {field.name for field in xai_images.GenerateImageRequest.DESCRIPTOR.fields}),
    "elevenlabs speech": (
        elevenlabs_fields.SPEECH,
        elevenlabs(TextToSpeechClient.convert, TextToSpeechClient.convert_with_timestamps, TextToSpeechClient.stream,
                   TextToSpeechClient.stream_with_timestamps),
    ),
    "elevenlabs dialogue": (
        elevenlabs_fields.DIALOGUE,
        elevenlabs(TextToDialogueClient.convert, TextToDialogueClient.convert_with_timestamps,
                   TextToDialogueClient.stream, TextToDialogueClient.stream_with_timestamps),
    ),
    "elevenlabs sounds": (elevenlabs_fields.SOUNDS, elevenlabs(TextToSoundEffectsClient.convert)),
    "elevenlabs music": (
        elevenlabs_fields.MUSIC,
        elevenlabs(MusicClient.compose, MusicClient.compose_detailed, MusicClient.compose_detailed_stream,
                   MusicClient.stream),
    ),
    "elevenlabs transcripts": (elevenlabs_fields.TRANSCRIPT, elevenlabs(SpeechToTextClient.convert)),
    "elevenlabs voices": (
        elevenlabs_fields.VOICE_CHANGER, elevenlabs(SpeechToSpeechClient.convert, SpeechToSpeechClient.stream)
    ),
    "elevenlabs isolation": (
        elevenlabs_fields.ISOLATION, elevenlabs(AudioIsolationClient.convert, AudioIsolationClient.stream)
    ),
    "elevenlabs queries": (elevenlabs_fields.QUERY, _SPEECH_QUERY),
}  # fmt: skip


@pytest.mark.parametrize("name", [*SENT, "minimax speech"])
def test_every_field_that_the_sdk_sends_stands_in_one_row(name: str) -> None:
    """A field that a new release brings is seen here first. MiniMax has no SDK."""
    table, sent = SENT.get(name, (minimax_fields.SPEECH, set[str]()))
    rows = [field for row in table.rows.values() for field in row]
    assert sent - set(rows) == set()
    assert len(rows) == len(set(rows))


@pytest.mark.parametrize("name", sorted(name for name in {**OBJECTS, **FORMS} if name.startswith("elevenlabs")))
def test_a_query_s_parameters_stand_in_a_row_too(name: str) -> None:
    shape = next(row.operation.shape for row in PRICED if row.operation.shape.name == name)
    usual = {"output_format": ["mp3_44100_128"], "enable_logging": ["true"]}
    assert [call.unlisted for call in read(shape, name, query=usual)] == [""]
    assert [call.unlisted for call in read(shape, name, query={"speed_up": ["1"]})] == ["speed_up"]


# ---- the rows are true


def called(name: str, **more: Any) -> Call:
    shape = next(row.operation.shape for row in PRICED if row.operation.shape.name == name)
    body, asked = OBJECTS[name]
    return shape.read(json.dumps(body | more).encode(), asked)


def called_by_form(name: str, *parts: tuple[str, str | bytes]) -> Call:
    shape = next(row.operation.shape for row in PRICED if row.operation.shape.name == name)
    return shape.read(form(*parts), Asked(headers=FORM))


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("mistral_speech", "conversation_history", [{"role": "user", "audio": {}}]),
        ("elevenlabs_music", "finetune_id", "ft"),
        ("elevenlabs_music", "store_for_inpainting", True),
        ("images", "quality", "high"),
        ("images", "resolution", "2k"),
        ("images", "image", {"image_url": "https://a.example/a"}),
        ("images", "images", [{}]),
        ("images", "mask", {}),
        ("images", "storage_options", {}),
        ("openai_images", "complexity", "high"),
    ],
)
def test_what_only_the_answer_prices_is_refused_where_the_cap_must_hold(name: str, field: str, value: Any) -> None:
    """And only there: it holds nothing more for anybody else."""
    call = called(name, **{field: value})
    assert (call.endless, call.unbounded, call.unlisted) == (field, "", "")
    plain = called(name)
    assert (plain.endless, plain.input_upper) == ("", call.input_upper)


@pytest.mark.parametrize(("field", "value"), [("quality", "medium"), ("resolution", "1k"), ("image", None)])
def test_a_picture_at_its_usual_price_is_none_of_those(field: str, value: Any) -> None:
    assert called("images", **{field: value}).endless == ""


@pytest.mark.parametrize("field", ["documentOcr", "audioTrackExtraction", "audio_track_extraction"])
def test_what_is_found_in_a_document_is_not_bounded_by_it(field: str) -> None:
    """A window's worth of tokens is held for, or the call refused."""
    assert called("gemini_embed", embedContentConfig={field: True}).unbounded == camel(field)
    assert called("gemini_embed", embedContentConfig={field: False}).unbounded == ""


@pytest.mark.parametrize("body", [{"embedContentConfig": {NEW: 1}}, {"requests": [{"content": TURN, NEW: 1}]}])
def test_a_field_inside_of_an_embedding_s_request_is_named(body: dict[str, Any]) -> None:
    name = "gemini_embed_batch" if "requests" in body else "gemini_embed"
    assert called(name, **body).unlisted == NEW


@pytest.mark.parametrize("field", ["workspace_id", "user_profile_id"])
def test_a_batch_is_made_on_nobody_else_s_account(field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        called("anthropic_batches", **{field: "x"})
    assert refused.value.param == field


def test_pictures_that_an_edit_brings_are_held_for_in_json_as_in_a_form() -> None:
    """Sixteen at most; a mask and what marks them up are pictures as well."""
    bare = called("openai_images").input_bound
    by_link = called("openai_images", images=[{"image_url": "https://a.example/a"}] * 2, mask={"file_id": "file-1"})
    by_form = called_by_form(
        "openai_images", ("model", "gpt-image-2"), ("prompt", "a cat"), ("image[]", b"a"), ("image[]", b"b"),
        ("markup", b"c"),
    )  # fmt: skip
    assert bare.input_image_tokens == 0
    assert by_link.input_bound == by_form.input_bound
    assert by_form.input_bound.input_image_tokens == 3 * 7_800
    with pytest.raises(BadRequest, match="images at most"):
        called("openai_images", images=[{}] * 20)


def test_the_frames_of_a_moving_picture_are_held_for() -> None:
    """Nine, where the request does not say how many."""
    still = called("openai_images").input_bound.output_tokens
    assert called("openai_images", output_format="gif").input_bound.output_tokens == 9 * still
    assert called("openai_images", output_format="gif", frame_count=3).input_bound.output_tokens == 3 * still


def test_a_drawing_by_a_further_model_is_refused_however_it_is_asked_for() -> None:
    with pytest.raises(BadRequest) as refused:
        called("openai_images", output_format="svg")
    assert refused.value.param == "output_format"


def test_a_plan_for_music_decides_how_long_it_is() -> None:
    """A length beside it is of no account."""
    plan = {"chunks": [{"duration_ms": 20_000}, {"duration_ms": 30_000}]}
    call = called("elevenlabs_music", composition_plan=plan, music_length_ms=3_000)
    assert call.input_bound.audio_ms >= 600_000
    assert called("elevenlabs_music", composition_plan=plan).input_typical.audio_ms == 50_000


def test_what_guides_a_transcript_is_held_for() -> None:
    """Texts by the token, voices by the second."""
    bare = called_by_form("transcription", ("model", "whisper-1"), ("file", WAV)).input_bound
    texts = called_by_form(
        "transcription", ("model", "whisper-1"), ("keywords[]", "one"), ("keywords[]", "another"), ("file", WAV)
    ).input_bound
    assert texts.input_tokens == bare.input_tokens + 10
    voices = called_by_form(
        "transcription", ("model", "whisper-1"), ("known_speaker_references[]", "x" * 20_000), ("file", WAV)
    ).input_bound
    assert voices.audio_ms == bare.audio_ms + 20_000
    assert voices.input_audio_tokens > bare.input_audio_tokens


@pytest.mark.parametrize(
    ("late", "size", "named"),
    [("prompt", 900, ""), ("prompt", 1_100, "prompt"), ("keywords[]", 1_100, "keywords"), ("language", 1_100, ""),
     ("known_speaker_references[]", 10, "known_speaker_references"), ("speaker_references", 10, "speaker_references")],
)  # fmt: skip
def test_what_guides_it_from_behind_the_file_is_covered_or_named(late: str, size: int, named: str) -> None:
    """There is room for a short text while the file passes, and for nothing else."""
    shape = next(row.operation.shape for row in PRICED if row.operation.shape.name == "transcription")
    assert isinstance(shape, Uploading)
    reader = shape.arrival(Asked(headers=FORM))
    body = form(("model", "whisper-1"), ("file", LONG_WAV), (late, "x" * size))
    reader.feed(body[:70_000])
    held = reader.call(len(body), whole=False)
    assert held is not None
    assert reader.uncovered == ""
    reader.feed(body[70_000:])
    assert reader.uncovered == named
    whole = reader.call(len(body), whole=True)
    assert whole is not None
    if not named:
        assert whole.input_bound.input_tokens <= held.input_bound.input_tokens
        assert whole.input_bound.audio_ms <= held.input_bound.audio_ms


def test_redaction_is_priced_as_what_it_redacts() -> None:
    """ElevenLabs redacts what it detects, said so or not."""
    call = called_by_form(
        "elevenlabs_transcript", ("model_id", "scribe_v2"), ("entity_redaction", "pii"), ("file", WAV)
    )
    assert call.input_typical.tools.keys() == {"entity_detection_ms"}


def test_noise_that_is_removed_is_another_pass() -> None:
    """As long as it may still be asked for it is held for, where the cap must hold."""
    parts = ("model_id", "eleven_multilingual_sts_v2"), ("audio", WAV)
    bare = called_by_form("elevenlabs_voice_changer", *parts)
    clean = called_by_form("elevenlabs_voice_changer", *parts, ("remove_background_noise", "true"))
    assert clean.input_bound.audio_ms - 60 == 2 * (bare.input_bound.audio_ms - 60)
    assert clean.input_upper == bare.input_upper
