"""Many requests in one, answered later: what they can cost together, kept as a few sums however many they are.

Promises: the sums bound the cost of all lines together, each at the long-context tier that its own size may reach, and
never at one that only all of them together would. Lines of like size (within a power of two) share a row of sums.
Knows no wire shape, and nothing of content.
"""

from __future__ import annotations

import msgspec

from providers.ground.tiers import BATCH
from providers.ground.usage import Usage
from providers.pricing.prices import Price


class Sums(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Lines of like size. Counts of tokens are sums, but for `largest`.

    Attributes:
        largest: The largest line's input, as bounded.
        typical, upper, audio_upper, image_upper: Of the input, as estimated.
        bound, audio_bound, image_bound: Of the input, as soundly bounded; `audio` and `image` are inside.
        output: Of the output that lines declare.
        silent: Answers of lines that declare none.
        remote: Lines whose input the bytes do not show.
    """

    lines: int = 0
    largest: int = 0
    typical: int = 0
    upper: int = 0
    audio_upper: int = 0
    image_upper: int = 0
    bound: int = 0
    audio_bound: int = 0
    image_bound: int = 0
    output: int = 0
    silent: int = 0
    remote: int = 0


class BatchBound(msgspec.Struct, kw_only=True):
    """All lines. `sums` by the length of the bound in bits.

    Attributes:
        tools: Runs of tools that are held for, all lines together.
        endless: The first field of a line that nothing bounds, or that is in no table; see `Call`.
        unpriced: The first field of a line that asks for work without a price.
    """

    sums: dict[str, Sums] = {}
    tools: dict[str, int] = {}
    endless: str = ""
    unpriced: str = ""

    @property
    def lines(self) -> int:
        """How many there are."""
        return sum(each.lines for each in self.sums.values())

    @property
    def typical_tokens(self) -> int:
        """Best guess of all input."""
        return sum(each.typical for each in self.sums.values())

    def add(
        self, typical: Usage, upper: Usage, bound: Usage, output: int | None, answers: int, *, remote: bool
    ) -> None:
        """Count one line: its input three times over, and the output that each of its answers declares."""
        size = str(bound.input_tokens.bit_length())
        sums = self.sums.get(size)
        if sums is None:
            sums = self.sums[size] = Sums()
        sums.lines += 1
        sums.largest = max(sums.largest, bound.input_tokens)
        sums.typical += typical.input_tokens
        sums.upper += upper.input_tokens
        sums.audio_upper += upper.input_audio_tokens
        sums.image_upper += upper.input_image_tokens
        sums.bound += bound.input_tokens
        sums.audio_bound += bound.input_audio_tokens
        sums.image_bound += bound.input_image_tokens
        if output is None:
            sums.silent += answers
        else:
            sums.output += output * answers
        sums.remote += remote

    def held(self, price: Price, *, sound: bool, silent_tokens: int, remote_tokens: int) -> tuple[int, int]:
        """The most that all lines cost, in picos, and their tokens.

        Args:
            sound: By the sound bounds; else by the estimates.
            silent_tokens: Output of an answer for which none is declared.
            remote_tokens: Input of a line that its bytes do not show.
        """
        picos = tokens = 0
        for each in self.sums.values():
            unseen = each.remote * remote_tokens
            text = (each.bound if sound else each.upper) + unseen
            audio, image = (each.audio_bound, each.image_bound) if sound else (each.audio_upper, each.image_upper)
            largest = each.largest + (remote_tokens if each.remote else 0)
            output = each.output + each.silent * silent_tokens
            # A rate is the price of so many tokens, shared out: exact, for tokens are priced one by one.
            scale = max(largest, 1)
            rates = [
                -(-price.bound_picos(usage, BATCH) // scale)
                for usage in (
                    Usage(input_tokens=scale),
                    Usage(input_tokens=scale, input_audio_tokens=scale),
                    Usage(input_tokens=scale, input_image_tokens=scale),
                )
            ]
            picos += (text - audio - image) * rates[0] + audio * rates[1] + image * rates[2]
            picos += output * price.output_picos_each(scale, BATCH)
            tokens += text + output
        if self.tools:
            picos += price.bound_picos(Usage(tools=self.tools), BATCH)
        return picos, tokens
