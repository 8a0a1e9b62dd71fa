"""What may stand inside of DashScope's own requests; see `reading.inside`. Source: dashscope 2.0's SDK.

A part of a message is told by its member's name: a picture that is in the request is measured, what lies elsewhere
takes the model's window.
"""

from __future__ import annotations

from providers.qwen import fields
from providers.reading.inside import Inside, Kinds

_PART = Inside("text image audio video fps min_pixels max_pixels total_pixels cache_control{type ttl}")
_CALLS = Kinds({" function": "function{name arguments}"}, common="id index")
_MESSAGE = Inside("role name tool_call_id partial reasoning_content", inside={"content": _PART, "tool_calls": _CALLS})
_TOOLS = Kinds({"function": "function{name description parameters{*} strict}"})
_PARAMETERS = Inside(
    "tool_choice{type function{name}} response_format{type json_schema{*}} search_options{*} plugins{*}",
    names=fields.PARAMETERS,
    inside={"tools": _TOOLS},
)

GENERATION = Inside(
    inside={"input": Inside("prompt history{user bot}", inside={"messages": _MESSAGE}), "parameters": _PARAMETERS},
    every=True,
)
"""Text, from a prompt or from messages."""

EMBEDDING = Inside("input{texts} parameters{text_type dimension output_type instruct}", every=True)
"""Vectors of texts."""
