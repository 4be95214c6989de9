"""The trainers of sft and grpo and what stands around them: rows, checkpoints, logs. All of it may import torch."""
