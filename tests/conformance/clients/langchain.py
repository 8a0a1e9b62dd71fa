"""LangChain, through its integration for each provider."""

from __future__ import annotations

from typing import Any

from talk import Job, serve

QUESTION = "Say hello"
TOOL = {
    "name": "weather",
    "description": "The weather in a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def model_of(job: Job) -> Any:
    """The provider's chat model, with nothing set but where it lives, whose key and how much it may write."""
    model, url, key = job["model"], job["url"], job["key"]
    match job["provider"]:
        case "anthropic":
            from langchain_anthropic import ChatAnthropic

            return ChatAnthropic(model=model, base_url=url, api_key=key, max_tokens=64)
        case "google":
            from langchain_google_genai import ChatGoogleGenerativeAI

            return ChatGoogleGenerativeAI(model=model, base_url=url, api_key=key, max_output_tokens=64)
        case "mistral":
            from langchain_mistralai import ChatMistralAI

            return ChatMistralAI(model=model, endpoint=f"{url}/v1", api_key=key, max_tokens=64)
        case "cohere":
            from langchain_cohere import ChatCohere

            return ChatCohere(model=model, base_url=url, cohere_api_key=key, max_tokens=64)
        case "deepseek":
            from langchain_deepseek import ChatDeepSeek

            return ChatDeepSeek(model=model, api_base=f"{url}/v1", api_key=key, max_tokens=64)
        case "xai":
            from langchain_xai import ChatXAI

            return ChatXAI(model=model, xai_api_base=f"{url}/v1", xai_api_key=key, max_tokens=64)
        case "cerebras":
            from langchain_cerebras import ChatCerebras

            return ChatCerebras(model=model, cerebras_api_base=f"{url}/cerebras/v1", api_key=key, max_tokens=64)
        case _:
            from langchain_openai import ChatOpenAI

            return ChatOpenAI(model=model, base_url=f"{url}/v1", api_key=key, max_tokens=64)


def embeddings_of(job: Job) -> Any:
    """The provider's embedding model."""
    model, url, key = job["model"], job["url"], job["key"]
    match job["provider"]:
        case "google":
            from langchain_google_genai import GoogleGenerativeAIEmbeddings

            return GoogleGenerativeAIEmbeddings(model=model, base_url=url, api_key=key)
        case "mistral":
            from langchain_mistralai import MistralAIEmbeddings

            return MistralAIEmbeddings(model=model, endpoint=f"{url}/v1/", api_key=key)
        case "cohere":
            from langchain_cohere import CohereEmbeddings

            return CohereEmbeddings(model=model, base_url=url, cohere_api_key=key)
        case _:
            from langchain_openai import OpenAIEmbeddings

            # Without this it counts tokens itself, with a vocabulary that it downloads.
            return OpenAIEmbeddings(model=model, base_url=f"{url}/v1", api_key=key, check_embedding_ctx_length=False)


def told(message: Any) -> dict[str, Any]:
    """What of a message is the provider's: the rest is ids that LangChain makes."""
    calls = [{"name": call["name"], "args": call["args"]} for call in message.tool_calls]
    return {"content": message.content, "tool_calls": calls, "usage": message.usage_metadata}


def run(job: Job) -> Any:
    """One call."""
    match job["operation"]:
        case "chat":
            return told(model_of(job).invoke(QUESTION))
        case "stream":
            whole = None
            for chunk in model_of(job).stream(QUESTION):
                whole = chunk if whole is None else whole + chunk
            return {"content": whole.content, "tool_calls": []}
        case "tools":
            tool: Any = TOOL
            if job["provider"] == "cohere":  # its package takes a schema with a title
                tool = {"title": TOOL["name"], "description": TOOL["description"]} | dict(TOOL["parameters"])
            return told(model_of(job).bind_tools([tool]).invoke("How is the weather in Paris?"))
        case "embeddings":
            return embeddings_of(job).embed_documents(["one text", "another"])
    raise ValueError(job["operation"])


if __name__ == "__main__":
    serve(run)
