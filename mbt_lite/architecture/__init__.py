"""A student in numbers: what its config.json says, and the sizes that follow from it exactly, without torch."""
