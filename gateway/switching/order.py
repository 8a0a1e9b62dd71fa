"""In which order targets are asked. Pure.

Without weights, as they stand. With weights the first is drawn by them, and whoever calls again gets the same: a
provider keeps prompts for whoever comes back, and a new place would have to be paid for again. The others follow in the
order in which they would be drawn if those before them were gone, so that one target's absence moves its own callers
only (rendezvous hashing, weighted: Thaler and Ravishankar 1998, Schindelhauer and Schomaker 2005).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

from gateway.switching.spec import Target


def ordered(targets: Sequence[Target], who: str) -> list[Target]:
    """The targets in the order in which they are asked for a caller of this name."""
    if any(target.weight is None for target in targets):
        return list(targets)
    return sorted(targets, key=lambda target: _score(target, who))


def _score(target: Target, who: str) -> float:
    """Exponentially distributed with the weight as its rate: the least of several is each in proportion to its own."""
    place = f"{target.upstream or ''}\0{target.provider}\0{target.model}\0{who}".encode()
    drawn = (int.from_bytes(blake2b(place, digest_size=8).digest()) + 1) / (1 << 64)
    return -math.log(min(drawn, 1.0)) / (target.weight or 1)
