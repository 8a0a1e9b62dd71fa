"""What may stand inside of Cohere's requests, of both versions; see `reading.inside`. Source: cohere 7.3's types."""

from __future__ import annotations

from providers.reading.inside import Inside, Kinds

_PARTS = Kinds(
    {
        "text": "text",
        "thinking": "thinking",
        "image_url": "image_url{url detail}",
        "document": "document{id data{*}} id",
    }
)
_CITED = (
    "citations{start end text content_index type=TEXT_CONTENT|THINKING_CONTENT|PLAN "
    "sources{type=tool|document id tool_output{*} document{*}}}"
)
_CALLS_1 = "tool_calls{name parameters{*}}"
_RESULTS_1 = "tool_results{call{name parameters{*}} outputs{*}}"
_SCHEMAS = Kinds({"text": "", "json_object": "json_schema{*} schema{*}"})

CHAT = Inside(
    f"documents{{*}} citation_options{{mode}} thinking{{type=enabled|disabled token_budget}} {_RESULTS_1} "
    f"connectors{{*}}",
    inside={
        "messages": Inside(
            f"role tool_call_id tool_plan {_CITED}",
            inside={
                "content": _PARTS,
                "tool_calls": Kinds({"function": "id index function{name arguments}"}),
            },
        ),
        "tools": Kinds(
            {
                "function": "function{name description parameters{*} strict}",
                "": "name description parameter_definitions{*}",
            }
        ),
        "chat_history": Inside(f"role message {_CALLS_1} {_RESULTS_1}"),
        "response_format": _SCHEMAS,
    },
    every=True,
)
"""A chat."""

EMBED = Inside(inside={"inputs": Inside(inside={"content": _PARTS})}, every=True)
"""Embeddings."""

RERANK = Inside("documents{*} relevant_spans{mode threshold max_spans}", every=True)
"""A ranking: documents are texts, or objects of texts."""
