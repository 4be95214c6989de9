"""The four stages; each file reads top to bottom as the description of its stage."""
