"""How a call is billed when its answer has ended: one pure decision from what was asked and what was seen.

The first row that fits decides. "Count" is the provider's own usage; "seen" is the estimate of visible output.

| Answer                            | Count                        | Status    | Usage                              |
|-----------------------------------|------------------------------|-----------|------------------------------------|
| any                               | whole                        | settled   | the count, an explicit zero too    |
| any                               | whole but doubtful           | estimated | the count, in its larger reading   |
| any                               | partial                      | estimated | its input; its output or seen, the |
|                                   |                              |           | larger                             |
| not 2xx                           | none                         | released  | nothing                            |
| 2xx, refused in so many words     | none                         | released  | nothing                            |
| none at all (status 0)            | none                         | estimated | input as estimated                 |
| 2xx, complete                     | none                         | estimated | input as estimated, output as seen |
| 2xx, cut by anyone                | none                         | estimated | input as estimated, output as seen |
| 2xx, reports a failure of its own | none                         | estimated | input as estimated, output as seen |

* A count is believed on any status and however the answer ended: whoever says what was used was there.
* Doubtful: contradictory, incomplete, negative, decreasing, or of two models. Where a count was negative or half of it
  missing, nobody knows what else is wrong with it, and it is raised to the estimate.
* Partial: Anthropic's `message_start` before any `message_delta`, and the running counts of vendors that count along.
  A price that the provider stated with it is no more the final one than the count is, so it is left out.
* Status 0: the request was sent and no answer came, so the provider may have read it. Where a request was provably
  never sent its hold is released by whoever knows that, and nothing is concluded here.
* An estimate without any count is flagged `usage_missing`. It is never zero: a request has input, or a `typical` of it.

Knows nothing of prices, holds or HTTP beyond a status.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from providers.answer import CONTRADICTORY, DECREASED, INCOMPLETE, NEGATIVE, OTHER_MODEL, term
from providers.shapes import Call, Reading
from providers.usage import Usage

Ended = Literal["complete", "cut", "error"]
"""How the answer's body ended: as its framing says; by the client or by us; by a fault of the connection."""

_MISSING = "usage_missing"
_DOUBTFUL = frozenset({CONTRADICTORY, DECREASED, INCOMPLETE, NEGATIVE, OTHER_MODEL})

_UNTRUSTED = frozenset({INCOMPLETE, NEGATIVE})


class Conclusion(msgspec.Struct, frozen=True):
    """What goes on the event.

    Attributes:
        status: "settled" (the provider's count), "estimated" (ours), "released" (nothing can have been billed).
        usage: What is billed.
        flags: The meter's, and "usage_missing".
    """

    status: Literal["settled", "estimated", "released"]
    usage: Usage
    flags: tuple[str, ...] = ()


def conclude(call: Call, reading: Reading, *, ended: Ended, http_status: int) -> Conclusion:
    """Decide status and usage of one ended call, as the module's table says.

    Args:
        call: What was asked.
        reading: What the meter saw.
        ended: How the body ended. It changes nothing: what counts is what was seen, and the table asks for that. It is
            asked for so that no caller has to know so.
        http_status: The provider's; 0 where it never answered.
    """
    flags = reading.flags
    usage = reading.usage
    if usage is not None:
        if reading.partial:
            output = max(usage.output_tokens, reading.output_tokens_seen)
            usage = msgspec.structs.replace(usage, output_tokens=output, provider_cost_picos=None)
            return Conclusion("estimated", usage, flags)
        if not _DOUBTFUL.intersection(flags):
            return Conclusion("settled", usage, flags)
        return Conclusion(
            "estimated", _at_least(usage, call, reading) if _UNTRUSTED.intersection(flags) else usage, flags
        )
    if reading.refused or (http_status and not 200 <= http_status < 300):
        return Conclusion("released", Usage(), flags)
    estimate = msgspec.structs.replace(
        call.input_typical,
        output_tokens=reading.output_tokens_seen if call.output_field else call.input_typical.output_tokens,
        service_tier=term(call.service_tier),
    )
    return Conclusion("estimated", estimate, (*flags, _MISSING))


def _at_least(usage: Usage, call: Call, reading: Reading) -> Usage:
    """The usage with neither side below our own estimate."""
    return msgspec.structs.replace(
        usage,
        input_tokens=max(usage.input_tokens, call.input_typical.input_tokens),
        output_tokens=max(usage.output_tokens, reading.output_tokens_seen),
    )
