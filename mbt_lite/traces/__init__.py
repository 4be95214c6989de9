"""Traces: one builder per kind, and the quality gate."""
