"""Nothing that is asked of the simulator raises, and what is short work to it is short."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest

from providers.simulator import Faults, answer, is_long_work

REQUESTS = 6_000
SHORT_S = 2.0  # of processor time; not a measurement, but what has no bound at all takes longer
PATHS = {
    "openai": "chat/completions completions responses responses/compact responses/input_tokens embeddings audio/speech "
    "images/generations images/edits moderations batches conversations files audio/transcriptions",
    "anthropic": "messages messages/count_tokens messages/batches chat/completions",
    "google": "x:generateContent x:streamGenerateContent x:countTokens x:embedContent x:batchEmbedContents "
    "chat/completions",
    "cohere": "chat embed rerank tokenize detokenize chat/completions",
    "deepgram": "listen speak read",
    "elevenlabs": "text-to-speech/x text-to-speech/x/with-timestamps text-to-dialogue sound-generation music "
    "speech-to-text speech-to-speech/x audio-isolation",
    "minimax": "t2a_v2 text/chatcompletion_v2",
    "mistral": "ocr fim/completions audio/speech audio/transcriptions moderations batch/jobs embeddings",
    "xai": "images/generations tokenize-text chat/completions",
    "qwen": "chat/completions aigc/text-generation/generation aigc/multimodal-generation/generation "
    "embeddings/text-embedding/text-embedding",
}
GOOD: dict[str, Any] = {
    "model": "m", "messages": [{"role": "user", "content": "hi"}], "input": "hi", "text": "hi", "prompt": "hi",
    "contents": [{"parts": [{"text": "hi"}]}], "max_tokens": 9, "documents": ["a"], "query": "q", "texts": ["a"],
    "document": {"type": "document_url", "document_url": "x"},
    "requests": [{"custom_id": "1", "params": {"model": "m", "max_tokens": 5, "messages": []}}],
}  # fmt: skip
NAMES = (
    "enable_thinking incremental_output result_format prompt dimension "
    "extra_body thinking reasoning_effort google thinking_config thinking_budget budget_tokens "
    "audio candidateCount composition_plan content conversation dimensions documents duration_ms duration_seconds "
    "encoding_format endpoint file function generationConfig image_url images input input_audio input_file_id "
    "inputs instructions items language logprobs maxOutputTokens max_output_tokens max_tokens messages metadata "
    "model music_length_ms n outputDimensionality output_dimension pages parameters partial_images parts prompt "
    "quality query reasoning requests response_format role sections size speed stop stream stream_options suffix "
    "system text texts thinking tokens tool_choice tools top_logprobs top_n type voice"
)
ODD = (0, -1, 1, 2.5, 10**9, 10**30, -(10**30), 1e308, None, True, "", "x", "9" * 400, "²", "user", [], {}, [[]], [{}],
       {"a": {}}, [1, 2], "data:application/pdf;base64,AAAA")  # fmt: skip
QUERIES = ("", "", "?output_format=pcm_16000", "?multichannel=true", "?alt=sse", "?encoding=linear16&sample_rate=9",
           "?limit=x", "?output_format=²", "?sample_rate=99999999999&encoding=linear16")  # fmt: skip
FAULTS = ("", "", "", "usage=missing", "usage=absurd", "usage=negative", "stream=on", "stream=off", "web_searches=3")
PARTS = (b"", b"9999999999", b"RIFF", b"batch", b'{"a":1}', b"\xff\xfe")


class Dice(random.Random):
    def value(self, depth: int = 0) -> Any:
        lot = self.random()
        if lot < 0.6 or depth > 3:
            return self.choice(ODD)
        if lot < 0.8:
            return [self.value(depth + 1) for _ in range(self.randint(0, 3))]
        return {self.choice(NAMES.split()): self.value(depth + 1) for _ in range(self.randint(0, 4))}

    def body(self) -> bytes:
        if self.random() < 0.05:
            return self.choice((b"", b"null", b"[]", b"1", b'"x"', b"\xff", b"[" * 5_000))
        good = {name: value for name, value in GOOD.items() if self.random() < 0.8}
        if self.random() < 0.2:  # as DashScope has it
            good |= {"input": {"messages": GOOD["messages"], "texts": ["a"], self.choice(NAMES.split()): self.value()}}
            good |= {"parameters": {self.choice(NAMES.split()): self.value() for _ in range(self.randint(0, 3))}}
        return json.dumps(good | {self.choice(NAMES.split()): self.value() for _ in range(self.randint(0, 4))}).encode()

    def form(self) -> bytes:
        made = b""
        for _ in range(self.randint(0, 4)):
            name = self.choice((b"file", b"model", b"purpose", b"n", b"\xff"))
            head = b'Content-Disposition: form-data; name="%b"%b' % (name, self.choice((b"", b'; filename="a"')))
            made += b"--b\r\n%b\r\n\r\n%b\r\n" % (head, self.choice(PARTS))
        return made + b"--b--\r\n"


@pytest.mark.parametrize("provider", PATHS)
def test_nothing_raises_and_nothing_short_is_long(provider: str) -> None:
    """Thousands of requests, good but for something: each has an answer, and soon if it is said to be short work."""
    dice = Dice(provider)
    for _ in range(REQUESTS // len(PATHS)):
        end = dice.choice(PATHS[provider].split())
        root = "/v1beta/models/" if provider == "google" else "/v2/" if provider == "cohere" else "/v1/"
        root = "/api/v1/services/" if provider == "qwen" and "chat" not in end else root
        path = root + end + dice.choice(QUERIES)
        is_form = "transcriptions" in end or "speech-to" in end or "edits" in end or dice.random() < 0.05
        body = dice.form() if is_form else dice.body()
        headers = {"content-type": "multipart/form-data; boundary=b" if is_form else "application/json"}
        headers |= {"anthropic-version": "2023-06-01"} if provider == "anthropic" else {}
        method, faults = dice.choice(("POST", "POST", "POST", "GET", "DELETE")), Faults.parse(dice.choice(FAULTS))
        started = time.process_time()
        made = answer(method, path, headers, body, provider=provider, faults=faults, request_id="r", now_s=1)
        size = sum(len(step) for step in made.steps if isinstance(step, bytes))
        told = (method, path, body)
        assert 200 <= made.status < 600, told
        if not is_long_work(path, body, faults):
            assert time.process_time() - started < SHORT_S, told
            assert size < 20_000_000, told
