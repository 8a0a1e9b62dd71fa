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
| 2xx, a failure before any content | none                         | released  | nothing                            |
| none at all, or 2xx that was cut  | none                         | unsettled | nothing                            |
| before any content                |                              |           |                                    |
| 2xx, anything else                | none                         | estimated | input as estimated, output as seen |

* A count is believed on any status and however the answer ended: whoever says what was used was there.
* Doubtful: contradictory, incomplete, negative, decreasing, or of two models. Where a count was negative or half of it
  missing, nobody knows what else is wrong with it, and it is raised to the estimate.
* Partial: Anthropic's `message_start` before any `message_delta`, and the running counts of vendors that count along.
  A price that the provider stated with it is no more the final one than the count is, so it is left out.
* Unsettled: the request was sent and nothing came that could be billed by. It costs nothing and its hold stays counted:
  who got no answer pays nothing, and nothing is forgotten. Where a request was provably never sent its hold is released
  by whoever knows that, and nothing is concluded here.
* An estimate without any count is flagged `usage_missing`. It is never zero: a request has input, or a `typical` of it.
* A model that reasons without showing it has put out, for all that can be seen, what was held for it: its output is
  that, where no count was made along with the content (`output_hidden`).
* An estimate of an answer that was not whole is the least that it came to: the rest of its hold stays counted (`rest`).

Knows nothing of prices, holds or HTTP beyond a status.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from providers.contract.flags import CONTRADICTORY, DECREASED, HIDDEN, INCOMPLETE, MISSING, NEGATIVE, OTHER_MODEL
from providers.contract.shapes import Call, Reading
from providers.ground.tiers import asked_tier
from providers.ground.usage import Usage

Ended = Literal["complete", "cut", "error"]
"""How the answer's body ended: as its framing says; by the client or by us; by a fault of the connection."""

_DOUBTFUL = frozenset({CONTRADICTORY, DECREASED, INCOMPLETE, NEGATIVE, OTHER_MODEL})

_UNTRUSTED = frozenset({INCOMPLETE, NEGATIVE})


class Conclusion(msgspec.Struct, frozen=True):
    """What goes on the event.

    Attributes:
        status: "settled" (the provider's count), "estimated" (ours), "released" (nothing can have been billed),
            "unsettled" (nobody knows).
        usage: What is billed.
        flags: The meter's, "usage_missing" and "output_hidden".
        rest: It may have come to more than that: what else was held stays counted.
        model: The model that the provider says it served; "" where it does not say.
    """

    status: Literal["settled", "estimated", "released", "unsettled"]
    usage: Usage
    flags: tuple[str, ...] = ()
    rest: bool = False
    model: str = ""


def conclude(
    call: Call, reading: Reading, *, ended: Ended, http_status: int, began: bool = True, hidden_tokens: int = 0
) -> Conclusion:
    """Decide status and usage of one ended call, as the module's table says.

    Args:
        call: What was asked.
        reading: What the meter saw.
        ended: How the body ended.
        http_status: The provider's; 0 where it never answered.
        began: Any byte of the answer's body has come.
        hidden_tokens: The output that is held for a model that reasons without showing it, for all its choices; 0 for
            every other model.
    """
    flags, usage, seen = reading.flags, reading.usage, reading.output_tokens_seen
    whole = ended == "complete" and (reading.complete or not call.output_field)
    if usage is not None:
        if reading.partial:
            output = max(usage.output_tokens, seen)
            if hidden_tokens > output and not reading.running:
                output, flags = hidden_tokens, (*flags, HIDDEN)
            usage = msgspec.structs.replace(usage, output_tokens=output, provider_cost_picos=None)
            return Conclusion("estimated", usage, flags, not whole, reading.model)
        if not _DOUBTFUL.intersection(flags):
            return Conclusion("settled", usage, flags, model=reading.model)
        if _UNTRUSTED.intersection(flags):
            usage = _at_least(usage, call, reading)
        return Conclusion("estimated", usage, flags, not whole, reading.model)
    content = bool(seen or reading.tools)
    if reading.refused or (http_status and not 200 <= http_status < 300) or (reading.error and not content):
        return Conclusion("released", Usage(), flags)
    if not http_status or not (whole or content or (began and not call.output_field)):
        return Conclusion("unsettled", Usage(), (*flags, MISSING), rest=True)
    output = seen if call.output_field else call.input_typical.output_tokens
    if call.output_field and hidden_tokens > output:
        output, flags = hidden_tokens, (*flags, HIDDEN)
    estimate = msgspec.structs.replace(
        call.input_typical,
        output_tokens=output,
        tools=call.input_typical.tools | dict(reading.tools),
        service_tier=asked_tier(call.service_tier),
    )
    return Conclusion("estimated", estimate, (*flags, MISSING), not whole, reading.model)


def _at_least(usage: Usage, call: Call, reading: Reading) -> Usage:
    """The usage with neither side below our own estimate."""
    return msgspec.structs.replace(
        usage,
        input_tokens=max(usage.input_tokens, call.input_typical.input_tokens),
        output_tokens=max(usage.output_tokens, reading.output_tokens_seen),
    )
