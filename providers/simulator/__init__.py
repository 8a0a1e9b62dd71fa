"""The test-mode upstream: requests in, native answers out, faults on request. Pure: no network, no clock, no state.

Promises: an answer is a function of its arguments, in the shape in which the provider's own SDK reads it. Tokens are
counted by a rule of the simulator's own, so that what it bills is a witness of what Farthing meters.
"""

from providers.simulator.answers import Answer, Cut, Pause, Step
from providers.simulator.faults import Faults
from providers.simulator.router import answer, is_long_work

__all__ = ["Answer", "Cut", "Faults", "Pause", "Step", "answer", "is_long_work"]
