"""The providers' own Python SDKs. OpenAI's serves those who speak its dialect and have no SDK of their own."""

from __future__ import annotations

from typing import Any

from talk import Job, serve

QUESTION = [{"role": "user", "content": "Say hello"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = [{"role": "user", "content": "How is the weather in Paris?"}]
TOOL = {"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": PARAMETERS}}
TEXTS = ["one text", "another"]


def _openai(job: Job) -> Any:
    import openai

    client = openai.OpenAI(base_url=f"{job['url']}/v1", api_key=job["key"])
    model = job["model"]
    chat = client.chat.completions
    match job["operation"]:
        case "chat":
            return chat.create(model=model, messages=QUESTION, max_tokens=64)
        case "stream":
            return list(chat.create(model=model, messages=QUESTION, max_tokens=64, stream=True))
        case "tools":
            return chat.create(model=model, messages=WEATHER, max_tokens=64, tools=[TOOL])
        case "responses":
            return client.responses.create(model=model, input="Say hello", max_output_tokens=64)
        case "responses stream":
            return list(client.responses.create(model=model, input="Say hello", max_output_tokens=64, stream=True))
        case "embeddings":
            return client.embeddings.create(model=model, input=TEXTS)
    raise ValueError(job["operation"])


def _anthropic(job: Job) -> Any:
    import anthropic

    messages = anthropic.Anthropic(base_url=job["url"], api_key=job["key"]).messages
    model = job["model"]
    match job["operation"]:
        case "chat":
            return messages.create(model=model, max_tokens=64, messages=QUESTION)
        case "stream":
            return list(messages.create(model=model, max_tokens=64, messages=QUESTION, stream=True))
        case "tools":
            tool = {"name": "weather", "description": "The weather", "input_schema": PARAMETERS}
            return messages.create(model=model, max_tokens=64, messages=WEATHER, tools=[tool])
    raise ValueError(job["operation"])


_OWN = {"anthropic": _anthropic}


def run(job: Job) -> Any:
    """One call."""
    return _OWN.get(job["provider"], _openai)(job)


if __name__ == "__main__":
    serve(run)
