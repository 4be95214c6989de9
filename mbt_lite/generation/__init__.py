"""Decoding: completions of many prompts by the student, or by vLLM. Everything here may import torch."""
