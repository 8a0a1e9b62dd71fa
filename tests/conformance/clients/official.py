"""The providers' own Python SDKs. OpenAI's serves those who speak its dialect and have no SDK of their own.

Runs the newest and the oldest that is still common: where the two differ, the newer way is tried first.
"""

from __future__ import annotations

import base64
import io
import wave
from typing import Any

from talk import Job, serve

QUESTION = [{"role": "user", "content": "Say hello"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = [{"role": "user", "content": "How is the weather in Paris?"}]
TOOL = {"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": PARAMETERS}}
TEXTS = ["one text", "another"]
PDF = b"%PDF-1.4 1 0 obj<</Type/Pages/Count 2>>endobj 2 0 obj<</Type/Page>>endobj 3 0 obj<</Type /Page>>endobj"
VOICE = "JBFqnCBsd6RMkjVDRZzb"


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
        case "stream counted":
            counted: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
            return list(chat.create(model=model, messages=QUESTION, max_tokens=64, **counted))
        case "tools":
            return chat.create(model=model, messages=WEATHER, max_tokens=64, tools=[TOOL])
        case "responses":
            return client.responses.create(model=model, input="Say hello", max_output_tokens=64)
        case "responses stream":
            return list(client.responses.create(model=model, input="Say hello", max_output_tokens=64, stream=True))
        case "completions":
            return client.completions.create(model=model, prompt="def f(", max_tokens=64)
        case "embeddings":
            return client.embeddings.create(model=model, input=TEXTS)
        case "speech":
            return client.audio.speech.create(model=model, voice="alloy", input="Hello").content
        case "transcription":
            return client.audio.transcriptions.create(model=model, file=("a.wav", sound(), "audio/wav"))
        case "transcription stream":
            file = ("a.wav", sound(), "audio/wav")
            return list(client.audio.transcriptions.create(model=model, file=file, stream=True))
        case "translation":
            return client.audio.translations.create(model=model, file=("a.wav", sound(), "audio/wav"))
        case "images":
            return client.images.generate(model=model, prompt="a fox", size="1024x1024", quality="low")
        case "images stream":
            asked: dict[str, Any] = {"size": "1024x1024", "quality": "low", "partial_images": 1}
            return list(client.images.generate(model=model, prompt="a fox", stream=True, **asked))
        case "images edit":
            files = [("a.png", b"not a picture", "image/png"), ("b.png", b"nor this", "image/png")]
            return client.images.edit(model=model, image=files, prompt="a fox", size="1024x1024", quality="low")
    raise ValueError(job["operation"])


def _anthropic(job: Job) -> Any:
    import anthropic

    messages = anthropic.Anthropic(base_url=job["url"], api_key=job["key"]).messages
    model = job["model"]
    match job["operation"]:
        case "chat" | "messages":
            return messages.create(model=model, max_tokens=64, messages=QUESTION)
        case "stream" | "messages stream":
            return list(messages.create(model=model, max_tokens=64, messages=QUESTION, stream=True))
        case "tools":
            tool = {"name": "weather", "description": "The weather", "input_schema": PARAMETERS}
            return messages.create(model=model, max_tokens=64, messages=WEATHER, tools=[tool])
    raise ValueError(job["operation"])


def _cerebras(job: Job) -> Any:
    from cerebras.cloud.sdk import Cerebras

    client = Cerebras(base_url=job["url"], api_key=job["key"], warm_tcp_connection=False)
    chat = client.chat.completions
    model = job["model"]
    match job["operation"]:
        case "chat":
            return chat.create(model=model, messages=QUESTION, max_completion_tokens=64)
        case "stream":
            return list(chat.create(model=model, messages=QUESTION, max_completion_tokens=64, stream=True))
        case "tools":
            return chat.create(model=model, messages=WEATHER, max_completion_tokens=64, tools=[TOOL])
        case "completions":
            return client.completions.create(model=model, prompt="Once", max_tokens=64)
    raise ValueError(job["operation"])


def _mistral(job: Job) -> Any:
    try:
        from mistralai.client import Mistral
    except ImportError:
        from mistralai import Mistral

    client = Mistral(server_url=job["url"], api_key=job["key"])
    model = job["model"]
    match job["operation"]:
        case "chat":
            return client.chat.complete(model=model, messages=QUESTION, max_tokens=64)
        case "stream":
            return [event.data for event in client.chat.stream(model=model, messages=QUESTION, max_tokens=64)]
        case "tools":
            return client.chat.complete(model=model, messages=WEATHER, max_tokens=64, tools=[TOOL])
        case "embeddings":
            return client.embeddings.create(model=model, inputs=TEXTS)
        case "ocr":
            page = "data:application/pdf;base64," + base64.b64encode(PDF).decode()
            return client.ocr.process(model=model, document={"type": "document_url", "document_url": page})
        case "speech":
            return client.audio.speech.complete(model=model, input="Hello", voice_id="a-voice")
        case "speech stream":
            spoken = client.audio.speech.complete(model=model, input="Hello", voice_id="a-voice", stream=True)
            return [event.data for event in spoken]
        case "transcription":
            return client.audio.transcriptions.complete(model=model, file=_named_sound())
        case "transcription stream":
            return [event.data for event in client.audio.transcriptions.stream(model=model, file=_named_sound())]
        case "fim":
            return client.fim.complete(model=model, prompt="def f(", suffix="return x", max_tokens=64)
    raise ValueError(job["operation"])


def _named_sound() -> Any:
    return {"file_name": "a.wav", "content": sound(), "content_type": "audio/wav"}


def _google(job: Job) -> Any:
    from google import genai

    client = genai.Client(api_key=job["key"], http_options={"base_url": job["url"]})  # it closes when it is let go
    models = client.models
    model, config = job["model"], {"max_output_tokens": 64}
    match job["operation"]:
        case "chat":
            return _said(models.generate_content(model=model, contents="Say hello", config=config))
        case "stream":
            chunks = models.generate_content_stream(model=model, contents="Say hello", config=config)
            return [_said(chunk) for chunk in chunks]
        case "tools":
            function = {"name": "weather", "description": "The weather", "parameters": _upper(PARAMETERS)}
            more = {"tools": [{"function_declarations": [function]}]}
            question = "How is the weather in Paris?"
            return _said(models.generate_content(model=model, contents=question, config=config | more))
        case "embeddings":
            return _said(models.embed_content(model=model, contents=TEXTS))
    raise ValueError(job["operation"])


def _said(answer: Any) -> Any:
    """The SDK adds its transport's headers to every answer; what the model said is the rest."""
    if hasattr(answer, "sdk_http_response"):
        answer.sdk_http_response = None
    return answer


def _upper(schema: Any) -> Any:
    """A JSON schema with types as Google spells them."""
    if isinstance(schema, dict):
        return {name: value.upper() if name == "type" else _upper(value) for name, value in schema.items()}
    return schema


def _cohere(job: Job) -> Any:
    import cohere

    client = cohere.ClientV2(api_key=job["key"], base_url=job["url"])
    model = job["model"]
    match job["operation"]:
        case "chat":
            return client.chat(model=model, messages=QUESTION, max_tokens=64)
        case "stream":
            return list(client.chat_stream(model=model, messages=QUESTION, max_tokens=64))
        case "tools":
            return client.chat(model=model, messages=WEATHER, max_tokens=64, tools=[TOOL])
        case "embeddings":
            return client.embed(model=model, texts=TEXTS, input_type="search_query", embedding_types=["float"])
        case "rerank":
            return client.rerank(model=model, query="a city", documents=["Paris", "a cat"])
    raise ValueError(job["operation"])


def _elevenlabs(job: Job) -> Any:
    from elevenlabs import ElevenLabs

    client = ElevenLabs(api_key=job["key"], base_url=job["url"])
    model = job["model"]
    match job["operation"]:
        case "speech":
            return b"".join(client.text_to_speech.convert(voice_id=VOICE, text="Hello", model_id=model))
        case "speech stream":
            return list(client.text_to_speech.stream_with_timestamps(voice_id=VOICE, text="Hello", model_id=model))
        case "speech timed":
            return client.text_to_speech.convert_with_timestamps(voice_id=VOICE, text="Hello", model_id=model)
        case "dialogue":
            lines = [{"text": "Hello", "voice_id": VOICE}, {"text": "Goodbye", "voice_id": VOICE}]
            return b"".join(client.text_to_dialogue.convert(inputs=lines, model_id=model))
        case "sounds":
            return b"".join(client.text_to_sound_effects.convert(text="rain", duration_seconds=1))
        case "music":
            return b"".join(client.music.compose(prompt="a song", music_length_ms=10_000))
        case "voice changer":
            return b"".join(client.speech_to_speech.convert(voice_id=VOICE, audio=sound(), model_id=model))
        case "isolation":
            return b"".join(client.audio_isolation.convert(audio=sound()))
        case "transcription":
            return client.speech_to_text.convert(model_id=model, file=sound())
    raise ValueError(job["operation"])


def _deepgram(job: Job) -> Any:
    try:
        from deepgram.environment import DeepgramClientEnvironment
    except ImportError:
        return _deepgram_before_5(job)
    from deepgram import DeepgramClient

    url = job["url"]
    place = DeepgramClientEnvironment(base=url, production=url.replace("http", "ws"), agent=url, agent_rest=url)
    client = DeepgramClient(api_key=job["key"], environment=place)
    match job["operation"]:
        case "speech":
            return b"".join(client.speak.v1.audio.generate(text="Hello", model=job["model"]))
        case "transcription":
            return client.listen.v1.media.transcribe_file(request=sound(), model=job["model"])
        case "reading":
            return client.read.v1.text.analyze(request={"text": "A text to read."}, summarize="v2", topics=True)
    raise ValueError(job["operation"])


def _deepgram_before_5(job: Job) -> Any:
    from deepgram import DeepgramClient, DeepgramClientOptions, PrerecordedOptions, SpeakOptions

    client = DeepgramClient(job["key"], DeepgramClientOptions(url=job["url"]))
    match job["operation"]:
        case "speech":
            spoken = client.speak.rest.v("1").stream_memory({"text": "Hello"}, SpeakOptions(model=job["model"]))
            return spoken.stream.getvalue()
        case "transcription":
            options = PrerecordedOptions(model=job["model"])
            return client.listen.rest.v("1").transcribe_file({"buffer": sound()}, options).to_dict()
    raise ValueError(job["operation"])


def sound() -> bytes:
    """A second of silence: WAV, 8,000 samples of 16 bits."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 8000, 8000, "NONE", ""))
        file.writeframes(bytes(16000))
    return out.getvalue()


_OWN = {
    "anthropic": _anthropic,
    "cerebras": _cerebras,
    "mistral": _mistral,
    "google": _google,
    "cohere": _cohere,
    "elevenlabs": _elevenlabs,
    "deepgram": _deepgram,
}


def run(job: Job) -> Any:
    """One call."""
    if job["operation"].startswith("messages"):
        return _anthropic(job)
    if job["operation"].startswith("openai "):
        return _openai({**job, "operation": job["operation"].removeprefix("openai ")})
    return _OWN.get(job["provider"], _openai)(job)


if __name__ == "__main__":
    serve(run)
