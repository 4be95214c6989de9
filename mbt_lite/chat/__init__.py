"""Command `chat`: ask variants of a run, or a served export, side by side, and watch the answers being written."""
