"""LlamaIndex, through its integration for each provider."""

from __future__ import annotations

from typing import Any

from llama_index.core.llms import ChatMessage
from talk import Job, serve

QUESTION = [ChatMessage(role="user", content="Say hello")]


def model_of(job: Job) -> Any:
    """The provider's model, with nothing set but where it lives, whose key and how much it may write."""
    model, url, key = job["model"], job["url"], job["key"]
    match job["provider"]:
        case "openai":
            from llama_index.llms.openai import OpenAI

            return OpenAI(model=model, api_base=f"{url}/v1", api_key=key, max_tokens=64)
        case "anthropic":
            from llama_index.llms.anthropic import Anthropic

            return Anthropic(model=model, base_url=url, api_key=key, max_tokens=64)
        case "google":
            from llama_index.llms.google_genai import GoogleGenAI

            # Without a context window it asks the provider for the model's first.
            options = {"base_url": url}
            return GoogleGenAI(model=model, api_key=key, max_tokens=64, context_window=100_000, http_options=options)
        case "mistral":
            from llama_index.llms.mistralai import MistralAI

            return MistralAI(model=model, api_key=key, endpoint=url, max_tokens=64)
        case "cohere":
            from llama_index.llms.cohere import Cohere

            return Cohere(model=model, api_key=key, base_url=url, max_tokens=64)
        case "deepseek":
            from llama_index.llms.deepseek import DeepSeek

            return DeepSeek(model=model, api_key=key, api_base=f"{url}/v1", max_tokens=64)
        case "cerebras":
            from llama_index.llms.cerebras import Cerebras

            return Cerebras(model=model, api_key=key, api_base=f"{url}/cerebras/v1", max_tokens=64)
        case _:
            from llama_index.llms.openai_like import OpenAILike

            return OpenAILike(model=model, api_key=key, api_base=f"{url}/v1", is_chat_model=True, max_tokens=64)


def run(job: Job) -> Any:
    """One call."""
    match job["operation"]:
        case "chat":
            answer = model_of(job).chat(QUESTION)
            return {"content": answer.message.content}
        case "stream":
            pieces = [piece.delta or "" for piece in model_of(job).stream_chat(QUESTION)]
            return {"content": "".join(pieces), "pieces": len(pieces) > 1}
        case "embeddings":
            from llama_index.embeddings.openai import OpenAIEmbedding

            embedding = OpenAIEmbedding(model_name=job["model"], api_base=f"{job['url']}/v1", api_key=job["key"])
            return embedding.get_text_embedding("one text")
    raise ValueError(job["operation"])


if __name__ == "__main__":
    serve(run)
