"""Operations without a bill."""

from __future__ import annotations

import pytest

from providers.contract.metering import conclude
from providers.ground.errors import BadRequest
from providers.ground.usage import Usage
from providers.stored.free import FREE_POST, FREE_READ


def test_free_operations_cost_nothing() -> None:
    """Whatever the answer, however it ends, a free call is settled at nothing."""
    for shape, body in ((FREE_READ, b""), (FREE_POST, b'{"model":"claude","messages":[]}')):
        call = shape.read(body)
        meter = shape.meter(call, streamed=False)
        meter.feed(b'{"usage":{"input_tokens":10}}')
        assert meter.output_tokens_seen() == 0
        conclusion = conclude(call, meter.finish(), ended="cut", http_status=200)
        assert (conclusion.status, conclusion.usage) == ("settled", Usage())
        assert shape.prepare(body, call) is body
        assert shape.limit(body, call, 5) is body
        assert shape.filter(call) is None


def test_counting_names_its_model() -> None:
    """A key's list of models applies to counting too, so the model is read."""
    assert FREE_POST.read(b'{"model":"claude","messages":[]}').model == "claude"
    with pytest.raises(BadRequest):
        FREE_POST.read(b'{"messages":[]}')
