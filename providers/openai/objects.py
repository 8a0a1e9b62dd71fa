"""What OpenAI, and who speaks as it does, keeps between calls: what answers make, and where requests name it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from providers.stored.objects import Makes, Refers

_DAY_S = 86_400
# Answers are kept for 30 days unless `store` is false. A day more here: who is late sees the provider's own word.
KEPT = (
    Makes(
        kind="response",
        at="id",
        streamed=("response.id",),
        facts={"model": "model"},
        keep_s=31 * _DAY_S,
        unless=r'"store"\s*:\s*false',
    ),
    # Where a model's code ran; another answer's may run there again.
    Makes(kind="container", at="output[].container_id", streamed=("item.container_id",), keep_s=_DAY_S),
    Makes(kind="item", at="output[].id", streamed=("item.id",), keep_s=31 * _DAY_S, unless=r'"store"\s*:\s*false'),
)
SOUND = Makes(
    kind="audio",
    at="choices[].message.audio.id",
    streamed=("choices[].delta.audio.id",),
    keep_s=_DAY_S,
    when=r'"audio"\s*:\s*\{',
)
_FILES: Mapping[str, Refers] = MappingProxyType({"file_id": Refers(kind="file"), "file_ids": Refers(kind="file")})
CHAT_NAMES: Mapping[str, Refers] = MappingProxyType({"file_id": Refers(kind="file"), "audio": Refers(kind="audio")})
STATE_NAMES: Mapping[str, Refers] = MappingProxyType(
    {
        **_FILES,
        "previous_response_id": Refers(kind="response", status=400, code="previous_response_not_found"),
        "conversation": Refers(kind="conversation"),
        "container": Refers(kind="container"),
        "container_id": Refers(kind="container"),
        "comparison_response_id": Refers(kind="response"),
        # Nobody can make these through here: each is nobody's. Skills of the provider's own have names.
        "vector_store_ids": Refers(kind="vector_store"),
        "collection_ids": Refers(kind="collection"),
        "prompt": Refers(kind="prompt"),
        "skill_id": Refers(kind="skill", pattern=r"^(skill_.+)"),
        "tunnel_id": Refers(kind="tunnel"),
    }
)
