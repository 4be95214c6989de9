"""What every section of a recipe is made of: its base, the numbers that keys hold, the mark of a free key."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Free = Field(json_schema_extra={"resumable": True})

# Far above what anyone means, and below what overflows on the way to a socket, a tensor or a random generator.
PositiveInt = Annotated[int, Field(gt=0, le=10**12)]
NonNegativeInt = Annotated[int, Field(ge=0, le=10**12)]
# Of what is held at once: rows, completions, ranks.
Size = Annotated[int, Field(gt=0, le=65_536)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
# A rate of 1 and more blows every adapter up.
LearningRate = Annotated[float, Field(gt=0, lt=1)]
Temperature = Annotated[float, Field(ge=0, le=5)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
# Below 1: a trainer takes a warm-up of 1 for one step, not for all of them.
Fraction = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A part of a recipe: unknown keys and loose types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)
