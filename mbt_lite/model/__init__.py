"""The student: loading, chat template, adapters, rollouts, checkpoints. Everything here may import torch."""
