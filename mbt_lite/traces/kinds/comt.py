"""Plans without their results (chain of meta-thought): the teacher writes them over letters, some are carried out."""

from __future__ import annotations

from mbt_lite.traces.comt import comt_request, open_completion, plain_plan, plan_rejection
from mbt_lite.traces.executed import carry_out
from mbt_lite.traces.kind import Kind

KIND = Kind(
    name="comt",
    trace_request=comt_request,
    prompt_names=("comt",),
    reads=plain_plan,
    rejects=plan_rejection,
    completion=open_completion,
    row_rule="open",
    carries_out=carry_out,
)
