"""Who the providers are: one row each. A vendor is data; what it speaks is a shape, and lives elsewhere.

Promises: every fact about a vendor that is not a wire shape stands in its row, so a new vendor that speaks OpenAI's API
is a row here and nothing else. Knows nothing of settings' values, secrets or prices.
Source: providers.md §§1 and 2 (places of credentials, base URLs, what tells clients apart), api.md "Settings" and
"Providers" (names).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from providers.quirks import PLAIN, Quirks
from providers.text import words


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """One provider.

    Attributes:
        name: As it stands in events, `allowed_providers` and mounts; lower case.
        aliases: Further names that are accepted as a mount (`/grok/…` for xai).
        dialect: The error shape that its SDKs expect; a key of `gateway.errors`' table.
        setting: Suffix of the setting that moves it elsewhere: `FARTHING_UPSTREAM_<setting>`.
        origin: Where it lives unless that setting says otherwise; an origin without a path.
        path_prefix: What the upstream paths of its OpenAI-compatible operations begin with, before the version.
        key_env: Environment variable that holds our credential, by the name that its own SDK uses.
        key_header: Lower-case name of the request header that carries our credential upstream.
        key_prefix: What stands before the credential in that header ("Bearer ").
        headers: Further request headers it insists on, sent when the client sent none.
        speaks: Names of OpenAI's operations that it offers in OpenAI's shape (`providers.table.compatible`).
        quirks: What it does otherwise there.
        anthropic: What the upstream path of its Anthropic-compatible messages begins with; "" where it has none.
        models: Beginnings of model ids that are its alone, as a regular expression; "" where names tell nothing.
        clients: What its own SDKs' `user-agent` or `x-fern-sdk-name` begins with, in lower case.
        hints: Request headers, in lower case, that only its own clients send.
        passes: Request headers of its API that are forwarded; a trailing `*` is a prefix.
        returns: Response headers of its API that clients get to see; a trailing `*` is a prefix.
        roots: First path segments that are known to be its own, listed or not, or the first two. One of these without
            a version segment gets `/v1`; one of these without a listed operation is refused with 403 rather than 404.
        bare: The same of paths that begin without a version ("user/balance").
    """

    name: str
    aliases: tuple[str, ...] = ()
    dialect: str
    setting: str
    origin: str
    path_prefix: str = ""
    key_env: str
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    headers: tuple[tuple[str, str], ...] = ()
    speaks: tuple[str, ...] = ()
    quirks: Quirks = PLAIN
    anthropic: str = ""
    models: str = ""
    clients: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()
    roots: frozenset[str] = frozenset()
    bare: frozenset[str] = frozenset()


# What the SDKs of OpenAI and Anthropic send, to whichever vendor they are pointed at.
_SHARED_CLIENTS = ("anthropic-beta", "anthropic-version", "x-stainless-*")

_ROWS = (
    Vendor(
        name="openai",
        dialect="openai",
        setting="OPENAI",
        origin="https://api.openai.com",
        key_env="OPENAI_API_KEY",
        speaks=("chat.completions", "completions", "responses", "responses.stored", "embeddings", "models"),
        models=r"gpt-|o\d|chatgpt|dall-e|sora|tts-|whisper-|text-embedding-|omni-|ft:|davinci|babbage|codex-|computer-use",
        passes=("openai-beta", "x-client-request-id", "x-stainless-*"),
        returns=("openai-processing-ms", "openai-version", "openai-model", "x-ratelimit-*"),
        roots=words(
            "agents assistants audio batches chat chatkit completions containers conversations decisions embeddings "
            "engines evals files fine-tunes fine_tuning images live models moderations organization organizations "
            "projects realtime responses skills threads uploads vaults vector_stores videos"
        ),
    ),
    Vendor(
        name="anthropic",
        dialect="anthropic",
        setting="ANTHROPIC",
        origin="https://api.anthropic.com",
        key_env="ANTHROPIC_API_KEY",
        # Newer SDKs send `Authorization: Bearer`; the API takes keys in `x-api-key` from old and new alike.
        key_header="x-api-key",
        key_prefix="",
        headers=(("anthropic-version", "2023-06-01"),),
        models=r"claude-",
        hints=("anthropic-version",),
        passes=(
            "anthropic-beta",
            "anthropic-version",
            "anthropic-dangerous-direct-browser-access",
            "x-stainless-*",
        ),
        returns=("anthropic-ratelimit-*", "anthropic-priority-*"),
        roots=words(
            "agents complete deployments environments files messages models organizations sessions skills vaults"
        ),
    ),
    Vendor(
        name="google",
        aliases=("gemini",),
        dialect="google",
        setting="GOOGLE",
        origin="https://generativelanguage.googleapis.com",
        key_env="GEMINI_API_KEY",
        key_header="x-goog-api-key",
        key_prefix="",
        models=r"gemini-|gemma-|imagen|veo|learnlm|text-embedding-00|embedding-00",
        clients=("google-genai-sdk",),
        hints=("x-goog-api-key", "x-goog-api-client"),
        passes=("x-goog-api-client", "x-goog-request-params", "x-server-timeout"),
        returns=("server-timing", "x-gemini-service-tier"),
        roots=words(
            "models files batches cachedContents tunedModels interactions fileSearchStores auth_tokens corpora agents "
            "decisions voices environments triggers dynamic operations generatedFiles"
        ),
    ),
    Vendor(
        name="elevenlabs",
        dialect="elevenlabs",
        setting="ELEVENLABS",
        origin="https://api.elevenlabs.io",
        key_env="ELEVENLABS_API_KEY",
        key_header="xi-api-key",
        key_prefix="",
        models=r"eleven_|scribe_|music_v",
        clients=("elevenlabs", "@elevenlabs/"),
        hints=("xi-api-key",),
        passes=("x-fern-*",),
        returns=("character-cost", "history-item-id", "tts-latency-ms", "current-concurrent-requests",
                 "maximum-concurrent-requests"),
        roots=words(
            "text-to-speech speech-to-text voice-changer speech-to-speech sound-generation music audio-isolation "
            "dubbing text-to-dialogue text-to-voice convai history forced-alignment user single-use-token studio "
            "voices shared-voices models pronunciation-dictionaries workspace similar-voices service-accounts"
        ),
    ),
    Vendor(
        name="deepgram",
        dialect="deepgram",
        setting="DEEPGRAM",
        origin="https://api.deepgram.com",
        key_env="DEEPGRAM_API_KEY",
        key_prefix="Token ",
        models=r"nova-|aura-|flux-",
        clients=("deepgram", "@deepgram/"),
        hints=("x-deepgram-session-id",),
        passes=("x-fern-*", "x-deepgram-*"),
        returns=("dg-*",),
        roots=words("listen speak read projects agent auth models"),
    ),
    Vendor(
        name="xai",
        aliases=("grok",),
        dialect="openai",
        setting="XAI",
        origin="https://api.x.ai",
        key_env="XAI_API_KEY",
        speaks=("chat.completions", "responses", "responses.stored", "models"),
        quirks=Quirks(
            beside=True,
            ticks=True,
            server_tools={
                "web_search_calls": "web_search",
                "x_search_calls": "x_search",
                "code_interpreter_calls": "code_interpreter",
                "file_search_calls": "file_search",
                "document_search_calls": "file_search",
            },
            refuses={"deferred": "Deferred answers are not offered here: their usage cannot be metered."},
        ),
        models=r"grok-",
        passes=("x-grok-*", "x-stainless-*"),
        returns=("x-ratelimit-*", "x-metrics-e2e-ms"),
        roots=words(
            "tokenize-text image-generation-models video-generation-models language-models deferred-completion tts stt "
            "api-key documents custom-voices"
        ),
    ),
    Vendor(
        name="qwen",
        aliases=("dashscope",),
        dialect="openai",
        setting="QWEN",
        origin="https://dashscope-intl.aliyuncs.com",
        path_prefix="/compatible-mode",
        key_env="DASHSCOPE_API_KEY",
        speaks=("chat.completions", "responses", "embeddings", "models"),
        anthropic="/apps/anthropic",
        models=r"qwen|qwq|qvq|wan|cosyvoice|paraformer|text-embedding-v|gte-rerank",
        clients=("dashscope/",),
        hints=("x-dashscope-sdk-client", "x-dashscope-sse", "x-dashscope-async"),
        passes=("x-dashscope-*", *_SHARED_CLIENTS),
        returns=("x-dashscope-*",),
        bare=words("compatible-mode compatible-api apps"),
    ),
    Vendor(
        name="kimi",
        aliases=("moonshot",),
        dialect="openai",
        setting="KIMI",
        origin="https://api.moonshot.ai",
        key_env="MOONSHOT_API_KEY",
        speaks=("chat.completions", "models"),
        quirks=Quirks(calls={"$web_search": "web_search"}),
        anthropic="/anthropic",
        models=r"kimi-|moonshot-",
        passes=_SHARED_CLIENTS,
        returns=("x-ratelimit-*", "msh-*"),
        roots=words("tokenizers users caching"),
    ),
    Vendor(
        name="minimax",
        dialect="openai",
        setting="MINIMAX",
        origin="https://api.minimax.io",
        key_env="MINIMAX_API_KEY",
        speaks=("chat.completions", "responses", "models"),
        quirks=Quirks(base_resp=True),
        anthropic="/anthropic",
        models=r"MiniMax-|minimax-|abab|speech-|[Mm]2-her",
        passes=_SHARED_CLIENTS,
        returns=("trace-id", "minimax-request-id", "x-ratelimit-*"),
        roots=words(
            "t2a_v2 t2a_async_v2 text image_generation video_generation music_generation voice_clone get_voice "
            "voice_design delete_voice query/video_generation query/t2a_async_query_v2 files/retrieve lyrics_generation"
        ),
    ),
    Vendor(
        name="deepseek",
        dialect="openai",
        setting="DEEPSEEK",
        origin="https://api.deepseek.com",
        key_env="DEEPSEEK_API_KEY",
        speaks=("chat.completions", "models"),
        anthropic="/anthropic",
        models=r"deepseek-",
        passes=_SHARED_CLIENTS,
        returns=("x-ds-trace-id", "x-ratelimit-*"),
        bare=words("beta user/balance"),
    ),
    Vendor(
        name="mistral",
        dialect="mistral",
        setting="MISTRAL",
        origin="https://api.mistral.ai",
        key_env="MISTRAL_API_KEY",
        speaks=("chat.completions", "embeddings", "models"),
        quirks=Quirks(splice=False),  # usage comes unasked, and fields that it does not know it refuses
        models=r"mistral-|ministral|magistral|codestral|devstral|pixtral|voxtral|open-mistral|open-mixtral|labs-",
        clients=("mistral-client",),
        returns=("x-ratelimit*", "mistral-correlation-id", "x-kong-*"),
        roots=words("ocr fim agents batch conversations libraries observability workflows rag classifications"),
    ),
    Vendor(
        name="cerebras",
        dialect="openai",
        setting="CEREBRAS",
        origin="https://api.cerebras.ai",
        key_env="CEREBRAS_API_KEY",
        speaks=("chat.completions", "completions", "models"),
        # Its ids are other vendors' names (gpt-oss-120b, qwen-3-…, llama…): only exact ids of the catalogue tell.
        clients=("cerebras/",),
        passes=("x-stainless-*",),
        returns=("x-ratelimit-*", "inference-id"),
        roots=words("tcp_warming"),
    ),
    Vendor(
        name="cohere",
        dialect="cohere",
        setting="COHERE",
        origin="https://api.cohere.com",
        key_env="COHERE_API_KEY",
        models=r"command|embed-|rerank-|c4ai-",
        clients=("cohere",),
        hints=("x-client-name",),
        passes=("x-fern-*", "x-client-name"),
        returns=("x-endpoint-monthly-call-limit", "x-trial-endpoint-call-*", "x-debug-trace-id", "x-api-warning",
                 "num_chars", "num_tokens"),
        roots=words(
            "chat embed rerank tokenize detokenize classify summarize generate embed-jobs datasets connectors "
            "check-api-key parse finetuning"
        ),
    ),
)  # fmt: skip

VENDORS: Mapping[str, Vendor] = MappingProxyType({vendor.name: vendor for vendor in _ROWS})

MOUNTS: Mapping[str, Vendor] = MappingProxyType(
    {name: vendor for vendor in VENDORS.values() for name in (vendor.name, *vendor.aliases)}
)
"""Every first path segment that names a vendor explicitly."""
