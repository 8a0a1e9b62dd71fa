"""What may stand inside of Anthropic's messages; see `reading.inside`. Source: anthropic 2.12's types.

Blocks that lie elsewhere (a URL, a file) take the model's window. Tools may come with the conversation, too: those
that the client runs cost their bytes, and what the others cost is not held for there.
"""

from __future__ import annotations

from typing import Final

from providers.reading.inside import ANYTHING, Brought, Inside, Kinds, Table

_CACHE: Final = "cache_control{type=ephemeral ttl}"
_CALLER: Final = "caller{type=direct|code_execution_20250825|code_execution_20260120 tool_id}"
_HOSTED: Final = "a tool that the provider runs is not held for where the conversation brings it."

# ---- tools

_TOOL: Final = f"name allowed_callers {_CACHE} defer_loading strict input_examples{{*}}"
_SCREEN: Final = f"{_TOOL} display_height_px display_width_px display_number enable_zoom"
_CLIENT: dict[str, str | Inside] = {
    " custom": f"{_TOOL} input_schema{{*}} description eager_input_streaming",
    "bash_20241022 bash_20250124 memory_20250818": _TOOL,
    "text_editor_20241022 text_editor_20250124 text_editor_20250429 text_editor_20250728": f"{_TOOL} max_characters",
    "computer_20241022 computer_20250124 computer_20251124": _SCREEN,
    "browser_toolset_20260801 computer_toolset_20260801": f"{_CACHE} configs{{*}}",
}
_RUN: Final = (
    "code_execution_20250522 code_execution_20250825 code_execution_20260120 code_execution_20260521 "
    "web_search_20250305 web_search_20260209 web_search_20260318 web_fetch_20250910 web_fetch_20260209 "
    "web_fetch_20260309 web_fetch_20260318 advisor_20260301 tool_search_tool_bm25_20251119 tool_search_tool_bm25 "
    "tool_search_tool_regex_20251119 tool_search_tool_regex mcp_toolset"
)
# The latter are held for, or refused, by their type.
_TOOLS = Kinds({**_CLIENT, _RUN: ANYTHING})
_BROUGHT = Kinds(_CLIENT, refused=dict.fromkeys(_RUN.split(), _HOSTED))
BROUGHT = Brought("tool_addition", _RUN.split())
_CHANGE = Inside(
    f"type {_CACHE}",
    inside={
        "tool": Kinds(
            {
                "tool_reference": "name",
                "mcp_tool_reference mcp_toolset_reference": "name server_name",
                "tool_definition": Inside("type", inside={"definition": _BROUGHT}),
            }
        )
    },
)

# ---- blocks


class _Blocks(Kinds):
    """Blocks may hold blocks: results of tools, documents."""

    def __init__(self) -> None:
        super().__init__({})
        citations = Inside(
            "enabled type=char_location|page_location|content_block_location|web_search_result_location|"
            "search_result_location cited_text document_index document_title file_id title url source encrypted_index "
            "start_char_index end_char_index start_page_number end_page_number start_block_index end_block_index "
            "search_result_index"
        )
        image = Kinds({"base64": "data media_type", "url": "url", "file": "file_id"})
        document = Kinds(
            {
                "base64 text": "data media_type",
                "url": "url",
                "file": "file_id",
                "content": Inside("type", inside={"content": self}),
            }
        )
        own: dict[str, Table] = {"content": self, "citations": citations}
        kinds: dict[str, str | Inside] = {
            "text": Inside(f"type text {_CACHE}", inside=own),
            "image": Inside(f"type {_CACHE} transformations{{oversized_image}}", inside={"source": image}),
            "document": Inside(f"type {_CACHE} context title", inside={"source": document, "citations": citations}),
            "search_result": Inside(f"type {_CACHE} source title", inside=own),
            "thinking": "thinking signature",
            "redacted_thinking": "data",
            "tool_use server_tool_use": f"id input{{*}} name {_CALLER} toolset_name",
            "mcp_tool_use": "id input{*} name server_name",
            "tool_result mcp_tool_result": Inside(f"type tool_use_id {_CACHE} is_error toolset_name", inside=own),
            "web_search_tool_result web_fetch_tool_result advisor_tool_result code_execution_tool_result "
            "bash_code_execution_tool_result text_editor_code_execution_tool_result tool_search_tool_result": Inside(
                f"type tool_use_id {_CACHE} {_CALLER}", inside={"content": _results(self)}
            ),
            "tool_reference": "tool_name",
            "browser_state": "tabs{tab_id title url active} "
            "state_changes{type=tab_opened|download_started|download_completed|download_failed tab_id "
            "download_id url path size_bytes error}",
            "container_upload": "file_id",
            "compaction": Inside(
                f"type {_CACHE} content encrypted_content signature",
                inside={"tool_changes": Kinds({"tool_addition tool_removal": _CHANGE})},
            ),
            "tool_addition tool_removal": _CHANGE,
            "mcp_tool_listing": "mcp_server_name tools{name description input_schema{*}}",
            "fallback": "from{model} to{model} trigger{*}",
        }
        self.kinds |= Kinds(kinds, common=_CACHE).kinds


def _results(blocks: Kinds) -> Kinds:
    """What tools that the provider runs have answered."""
    outputs = "content{type=code_execution_output|bash_code_execution_output file_id}"
    return Kinds(
        {
            "web_search_tool_result_error web_fetch_tool_result_error advisor_tool_result_error "
            "code_execution_tool_result_error bash_code_execution_tool_result_error "
            "text_editor_code_execution_tool_result_error tool_search_tool_result_error": "error_code error_message",
            "web_search_result": "encrypted_content title url page_age",
            "web_fetch_result": Inside("type url retrieved_at", inside={"content": blocks}),
            "advisor_result": "text stop_reason",
            "advisor_redacted_result": "encrypted_content stop_reason",
            "code_execution_result bash_code_execution_result": f"{outputs} return_code stderr stdout",
            "encrypted_code_execution_result": f"{outputs} encrypted_stdout return_code stderr",
            "text_editor_code_execution_view_result": "content file_type num_lines start_line total_lines",
            "text_editor_code_execution_create_result": "is_file_update",
            "text_editor_code_execution_str_replace_result": "lines new_lines new_start old_lines old_start",
            "tool_search_tool_search_result": "tool_references{type=tool_reference tool_name "
            "cache_control{type=ephemeral ttl}}",
        }
    )


BLOCKS = _Blocks()
"""Blocks of what a message, or the system, says."""

# ---- the request

_EFFORT: Final = (
    "effort format{type=json_schema schema{*} name description strict} task_budget{type=tokens total remaining}"
)
_THINKING: Final = (
    "thinking{type=enabled|disabled|between_tools|adaptive budget_tokens display "
    "block_binding{prefix_mismatch_behavior}}"
)

MESSAGES = Inside(
    f"{_CACHE} {_THINKING} output_config{{{_EFFORT}}} output_format{{type=json_schema schema{{*}} name "
    "description strict} "
    "metadata{*} tool_choice{type=auto|any|tool|none name disable_parallel_tool_use} diagnostics{previous_message_id} "
    # Held for, or refused, by their names.
    "container{*} context_management{*} compaction{*} fallbacks{*} fallback_credit_token{*} billing_policy{*} "
    "mcp_servers{*} thread{*}",
    inside={
        "messages": Inside("role clear_at output_config{effort}", inside={"content": BLOCKS}),
        "system": BLOCKS,
        "tools": _TOOLS,
    },
    every=True,
)
"""A request for a message."""
