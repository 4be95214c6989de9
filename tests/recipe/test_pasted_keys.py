"""A key that is pasted into a recipe is refused, and not repeated."""

import pytest
from recipe_texts import MINIMAL, Problems

SECRET = "sk-proj-0a1B2c3D4e5F6a7B8c9D"


@pytest.mark.parametrize(
    "pasted",
    [
        *(f"base_url: 'https://a/v1?{name}={SECRET}'" for name in ("key", "token", "sig", "access_token")),
        f"base_url: ['https://a/v1?key={SECRET}', 'https://a/v1?key={SECRET}']",
        f"base_url: 'user:{SECRET}@a/v1'",
        f"base_url: https://a/{SECRET}/v1",
        f"base_url: {SECRET}",
        f"api_key_env: {SECRET}",
        "api_key_env: gsk_0a1B2c3D4e5F6a7B8c9D",
        "api_key_env: 0a1B2c3D4e5F6a7B8c9D",
        "api_key_env: a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6",
        f"api_key_env: [{SECRET}]",
        f"api_key: {SECRET}",
        f"headers: {{Authorization: Bearer {SECRET}}}",
        f"{SECRET}: 1",
        f"temperature: {SECRET}",
        f"base_url: http://a/v1\n  model: {SECRET}",
    ],
)
def test_a_key_wherever_it_is_pasted_is_refused_and_not_repeated(pasted: str, problems: Problems) -> None:
    told = problems(f"{MINIMAL}teacher:\n  {pasted}\n")
    assert told
    assert "0a1B2c3D" not in str(told)
    assert "a1b2c3d4" not in str(told)


def test_a_key_in_place_of_a_section_is_not_repeated(problems: Problems) -> None:
    (told,) = problems(f"{MINIMAL}teacher: {SECRET}\n")
    assert "***" in told
    assert "0a1B2c3D" not in told
