"""What may stand inside of a realtime socket's messages; see `reading.inside`. Source: the types of openai 3.57.

In the words of today and of the first version. xAI speaks them, too.
"""

from __future__ import annotations

from typing import Final

from providers.reading.inside import Inside, Kinds, Table

_PARTS = Kinds(
    dict.fromkeys(
        ("text input_text output_text", "input_audio audio output_audio", "input_image"),
        "text audio transcript image_url detail format",
    )
)
_ERROR: Final = "error{type=protocol_error|tool_execution_error|http_error code message}"

ITEM = Kinds(
    {
        "message": "role content",
        "item_reference": "",
        "function_call": "arguments name call_id",
        "function_call_output": "call_id output",
        "mcp_approval_response": "approval_request_id approve reason",
        "mcp_approval_request": "arguments name server_label",
        "mcp_list_tools": "server_label tools{name description input_schema{*} annotations{*}}",
        "mcp_call": f"arguments name server_label approval_request_id output {_ERROR}",
    },
    common="id object status",
    inside={"content": _PARTS},
)
"""An item of the conversation."""

_TOOLS = Kinds(
    {
        " function": "name description parameters{*}",
        "mcp": "server_label allowed_callers allowed_tools{read_only tool_names} authorization connector_id "
        "defer_loading headers{*} require_approval{always{read_only tool_names} never{read_only tool_names}} "
        "server_description server_url tunnel_id",
        "tool_search": "*",
    }
)
_FORMAT: Final = "format{type=audio/pcm|audio/pcmu|audio/pcma rate}"
_HEARD: Final = "{delay keywords language languages model prompt}"
_TURNS: Final = (
    "{type=server_vad|semantic_vad create_response idle_timeout_ms interrupt_response prefix_padding_ms "
    "silence_duration_ms threshold "
    "eagerness}"
)
_NOISE: Final = "{strength type=near_field|far_field}"
_SHARED: Final = (
    "prompt{id version variables{*}} reasoning{effort} tool_choice{type=function|mcp name server_label} metadata{*}"
)

SESSION: dict[str, Table] = Inside(
    f"{_SHARED} audio{{input{{{_FORMAT} noise_reduction{_NOISE} transcription{_HEARD} turn_detection{_TURNS}}} "
    f"output{{{_FORMAT} speed voice{{id}}}}}} voice{{id}} input_audio_transcription{_HEARD} "
    f"input_audio_noise_reduction{_NOISE} turn_detection{_TURNS} tracing{{group_id metadata{{*}} workflow_name}} "
    "truncation{type=retention_ratio retention_ratio token_limits{post_instructions}}",
    inside={"tools": _TOOLS},
).tables
"""Inside of a session."""

RESPONSE: dict[str, Table] = Inside(
    f"{_SHARED} audio{{output{{{_FORMAT} voice{{id}}}}}} voice{{id}}", inside={"tools": _TOOLS, "input": ITEM}
).tables
"""Inside of a response that is asked for."""
