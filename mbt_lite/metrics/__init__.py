"""Metrics: what a prediction is worth, by rule, and how sure a mean is. Shares its functions with the reward law."""
