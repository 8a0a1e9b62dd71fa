"""Anthropic's operations."""

from __future__ import annotations

from typing import Any

from providers.anthropic.messages import ANTHROPIC_MESSAGES
from providers.stored.batches import Batch, BatchMaking
from providers.stored.files import FileUpload
from providers.stored.free import FREE_POST, FREE_READ
from providers.stored.jsonl import Endpoint
from providers.stored.listing import Cursors
from providers.stored.objects import Makes, Refers
from providers.stored.row import Row, row

_NAMES = {
    "file_id": Refers(kind="file"),
    "container": Refers(kind="container"),
    "skill_id": Refers(kind="skill", pattern=r"^(skill_.+)"),  # nobody can make one through here
}
_CONTAINER = Makes(
    kind="container",
    at="container.id",
    streamed=("message.container.id", "delta.container.id"),
    keep_s=31 * 86_400,  # it is kept for 30 days
    when=r'"code_execution|"container"',
)
# What a model's code wrote is a file, too.
_WRITTEN = Makes(
    kind="file",
    at="content[].content.content[].file_id",
    streamed=("content_block.content.content[].file_id",),
    when=r'"code_execution',
)
_MADE = (_CONTAINER, _WRITTEN)
_FILES = Cursors(kind="file", item="/v1/files/{id}", after="after_id", before="before_id", object=False)
_BATCH = Batch(
    kind="anthropic",
    item="/v1/messages/batches/{id}",
    endpoints={"/v1/messages": Endpoint(ANTHROPIC_MESSAGES)},
)
_BATCHES = Cursors(kind="batch", item=_BATCH.item, after="after_id", before="before_id", object=False)
_FILE_500_MB = 501 * 1024**2


def _batches(method: str, path: str, **ownership: Any) -> Row:
    path = "/v1/messages/batches" + path
    return row(method, path, "anthropic", "messages.batches", FREE_READ, billable=False, batch=_BATCH, **ownership)


ROWS = (
    row(
        "POST", "/v1/messages", "anthropic", "messages", ANTHROPIC_MESSAGES, names=_NAMES, makes=(_CONTAINER, _WRITTEN)
    ),
    row(
        "POST",
        "/v1/files",
        "anthropic",
        "files",
        FileUpload({}),
        billable=False,
        uploads=_FILE_500_MB,
        makes=(Makes(kind="file", at="id"),),
    ),
    row("GET", "/v1/files", "anthropic", "files", FREE_READ, billable=False, lists=_FILES),
    row("GET", "/v1/files/{id}", "anthropic", "files", FREE_READ, billable=False, of="file"),
    row("GET", "/v1/files/{id}/content", "anthropic", "files", FREE_READ, billable=False, of="file"),
    row("DELETE", "/v1/files/{id}", "anthropic", "files", FREE_READ, billable=False, of="file", forgets=True),
    row(
        "POST",
        "/v1/messages/count_tokens",
        "anthropic",
        "messages.count_tokens",
        FREE_POST,
        billable=False,
        names=_NAMES,
    ),
    row(
        "POST",
        "/v1/messages/batches",
        "anthropic",
        "messages.batches",
        BatchMaking(_BATCH),
        makes=(Makes(kind="batch", at="id"),),
        names=_NAMES,
        batch=_BATCH,
    ),
    _batches("GET", "", lists=_BATCHES),
    _batches("GET", "/{id}", of="batch"),
    _batches("POST", "/{id}/cancel", of="batch"),
    _batches("DELETE", "/{id}", of="batch", forgets=True),
    _batches("GET", "/{id}/results", of="batch"),
    row("GET", "/v1/models", "anthropic", "models", FREE_READ, billable=False),
    row("GET", "/v1/models/{id}", "anthropic", "models", FREE_READ, billable=False),
)
