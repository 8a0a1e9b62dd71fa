"""How a call ended, from what is known of its way and what its meter saw. Decides nothing about money."""

from __future__ import annotations

import msgspec

from gateway.call.hold import OutputGrowth
from gateway.call.records import Admitted
from providers.contract.metering import Conclusion, Ended, conclude
from providers.contract.shapes import Meter, Reading
from providers.ground.usage import Usage
from providers.ground.vendors import reasons_in_secret


def concluded(
    admitted: Admitted, meter: Meter | None, growth: OutputGrowth, *, ended: Ended, sent: bool, status: int, began: bool
) -> Conclusion:
    """The conclusion of a call.

    Args:
        admitted: The call.
        meter: What has read its answer; None where there was none.
        growth: What its hold covers.
        ended: How its answer ended.
        sent: The provider can have seen it.
        status: The answer's, by HTTP; 0 where there was none.
        began: Something of the answer's body has come.
    """
    if not sent:
        return Conclusion("released", Usage())
    if admitted.upload is not None and not admitted.upload.done and not status:
        # A request whose framing says that it is not complete is none that a provider could act on (RFC 9112, §8).
        return Conclusion("released", Usage(), ("upload_incomplete",))
    if not admitted.route.operation.billable:
        return Conclusion("settled", Usage())
    reading = meter.finish() if meter is not None else Reading()
    call = admitted.call
    uncounted = reading.usage is None or reading.partial
    hidden = uncounted and (call.reasons or reasons_in_secret(admitted.route.provider, call.model))
    conclusion = conclude(
        call,
        reading,
        ended=ended,
        http_status=status,
        began=began,
        hidden_tokens=growth.allowance * max(call.choices, 1) if hidden and call.output_field else 0,
    )
    most = None if growth.most is None else growth.most * max(call.choices, 1)
    if conclusion.status != "estimated" or most is None or conclusion.usage.output_tokens <= most:
        return conclusion
    # An estimate knows less than the limit that the provider was given: more than that cannot have been made.
    usage = msgspec.structs.replace(
        conclusion.usage,
        output_tokens=most,
        reasoning_tokens=min(conclusion.usage.reasoning_tokens, most),
        output_audio_tokens=min(conclusion.usage.output_audio_tokens, most),
        output_image_tokens=min(conclusion.usage.output_image_tokens, most),
    )
    return msgspec.structs.replace(conclusion, usage=usage, flags=(*conclusion.flags, "output_limited"))
