"""The part of `gateway.api.described` that is about pipelines."""

from __future__ import annotations

from gateway.api.entry import Entry
from gateway.api.workflow import CanceledRun, PipelineCheck, PipelineRun, Resumption, Workflow

CALLS = ("team", "standard")

PIPELINES: dict[tuple[str, str], Entry] = {
    ("POST", "/v1/pipelines/check"): Entry(
        name="checkPipeline",
        summary="What is wrong with a pipeline, by JSON pointer, and what it may cost at most. Nothing is run.",
        body=Workflow,
        answers=(PipelineCheck,),
        scopes=CALLS,
        codes=("test_keys_only",),
    ),
    ("POST", "/v1/pipelines/runs"): Entry(
        name="runPipeline",
        summary="Run a pipeline, or go on with one that waited for tools. Answers with its last event, or with all of"
        " them while it runs, one a line, where `Accept` says so.",
        body=Workflow,
        or_body=Resumption,
        answers=(PipelineRun,),
        forms=("application/x-ndjson",),
        idempotent=True,
        scopes=CALLS,
        codes=(
            "continuation_expired",
            "continuation_used",
            "invalid_continuation",
            "not_found",
            "rate_limited",
            "run_not_kept",
            "test_keys_only",
            "too_many_end_users",
        ),
    ),
    ("DELETE", "/v1/pipelines/runs/{id}"): Entry(
        name="cancelPipeline",
        summary="End a run, or one that waits for tools. Its calls in flight land, and are billed.",
        answers=(CanceledRun,),
        scopes=("master", *CALLS),
    ),
}
