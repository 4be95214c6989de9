"""The student: loading it, its chat template, its adapters. Everything here may import torch."""
