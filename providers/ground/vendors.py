"""Who the providers are: one row each. A vendor is data; what it speaks is a shape, and lives elsewhere.

Promises: every fact about a vendor that is not a wire shape stands in its row, so a new vendor that speaks OpenAI's API
is a row here and nothing else. Knows nothing of settings' values, secrets or prices.
Source: providers.md §§1 and 2 (places of credentials, base URLs, what tells clients apart), api.md "Settings" and
"Providers" (names).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from providers.ground import layers
from providers.ground.layers import Layer
from providers.ground.names import words
from providers.ground.quirks import PLAIN, Quirks

Speaks = Literal["openai", "anthropic", "google"]
"""Whose API others speak: an upstream that is no vendor of these."""


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """One provider.

    Attributes:
        name: As it stands in events, `allowed_providers` and mounts; lower case.
        aliases: Further names that are accepted as a mount (`/grok/…` for xai).
        dialect: The error shape that its SDKs expect; a key of `gateway.problems`' table.
        setting: Suffix of the setting that moves it elsewhere: `FARTHING_UPSTREAM_<setting>`.
        origin: Where it lives unless that setting says otherwise; an origin without a path.
        path_prefix: What the upstream paths of its OpenAI-compatible operations begin with, before the version.
        layer: Where it takes OpenAI's operations, though its own API is another.
        key_env: Environment variable that holds our credential, by the name that its own SDK uses.
        key_header: Lower-case name of the request header that carries our credential upstream.
        url_keys: Parameters of a URL in which its own clients put a key.
        secret_subprotocols: What a WebSocket's subprotocol begins with that is a key.
        account_subprotocols: What one begins with that names the client's own account at the provider.
        grpc: What clients of its gRPC API, which is not served here, are told to do instead.
        key_prefix: What stands before the credential in that header ("Bearer ").
        headers: Further request headers it insists on, sent when the client sent none.
        speaks: Names of OpenAI's operations that it offers in OpenAI's shape (`providers.compatible.offers`).
        quirks: What it does otherwise there.
        anthropic: What the upstream path of its Anthropic-compatible messages begins with; "" where it has none.
        native: The path at which its models are served, where requests for them may be sent to another's.
        models: Beginnings of model ids that are its alone, as a regular expression; "" where names tell nothing.
        shows: Beginnings of model ids, as a regular expression, whose answers show every token of output that is
            billed; of all others nobody knows how much they reason in secret. "" where every model shows all.
        account: What its errors say of the operator's own account, key, organisation or arrears, in lower case: a whole
            code or type, or a phrase of a message. Source: providers.md §4, and what their users report.
        clients: What its own SDKs' `user-agent` or `x-fern-sdk-name` begins with, in lower case.
        hints: Request headers, in lower case, that only its own clients send.
        passes: Request headers of its API that are forwarded; a trailing `*` is a prefix. None that picks an account, a
            workspace or a project: these are the operator's.
        returns: Response headers of its API that clients get to see; a trailing `*` is a prefix. None that tells of the
            operator's account: its ids, or its limits, which count the calls of all tenants together.
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
    layer: Layer | None = None
    key_env: str
    key_header: str = "authorization"
    key_prefix: str = "Bearer "
    url_keys: tuple[str, ...] = ()
    secret_subprotocols: tuple[str, ...] = ()
    account_subprotocols: tuple[str, ...] = ()
    grpc: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    speaks: tuple[str, ...] = ()
    quirks: Quirks = PLAIN
    anthropic: str = ""
    native: str = ""
    models: str = ""
    shows: str = ""
    account: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    passes: tuple[str, ...] = ()
    returns: tuple[str, ...] = ()
    roots: frozenset[str] = frozenset()
    bare: frozenset[str] = frozenset()


# What the SDKs of OpenAI and Anthropic send, to whichever vendor they are pointed at.
_SHARED_CLIENTS = ("anthropic-beta", "anthropic-version", "x-stainless-*")

