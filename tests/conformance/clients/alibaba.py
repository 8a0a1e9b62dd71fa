"""Alibaba's own SDK, which speaks DashScope's own API. It never raises: what it is refused, it answers with a code."""

from __future__ import annotations

import json
from typing import Any

import dashscope
from talk import Job, serve

QUESTION = [{"role": "user", "content": "Say hello"}]
PICTURED = [{"role": "user", "content": [{"text": "Say hello"}]}]
WEATHER = [{"role": "user", "content": "How is the weather in Paris?"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": PARAMETERS}}


def _read(answer: Any) -> Any:
    """What it says; a code that is an error, as one."""
    if answer.status_code != 200:
        raise type(answer.code, (Exception,), {"status_code": answer.status_code})(answer.message)
    told = json.loads(str(answer))
    told.pop("request_id")
    return told


def run(job: Job) -> Any:
    """One call."""
    dashscope.base_http_api_url = f"{job['url']}/api/v1"
    asked: dict[str, Any] = {"model": job["model"], "api_key": job["key"]}
    chat: dict[str, Any] = asked | {"max_tokens": 64, "result_format": "message"}
    match job["operation"]:
        case "chat":
            return _read(dashscope.Generation.call(messages=QUESTION, **chat))
        case "prompt":
            return _read(dashscope.Generation.call(prompt="Say hello", max_tokens=64, **asked))
        case "stream":
            return [_read(each) for each in dashscope.Generation.call(messages=QUESTION, stream=True, **chat)]
        case "stream in pieces":
            pieces = dashscope.Generation.call(messages=QUESTION, stream=True, incremental_output=True, **chat)
            return [_read(each) for each in pieces]
        case "tools":
            return _read(dashscope.Generation.call(messages=WEATHER, tools=[TOOL], **chat))
        case "multimodal":
            return _read(dashscope.MultiModalConversation.call(messages=PICTURED, max_tokens=64, **asked))
        case "embeddings":
            return _read(dashscope.TextEmbedding.call(input=["one text", "another"], dimension=64, **asked))
    raise ValueError(job["operation"])


if __name__ == "__main__":
    serve(run)
