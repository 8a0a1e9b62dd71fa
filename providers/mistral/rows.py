"""Mistral's operations beside those that it shares with OpenAI.

Agents, conversations, libraries and fine-tuned classifiers are refused: what they cost is not in the request, or they
keep state that every key of the account could read.
"""

from __future__ import annotations

from typing import Any

from providers.ground.vendors import VENDORS
from providers.mistral.ocr import MISTRAL_OCR
from providers.mistral.speech import MISTRAL_SPEECH
from providers.openai.chat import OPENAI_CHAT, OPENAI_COMPLETIONS
from providers.openai.embeddings import OPENAI_EMBEDDINGS
from providers.openai.objects import CHAT_NAMES
from providers.openai.transcription import TRANSCRIPTION
from providers.stored.batches import Batch, BatchMaking
from providers.stored.files import FileUpload
from providers.stored.free import FREE_READ
from providers.stored.jsonl import Endpoint
from providers.stored.listing import Pages
from providers.stored.objects import Makes, References, Refers
from providers.stored.row import Row, row

_SOUND_1_GB = 1024**3

# What goes in the middle is answered as a chat is; moderation reads its input as an embedding does, and answers no
# usage.
_FIM = OPENAI_COMPLETIONS.of(VENDORS["mistral"].quirks)

_CHAT = OPENAI_CHAT.of(VENDORS["mistral"].quirks)
_BATCHED = {
    "/v1/chat/completions": Endpoint(_CHAT, References(CHAT_NAMES)),
    "/v1/fim/completions": Endpoint(_FIM),
    "/v1/embeddings": Endpoint(OPENAI_EMBEDDINGS),
}
_UNNAMED = {"messages": "/v1/chat/completions", "prompt": "/v1/fim/completions", "input": "/v1/embeddings"}
_BATCH = Batch(kind="mistral", item="/v1/batch/jobs/{id}", endpoints=_BATCHED)
_RESULTS = (
    Makes(kind="file", at="output_file", facts={"of": "id"}),
    Makes(kind="file", at="error_file", facts={"of": "id"}),
)
_FILE_512_MB = 513 * 1024**2


def _files(method: str, path: str, **ownership: Any) -> Row:
    return row(method, "/v1/files" + path, "mistral", "files", FREE_READ, billable=False, **ownership)


def _jobs(method: str, path: str, **ownership: Any) -> Row:
    path = "/v1/batch/jobs" + path
    return row(method, path, "mistral", "batch.jobs", FREE_READ, billable=False, batch=_BATCH, **ownership)


ROWS: tuple[Row, ...] = (
    row(
        "POST",
        "/v1/files",
        "mistral",
        "files",
        FileUpload(_BATCHED, _UNNAMED),
        billable=False,
        uploads=_FILE_512_MB,
        makes=(Makes(kind="file", at="id", label="purpose"),),
    ),
    _files("GET", "", lists=Pages(kind="file", item="/v1/files/{id}", label="purpose")),
    _files("GET", "/{id}", of="file"),
    _files("GET", "/{id}/content", of="file"),
    _files("GET", "/{id}/url", of="file"),
    _files("DELETE", "/{id}", of="file", forgets=True),
    row(
        "POST",
        "/v1/batch/jobs",
        "mistral",
        "batch.jobs",
        BatchMaking(_BATCH),
        makes=(Makes(kind="batch", at="id"),),
        names={"input_files": Refers(kind="file")},
        batch=_BATCH,
    ),
    _jobs("GET", "", lists=Pages(kind="batch", item=_BATCH.item)),
    _jobs("GET", "/{id}", of="batch", makes=_RESULTS),
    _jobs("POST", "/{id}/cancel", of="batch", makes=_RESULTS),
    row("POST", "/v1/fim/completions", "mistral", "fim.completions", _FIM),
    row("POST", "/v1/ocr", "mistral", "ocr", MISTRAL_OCR, names={"file_id": Refers(kind="file")}),
    row("POST", "/v1/audio/transcriptions", "mistral", "audio.transcriptions", TRANSCRIPTION, uploads=_SOUND_1_GB),
    row("POST", "/v1/audio/speech", "mistral", "audio.speech", MISTRAL_SPEECH),
    row("POST", "/v1/moderations", "mistral", "moderations", OPENAI_EMBEDDINGS),
    row("POST", "/v1/chat/moderations", "mistral", "chat.moderations", OPENAI_EMBEDDINGS),
)