# What vendors that speak OpenAI's or Anthropic's API say alike.
_ACCOUNT = (
    "insufficient_quota", "insufficient_balance", "insufficient_user_quota", "billing_hard_limit_reached",
    "billing_not_active", "billing_error", "account_deactivated", "account_disabled", "invalid_api_key",
    "incorrect_api_key", "invalid_authentication_error", "authentication_error", "exceeded_current_quota_error",
    "payment_required", "access_terminated", "organization_deactivated",
    "exceeded your current quota", "insufficient balance", "insufficient quota", "insufficient credit",
    "insufficient funds", "credit balance is too low", "billing hard limit", "plan and billing", "billing details",
    "account is not active", "account has been deactivated", "account has been suspended", "account is suspended",
    "account has been disabled", "account is disabled", "account is overdue", "account is in arrears",
    "organization has been disabled", "organization has been restricted", "organization must be verified",
    "organization is not allowed", "incorrect api key", "invalid api key", "api key provided", "api key is invalid",
    "api key expired", "api key has expired", "api key has been", "api key does not have permission",
    "usage limits", "monthly spending limit", "spend limit", "used all available credits", "doesn't have any credits",
    "run out of credits", "out of credits", "payment method",
)  # fmt: skip

_ROWS = (
    Vendor(
        name="openai",
        dialect="openai",
        setting="OPENAI",
        origin="https://api.openai.com",
        key_env="OPENAI_API_KEY",
        secret_subprotocols=("openai-insecure-api-key.",),
        account_subprotocols=("openai-organization.", "openai-project."),
        account=(
            *_ACCOUNT, "unsupported_country_region_territory", "invalid_organization", "ip_not_authorized",
            "missing_scope",
        ),
        native="/v1/chat/completions",
        speaks=("chat.completions", "completions", "responses", "responses.stored", "embeddings", "models"),
        models=r"gpt-|o\d|chatgpt|dall-e|sora|tts-|whisper-|text-embedding-|omni-|ft:|davinci|babbage|codex-|computer-use",
        shows=r"(ft:)?(gpt-[34]|chatgpt-4o|davinci|babbage|text-|gpt-5(\.\d+)?-chat|gpt-oss)",
        passes=("openai-beta", "x-client-request-id", "x-stainless-*"),
        returns=("openai-processing-ms", "openai-version", "openai-model"),
        roots=words(
            "agents assistants audio batches chat chatkit completions containers conversations decisions embeddings "
            "engines evals files fine-tunes fine_tuning images live models moderations organization organizations "
            "projects realtime responses skills threads uploads vaults vector_stores videos safety webhook_endpoints "
            "webhook_event_types content_provenance_checks"
        ),
    ),
    Vendor(
        name="anthropic",
        dialect="anthropic",
        setting="ANTHROPIC",
        origin="https://api.anthropic.com",
        key_env="ANTHROPIC_API_KEY",
        account=(
            *_ACCOUNT, "enforced_spend_limit_reached", "contract_spend_limit_reached",
            "linked_organization_spend_limit_reached",
        ),
        native="/v1/messages",
        layer=layers.ANTHROPIC,
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
        roots=words(
            "agents complete deployments environments files messages models organizations sessions skills vaults "
            "memory_stores user_profiles compliance deployment_runs dreams tunnels"
        ),
    ),
    Vendor(
        name="google",
        aliases=("gemini",),
        dialect="google",
        setting="GOOGLE",
        origin="https://generativelanguage.googleapis.com",
        key_env="GEMINI_API_KEY",
        account=(
            "api_key_invalid", "api_key_service_blocked", "api_key_http_referrer_blocked", "api_key_ip_address_blocked",
            "consumer_suspended", "consumer_invalid", "billing_disabled", "service_disabled", "unauthenticated",
            "api key not valid", "api key expired", "reported as leaked", "enable billing", "plan and billing",
            "prepayment credits", "consumer has been suspended", "has not been used in project",
            "billing to be enabled",
            "user location is not supported", "requests to this api", "are blocked",
        ),
        native="/v1beta/models/{model}:generateContent",
        layer=layers.GOOGLE,
        key_header="x-goog-api-key",
        key_prefix="",
        url_keys=("key", "access_token"),  # on WebSockets, the second
        models=r"gemini-|gemma-|imagen|veo|learnlm|text-embedding-00|embedding-00",
        shows=r"gemini-(1|2\.0)|gemma-|learnlm|.*embedding",
        clients=("google-genai-sdk",),
        hints=("x-goog-api-key", "x-goog-api-client"),
        passes=("x-goog-api-client", "x-goog-request-params", "x-server-timeout"),
        returns=("server-timing", "x-gemini-service-tier"),
        roots=words(
            "models files batches cachedContents tunedModels interactions fileSearchStores auth_tokens corpora agents "
            "decisions voices environments triggers dynamic operations generatedFiles tuningJobs batchPredictionJobs "
            "openai"
        ),
        bare=words("upload"),
    ),
    Vendor(
        name="elevenlabs",
        dialect="elevenlabs",
        setting="ELEVENLABS",
        origin="https://api.elevenlabs.io",
        key_env="ELEVENLABS_API_KEY",
        account=(
            "quota_exceeded", "invalid_api_key", "missing_permissions", "payment_required", "payment_issue",
            "detected_unusual_activity", "subscription_required", "needs_authorization", "free_users_not_allowed",
            "failed or incomplete payment", "exceeds your quota", "your subscription", "upgrade your",
        ),
        native="/v1/text-to-speech/{voice}",
        key_header="xi-api-key",
        key_prefix="",
        models=r"eleven_|scribe_|music_v",
        clients=("elevenlabs", "@elevenlabs/"),
        hints=("xi-api-key",),
        passes=("x-fern-*",),
        returns=("character-cost", "history-item-id", "tts-latency-ms"),
        roots=words(
            "text-to-speech speech-to-text voice-changer speech-to-speech sound-generation music audio-isolation "
            "dubbing text-to-dialogue text-to-voice convai history forced-alignment user single-use-token studio "
            "voices shared-voices models pronunciation-dictionaries workspace similar-voices service-accounts assets "
            "productions speech-engine audio-effects audio-native flows workspaces"
        ),
    ),
    Vendor(
        name="deepgram",
        dialect="deepgram",
        setting="DEEPGRAM",
        origin="https://api.deepgram.com",
        key_env="DEEPGRAM_API_KEY",
        account=(
            "asr_payment_required", "invalid_auth", "insufficient_permissions", "payment_required",
            "insufficient credits", "insufficient permissions", "invalid credentials", "does not have access",
        ),
        native="/v1/listen or /v1/speak",
        key_prefix="Token ",
        models=r"nova-|aura-|flux-",
        clients=("deepgram", "@deepgram/"),
        hints=("x-deepgram-session-id",),
        passes=("x-fern-*", "x-deepgram-session-id"),
        returns=("dg-request-id", "dg-model-name", "dg-model-uuid", "dg-additional-model-uuids", "dg-char-count"),
        roots=words("listen speak read projects agent auth models"),
    ),
    Vendor(
        name="xai",
        aliases=("grok",),
        dialect="openai",
        setting="XAI",
        origin="https://api.x.ai",
        key_env="XAI_API_KEY",
        secret_subprotocols=("xai-client-secret.",),
        grpc="use xAI through the OpenAI SDK (base URL http(s)://HOST/v1) or the Vercel AI SDK",
        account=_ACCOUNT,
        native="/v1/chat/completions",
        speaks=("chat.completions", "responses", "responses.stored", "models"),
        quirks=Quirks(
            beside=True,
            ticks=True,
            searches_files=True,
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
        shows=r"grok-(1|2|beta|vision|3(?!-mini))",
        passes=("x-grok-conv-id", "x-stainless-*"),
        returns=("x-metrics-e2e-ms",),
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
        account=(
            *_ACCOUNT, "arrearage", "invalidapikey", "accessdenied.unpurchased", "model.accessdenied",
            "allocationquota.freetieronly", "good standing", "free allocated quota", "overdue payment",
        ),
        native="/v1/chat/completions",
        speaks=("chat.completions", "responses", "embeddings", "models"),
        quirks=Quirks(limit="max_tokens"),
        anthropic="/apps/anthropic",
        models=r"qwen|qwq|qvq|wan|cosyvoice|paraformer|text-embedding-v|gte-rerank",
        clients=("dashscope/",),
        hints=("x-dashscope-sdk-client", "x-dashscope-sse", "x-dashscope-async"),
        passes=("x-dashscope-sse", "x-dashscope-datainspection", "x-dashscope-session-cache", *_SHARED_CLIENTS),
        returns=("x-dashscope-call-gateway", "x-dashscope-finished"),
        bare=words("compatible-mode compatible-api apps api/v1"),
    ),
    Vendor(
        name="kimi",
        aliases=("moonshot",),
        dialect="openai",
        setting="KIMI",
        origin="https://api.moonshot.ai",
        key_env="MOONSHOT_API_KEY",
        account=_ACCOUNT,
        native="/v1/chat/completions",
        speaks=("chat.completions", "models"),
        quirks=Quirks(calls={"$web_search": "web_search"}),
        anthropic="/anthropic",
        models=r"kimi-|moonshot-",
        passes=_SHARED_CLIENTS,
        returns=("msh-request-id", "msh-trace-id"),
        roots=words("tokenizers users caching"),
    ),
    Vendor(
        name="minimax",
        dialect="openai",
        setting="MINIMAX",
        origin="https://api.minimax.io",
        key_env="MINIMAX_API_KEY",
        account=(*_ACCOUNT, "login fail", "token plan", "invalid api secret"),
        native="/v1/chat/completions",
        speaks=("chat.completions", "responses", "models"),
        quirks=Quirks(base_resp=True),
        anthropic="/anthropic",
        models=r"MiniMax-|minimax-|abab|speech-|[Mm]2-her",
        passes=_SHARED_CLIENTS,
        returns=("trace-id", "minimax-request-id"),
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
        account=_ACCOUNT,
        native="/v1/chat/completions",
        speaks=("chat.completions", "models"),
        quirks=Quirks(limit="max_tokens"),
        anthropic="/anthropic",
        models=r"deepseek-",
        passes=_SHARED_CLIENTS,
        returns=("x-ds-trace-id",),
        bare=words("beta user/balance"),
    ),
    Vendor(
        name="mistral",
        dialect="mistral",
        setting="MISTRAL",
        origin="https://api.mistral.ai",
        key_env="MISTRAL_API_KEY",
        account=(*_ACCOUNT, "inactive subscription", "not have an active subscription", "no active subscription"),
        native="/v1/chat/completions",
        speaks=("chat.completions", "embeddings", "models"),
        # Usage comes unasked, and fields that it does not know it refuses.
        quirks=Quirks(splice=False, limit="max_tokens"),
        models=r"mistral-|ministral|magistral|codestral|devstral|pixtral|voxtral|open-mistral|open-mixtral|labs-",
        clients=("mistral-client",),
        returns=("mistral-correlation-id", "x-kong-request-id", "x-kong-upstream-latency", "x-kong-proxy-latency"),
        roots=words(
            "ocr fim agents batch conversations libraries observability workflows rag classifications context webhooks "
            "prompts client whoami"
        ),
    ),
    Vendor(
        name="cerebras",
        dialect="openai",
        setting="CEREBRAS",
        origin="https://api.cerebras.ai",
        key_env="CEREBRAS_API_KEY",
        account=(*_ACCOUNT, "wrong_api_key"),
        native="/v1/chat/completions",
        speaks=("chat.completions", "completions", "models"),
        # Its ids are other vendors' names (gpt-oss-120b, qwen-3-…, llama…): only exact ids of the catalogue tell.
        clients=("cerebras/",),
        passes=("x-stainless-*",),
        returns=("inference-id",),
        roots=words("tcp_warming"),
    ),
    Vendor(
        name="cohere",
        dialect="cohere",
        setting="COHERE",
        origin="https://api.cohere.com",
        key_env="COHERE_API_KEY",
        account=(*_ACCOUNT, "invalid api token", "trial key", "update your payment", "unable to verify your"),
        native="/v2/chat",
        layer=layers.COHERE,
        models=r"command|embed-|rerank-|c4ai-",
        clients=("cohere",),
        hints=("x-client-name",),
        passes=("x-fern-*", "x-client-name"),
        returns=("x-debug-trace-id", "x-api-warning", "num_chars", "num_tokens"),
        roots=words(
            "chat embed rerank tokenize detokenize classify summarize generate embed-jobs datasets connectors "
            "check-api-key parse finetuning"
        ),
        bare=words("compatibility"),
    ),
)  # fmt: skip

VENDORS: Mapping[str, Vendor] = MappingProxyType({vendor.name: vendor for vendor in _ROWS})

_SHOWS = {vendor.name: re.compile(vendor.shows) for vendor in _ROWS if vendor.shows}


def reasons_in_secret(provider: str, model: str) -> bool:
    """Whether a model's answer may have cost more output than it shows."""
    shows = _SHOWS.get(provider)
    return shows is not None and shows.match(model) is None


MOUNTS: Mapping[str, Vendor] = MappingProxyType(
    {name: vendor for vendor in VENDORS.values() for name in (vendor.name, *vendor.aliases)}
)
"""Every first path segment that names a vendor explicitly."""
