"""Questions: one reader per dataset layout, trimming to a prompt length, and the synthetic generator."""
