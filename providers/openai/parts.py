"""What may stand inside of OpenAI's requests, and of the vendors' who speak as it does; see `reading.inside`.

Of chat, completions and Responses; realtime's are in `realtime_parts`. A part that its table lists and that `input`
does not measure (what lies elsewhere, a video) takes the model's window.
Source: the types of openai 3.57, mistralai 3.7, cerebras 1.91; the vendors' documentation [K].
"""

from __future__ import annotations

from typing import Final

from providers.openai.hosted import BY_RUN, IN_TOKENS
from providers.reading.inside import ANYTHING, Brought, Inside, Kinds

_CACHES: Final = "prompt_cache_breakpoint{mode ttl} cache_control{type=ephemeral ttl}"
_PAGES: Final = "its pages are read for a price of their own, and how many there are is not in the request."
_HOSTED: Final = "a tool that the provider runs is not held for where the conversation brings it."
_BESIDE: Final = "what it makes the provider write is beside the answer, and no limit holds for it."
_PICTURE: Final = "a picture that the provider keeps, or that lies elsewhere, is not held for in this place."

# ---- chat

_SAID = Kinds({"text": "text", "reference": "reference_ids", "tool_reference": "tool title url favicon description"})

_RESOURCE = Kinds({"text": "text", "image_url": "image_url{url detail}"})

CHAT_PARTS = Kinds(
    {
        "text": "text",
        "refusal": "refusal",
        # Pixels: Qwen's.
        "image_url": "image_url{url detail} detail min_pixels max_pixels total_pixels",
        "image": "image",  # Cerebras
        "input_audio": "input_audio{data format}",
        "file": "file{file_data file_id filename} file_id",
        # Kimi, Qwen
        "video_url": "video_url{url fps} fps min_pixels max_pixels total_pixels",
        "video": "video fps min_pixels max_pixels total_pixels",
        # Mistral
        "reference": "reference_ids",
        "resource_link": "uri metadata{*}",
        "resource": Inside("type uri", inside={"content": _RESOURCE}),
        "thinking": Inside(f"type signature closed {_CACHES}", inside={"thinking": _SAID}),
    },
    common=_CACHES,
    refused={"document_url": _PAGES},
)
"""Parts of what a message of chat says."""

_CALLS = Kinds(
    {
        " function builtin_function": "function{name arguments{*}}",  # the second is Kimi's
        "custom": "custom{name input}",
    },
    common="id index extra_content{google{thought thought_signature}}",
)
_CITATION = "url_citation{end_index start_index title url}"

MESSAGES = Inside(
    # What an answer's message holds is sent back as it came; what follows `prefix` is other vendors'.
    "role name refusal tool_call_id audio{id data expires_at transcript} function_call{name arguments} "
    f"annotations{{type=url_citation {_CITATION}}} prefix partial reasoning_content encrypted_content "
    "reasoning_details{type id index format text summary data signature} "
    f"extra_content{{google{{thought thought_signature}}}} {_CACHES}",
    inside={"content": CHAT_PARTS, "tool_calls": _CALLS, "reasoning": Kinds({"text": "text"})},
)

_JSON_SCHEMA = "name description schema{*} strict"
_GRAMMAR = "definition syntax grammar{definition syntax}"
# Tools that are held for, or refused, by their type.
_HOSTED_KINDS = (
    *BY_RUN,
    *IN_TOKENS,
    "code_interpreter",
    "image_generation",
    "shell",
    "builtin_function",
    "connector",
    "document_library",
)
_RUN: dict[str, str | Inside] = dict.fromkeys(_HOSTED_KINDS, ANYTHING)

_CHAT_TOOLS = Kinds(
    {
        "function": f"function{{name description parameters{{*}} strict}} {_CACHES}",
        "custom": f"custom{{name description format{{type=text|grammar {_GRAMMAR}}}}}",
        **_RUN,
    }
)
_MODERATION = "moderation{model policy{input{mode} output{mode}}}"
_SHARED = (
    f"metadata{{*}} {_MODERATION} prompt_cache_options{{comparison_response_id mode prewarm ttl}} "
    "stream_options{include_usage include_obfuscation} search_parameters{*} guardrails{*}"
)

CHAT = Inside(
    f"{_SHARED} logit_bias{{*}} audio{{format voice{{id}}}} function_call{{name}} documents{{*}} plugins{{*}} "
    "functions{name description parameters{*}} web_search_options{*} "
    "thinking{type=enabled|disabled|adaptive|auto budget_tokens keep} "
    "tool_choice{type=function|custom|allowed_tools name function{name} custom{name} allowed_tools{mode "
    "tools{*}}} search_options{*} "
    "translation_options{source_lang target_lang domains terms{source target} tm_list{source target}}",
    inside={
        "messages": MESSAGES,
        "tools": _CHAT_TOOLS,
        "prediction": Inside("type=content", inside={"content": CHAT_PARTS}),
        "response_format": Kinds({"text json_object json_schema": f"json_schema{{{_JSON_SCHEMA}}} schema{{*}}"}),
    },
    every=True,
)
"""A request for a chat, or for a completion of older days."""

# ---- Responses

_INPUT_PARTS = Kinds(
    {
        "text input_text summary_text reasoning_text": "text",
        "output_text": "text annotations{type=file_citation|url_citation|container_file_citation|file_path "
        "file_id filename index container_id start_index end_index title url} "
        "logprobs{token bytes logprob top_logprobs{token bytes logprob}}",
        "refusal": "refusal",
        "input_image computer_screenshot": "detail file_id image_url",
        "input_file": "detail file_data file_id file_url filename",
        "input_audio": "input_audio{data format}",
    },
    common=_CACHES,
)

