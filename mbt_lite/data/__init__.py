"""Questions and predictions from files and the hub, trimming to a prompt length, and the synthetic generator."""
