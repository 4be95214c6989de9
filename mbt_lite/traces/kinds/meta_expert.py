"""Expert rows of MASA: the student's best forecast of its own tries, with the numbers that came true."""

from __future__ import annotations

from mbt_lite.traces.kind import Kind
from mbt_lite.traces.requests import meta_request

KIND = Kind(
    name="meta_expert",
    drafter="student",
    second_request=meta_request,
    prompt_names=("meta",),
    row_prompt=meta_request,
)
