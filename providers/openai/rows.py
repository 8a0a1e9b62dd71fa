"""OpenAI's own operations, beyond those that other vendors speak too.

Not here, and so refused by name: live sessions, translations and Responses over a socket (the model changes within it).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from providers.contract.shapes import Shape
from providers.openai.chat import OPENAI_CHAT, OPENAI_COMPLETIONS
from providers.openai.conversations import OPENAI_CONVERSATIONS
from providers.openai.embeddings import OPENAI_EMBEDDINGS
from providers.openai.images import OPENAI_IMAGES, OPENAI_VARIATIONS
from providers.openai.objects import CHAT_NAMES, STATE_NAMES
from providers.openai.realtime import OPENAI_REALTIME
from providers.openai.responses import OPENAI_COMPACTION, OPENAI_RESPONSES
from providers.openai.speech import OPENAI_SPEECH
from providers.openai.transcription import TRANSCRIPTION
from providers.stored.batches import Batch, BatchMaking
from providers.stored.files import FileUpload
from providers.stored.free import FREE_CHECK, FREE_READ
from providers.stored.jsonl import Endpoint
from providers.stored.listing import ITEMS_MAX, Cursors
from providers.stored.objects import Makes, References, Refers
from providers.stored.row import Row, row, socket

_PICTURES = {"file_id": Refers(kind="file")}  # in an edit's JSON form
_FILE_512_MB = 513 * 1024**2
_FORM_26_MB = 27 * 1024**2  # files of 25 MB, in a form

# Requests that may stand in a file for a batch.
_BATCHED = MappingProxyType(
    {
        "/v1/chat/completions": Endpoint(OPENAI_CHAT, References(CHAT_NAMES)),
        "/v1/completions": Endpoint(OPENAI_COMPLETIONS),
        "/v1/responses": Endpoint(OPENAI_RESPONSES, References(STATE_NAMES)),
        "/v1/embeddings": Endpoint(OPENAI_EMBEDDINGS),
    }
)
_BATCH = Batch(kind="openai", item="/v1/batches/{id}", endpoints=_BATCHED)
_BATCHES = Cursors(kind="batch", item=_BATCH.item)
_RESULTS = (
    Makes(kind="file", at="output_file_id", facts={"of": "id"}),
    Makes(kind="file", at="error_file_id", facts={"of": "id"}),
)
_FILES = Cursors(kind="file", item="/v1/files/{id}", usual=ITEMS_MAX, order="order", label="purpose")
_FILE = (Makes(kind="file", at="id", label="purpose"),)


def _conversations(method: str, path: str, shape: Shape = FREE_READ, **ownership: Any) -> Row:
    path = "/v1/conversations" + path
    return row(method, path, "openai", "conversations", shape, billable=False, **ownership)


def _batches(method: str, path: str, **ownership: Any) -> Row:
    path = "/v1/batches" + path
    return row(method, path, "openai", "batches", FREE_READ, billable=False, batch=_BATCH, **ownership)


ROWS = (
    row("POST", "/v1/responses/compact", "openai", "responses.compact", OPENAI_COMPACTION, names=STATE_NAMES),
    row(
        "POST",
        "/v1/responses/input_tokens",
        "openai",
        "responses.input_tokens",
        FREE_CHECK,
        billable=False,
        names=STATE_NAMES,
    ),
    row(
        "POST",
        "/v1/files",
        "openai",
        "files",
        FileUpload(_BATCHED),
        billable=False,
        uploads=_FILE_512_MB,
        makes=_FILE,
    ),
    row("GET", "/v1/files", "openai", "files", FREE_READ, billable=False, lists=_FILES),
    row("GET", "/v1/files/{id}", "openai", "files", FREE_READ, billable=False, of="file"),
    row("GET", "/v1/files/{id}/content", "openai", "files", FREE_READ, billable=False, of="file"),
    row("DELETE", "/v1/files/{id}", "openai", "files", FREE_READ, billable=False, of="file", forgets=True),
    row(
        "POST",
        "/v1/batches",
        "openai",
        "batches",
        BatchMaking(_BATCH),
        makes=(Makes(kind="batch", at="id"),),
        names={"input_file_id": Refers(kind="file")},
        batch=_BATCH,
    ),
    _batches("GET", "", lists=_BATCHES),
    _batches("GET", "/{id}", of="batch", makes=_RESULTS),
    _batches("POST", "/{id}/cancel", of="batch", makes=_RESULTS),
    _conversations(
        "POST",
        "",
        OPENAI_CONVERSATIONS,
        makes=(Makes(kind="conversation", at="id"),),
        names=CHAT_NAMES,
    ),
    _conversations("GET", "/{id}", of="conversation"),
    _conversations("POST", "/{id}", of="conversation"),
    _conversations("DELETE", "/{id}", of="conversation", forgets=True),
    _conversations("GET", "/{id}/items", of="conversation"),
    _conversations(
        "POST",
        "/{id}/items",
        OPENAI_CONVERSATIONS,
        of="conversation",
        makes=(Makes(kind="item", at="data[].id"),),
        names=CHAT_NAMES,
    ),
    _conversations("GET", "/{id}/items/{item}", of="conversation"),
    _conversations("DELETE", "/{id}/items/{item}", of="conversation"),
    row("POST", "/v1/audio/transcriptions", "openai", "audio.transcriptions", TRANSCRIPTION, uploads=_FORM_26_MB),
    row("POST", "/v1/audio/translations", "openai", "audio.translations", TRANSCRIPTION, uploads=_FORM_26_MB),
    row("POST", "/v1/audio/speech", "openai", "audio.speech", OPENAI_SPEECH),
    row("POST", "/v1/images/generations", "openai", "images.generations", OPENAI_IMAGES, names=_PICTURES),
    row("POST", "/v1/images/edits", "openai", "images.edits", OPENAI_IMAGES, names=_PICTURES),
    row("POST", "/v1/images/variations", "openai", "images.variations", OPENAI_VARIATIONS),
    row("POST", "/v1/moderations", "openai", "moderations", FREE_CHECK, billable=False),
    socket("/v1/realtime", "openai", "realtime", OPENAI_REALTIME),
)