_FUNCTION = "name description parameters{*} strict async allowed_callers defer_loading output_schema{*}"
_CUSTOM = f"name description format{{type=text|grammar {_GRAMMAR}}} async allowed_callers defer_loading"
_CLIENT: dict[str, str | Inside] = {
    "function": _FUNCTION,
    "custom": _CUSTOM,
    "computer local_shell programmatic_tool_calling": "",
    "computer_use_preview": "display_height display_width environment",
    "apply_patch": "allowed_callers",
    "namespace": Inside("type name description", inside={"tools": Kinds({"function": _FUNCTION, "custom": _CUSTOM})}),
}
_TOOLS = Kinds({**_CLIENT, **_RUN})
# Tools that come with an item of the conversation: nobody counts what those cost that the provider runs.
_BROUGHT = Kinds(_CLIENT, refused=dict.fromkeys(_RUN, _HOSTED))
BROUGHT = Brought("additional_tools tool_search_output", _RUN)

_CHECKS = "{id code message}"
_MOVES = (
    "{type=click|double_click|drag|keypress|move|screenshot|scroll|type|wait button x y keys path{x y} "
    "scroll_x scroll_y text}"
)
_CALLER = "caller{type=direct|program caller_id}"
_FORMATS = Kinds({"text json_object": "", "json_schema": _JSON_SCHEMA}, common="schema{*}")

ITEMS = Kinds(
    {
        " message": "role content status phase object",
        "item_reference": "",
        "file_search_call": "queries results{attributes{*} file_id filename score text}",
        "computer_call": f"call_id pending_safety_checks{_CHECKS} action{_MOVES} actions{_MOVES}",
        "computer_call_output": f"call_id output acknowledged_safety_checks{_CHECKS}",
        "web_search_call": "action{type=search|open_page|find_in_page queries query sources{type=url url} url pattern}",
        "function_call": f"async arguments call_id name namespace {_CALLER}",
        "function_call_output": f"call_id output name namespace {_CALLER}",
        "custom_tool_call": f"async call_id input name namespace {_CALLER}",
        "custom_tool_call_output": f"call_id output {_CALLER}",
        "tool_search_call": "arguments{*} call_id execution",
        "tool_search_output": Inside("type id status call_id execution", inside={"tools": _BROUGHT}),
        "additional_tools": Inside("type id role", inside={"tools": _BROUGHT}),
        "configuration_update": Inside(
            "type id reasoning{effort}", inside={"text": Inside(inside={"format": _FORMATS})}
        ),
        "reasoning": "summary content encrypted_content",
        "compaction": "encrypted_content",
        "image_generation_call": "result action background output_format quality revised_prompt size "
        "error{code message param type moderation_details{categories moderation_stage}} "
        "svg_usage{input_tokens model output_tokens reasoning_tokens total_tokens}",
        "code_interpreter_call": Inside(
            "type id status code container_id",
            inside={"outputs": Kinds({"logs": "logs"}, refused={"image": _PICTURE})},
        ),
        "local_shell_call": "call_id action{type=exec command env{*} timeout_ms user working_directory}",
        "local_shell_call_output": "call_id output",
        "shell_call": f"call_id action{{commands max_output_length timeout_ms}} {_CALLER} "
        "environment{type=local|container_reference container_id skills{name description path}}",
        "shell_call_output": Inside(
            f"type id status call_id max_output_length output{{stdout stderr outcome{{type=timeout|exit "
            f"exit_code}}}} {_CALLER}"
        ),
        "apply_patch_call": f"call_id operation{{type=create_file|delete_file|update_file diff path}} {_CALLER}",
        "apply_patch_call_output": f"call_id output {_CALLER}",
        "mcp_list_tools": "server_label error tools{name description input_schema{*} annotations{*}}",
        "mcp_approval_request": "arguments name server_label",
        "mcp_approval_response": "approval_request_id approve reason",
        "mcp_call": "arguments name server_label approval_request_id output "
        "error{type=mcp_protocol_error|mcp_tool_execution_error|http_error code message content{*}}",
        "program": "call_id code fingerprint",
        "program_output": "call_id result",
    },
    common="id status",
    inside={"content": _INPUT_PARTS, "output": _INPUT_PARTS, "summary": _INPUT_PARTS},
    refused={"compaction_trigger": _BESIDE},
)
"""Items of a Responses conversation."""

_CHOICE: Final = (
    "tool_choice{type=allowed_tools|file_search|web_search_preview|computer|computer_use_preview|computer_use|"
    "web_search_preview_2025_03_11|web_search|image_generation|code_interpreter|function|mcp|custom|"
    "programmatic_tool_calling|apply_patch|shell name server_label mode tools{*}}"
)

RESPONSES = Inside(
    f"{_SHARED} conversation{{id}} prompt{{*}} reasoning{{context effort generate_summary mode summary}} "
    "context_management{type compact_threshold} image{context_compression} access_programs{cyber} "
    f"background_options{{*}} {_CHOICE}",
    inside={
        "input": ITEMS,
        "instructions": ITEMS,
        "tools": _TOOLS,
        "text": Inside("verbosity", inside={"format": _FORMATS}),
    },
    every=True,
)
"""A request for an answer."""

# ---- what is no talk

EMBEDDINGS = Inside("metadata{*}", every=True)
SPEECH = Inside("voice{id}", every=True)
IMAGES = Inside("image{image_url file_id} images{image_url file_id} mask{image_url file_id} svg{*}", every=True)
"""Requests for embeddings, for speech, and, where they are no form, for pictures. Pictures that lie elsewhere, too."""
