# Needs a Python 3.11 to 3.13 with venv and pip, and make; everything else goes into .venv.

PYTHON ?= $(firstword $(foreach p,python3 python3.11 python3.12 python3.13,$(shell \
  $(p) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) and print("$(p)")' 2>/dev/null)))
GPU ?= $(shell nvidia-smi >/dev/null 2>&1 && echo yes)
TORCH := requirements/$(if $(GPU),gpu,torch-cpu).txt
LOCKS := requirements/build.txt requirements/dev.txt $(TORCH)

# Set-up is done when this file exists: its name changes with the locks, the project's metadata and the kind of machine.
STAMP := .venv/.setup-$(if $(GPU),gpu,cpu)-$(firstword $(shell cat $(LOCKS) pyproject.toml 2>/dev/null | cksum))

BIN := .venv/bin
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation
LOCKED := $(PIP) --require-hashes --only-binary :all:
RECIPE ?= pocket
RECORD := results/$(RECIPE)/record.txt
FIGURE := results/$(RECIPE)/figures/loss_curves.png
export PATH := $(CURDIR)/$(BIN):$(PATH)
# A lock that dies with its holder: after a kill -9 the next run just goes on, which Snakemake's own lock would refuse.
GUARD := $(shell command -v flock >/dev/null && echo 'flock -n -E 75 .snakemake/one-at-a-time')
RUN := $(BIN)/snakemake --profile workflow/profiles/local $(if $(GUARD),--nolock)

.DEFAULT_GOAL := help
.PHONY: help setup record report test studies recipes-smoke lint lock container clean

help:  ## print this list
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv from the hash-locked requirements (CPU PyTorch where there is no GPU)

$(STAMP):
	@test -n "$(PYTHON)" || { echo "make setup: no Python 3.11, 3.12 or 3.13 found; name one: make setup PYTHON=/path/to/python3.12" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(LOCKED) -r requirements/build.txt
	$(LOCKED) --no-binary connection-pool -r requirements/dev.txt
	@$(LOCKED) -r $(TORCH) || { \
	  echo "make setup: PyTorch could not be installed from $(TORCH)." >&2; \
	  $(if $(GPU),,echo "  Its CPU builds are not on the default package index. Point pip at PyTorch's CPU wheel index (the address is on" >&2; \
	  echo "  PyTorch's 'Start Locally' page, under Pip and CPU) or at a folder that holds the wheel, then try again:" >&2; \
	  echo "    PIP_EXTRA_INDEX_URL=<that address> make setup     or     PIP_FIND_LINKS=<that folder> make setup" >&2;) \
	  exit 1; }
	$(PIP) --editable .
	@rm -f .venv/.setup-*
	@touch $@

record: $(STAMP)  ## run the whole pipeline for the pocket recipe; print where the record lies and its verdict
	@mkdir -p .snakemake
	@test -d "$$(tail -n 1 $(RECORD) 2>/dev/null)" || rm -f $(RECORD)
	@$(GUARD) $(RUN) -- $(RECORD) $(FIGURE) || { status=$$?; test $$status -ne 75 || \
	  echo "make record: another run of this pipeline is still going on in this folder" >&2; exit $$status; }
	@echo "record: $$(tail -n 1 $(RECORD))"
	@$(BIN)/fairway check "$$(tail -n 1 $(RECORD))"

report: record  ## write report.html: figures, rules, run times
	$(RUN) --report report.html -- $(RECORD) $(FIGURE)

# Tests that start many processes run beside the others: together they take two cores, one after the other far longer.
APART := tests/bundle tests/workflow
test: $(STAMP)  ## run the whole test suite: once with checked shapes, then the torch.compile tests without
	@$(BIN)/pytest $(APART) & apart=$$!; \
	$(BIN)/pytest $(APART:%=--ignore=%) && $(BIN)/pytest tests/compiled -q --import-mode=importlib -o addopts=""; \
	rest=$$?; wait $$apart && exit $$rest

studies: record  ## study the recipe's checkpoints and write docs/studies.md
	$(RUN) -- results/$(RECIPE)/studies
	$(BIN)/fairway study page results/$(RECIPE)/studies -o docs/studies.md

recipes-smoke: $(STAMP)  ## every recipe at reduced width, from training to verdict; `fairway recipe list` then says so
	$(BIN)/fairway recipe smoke -o results/smoke --json benchmarks/results/recipes_smoke.json

lint: $(STAMP)  ## formatter, linter, type checker, import contracts, workflow linters
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

LOCK := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
lock:  ## resolve the requirements again, hashes and no index address (torch-cpu.txt is kept by hand)
	$(LOCK) pyproject.toml requirements/torch-needs.in --excludes requirements/excludes.txt -o requirements/base.txt
	$(LOCK) pyproject.toml requirements/torch-needs.in --excludes requirements/excludes.txt --extra dev \
	  -c requirements/base.txt -o requirements/dev.txt
	$(LOCK) --group build -c requirements/dev.txt -o requirements/build.txt
	$(LOCK) requirements/judge.in -c requirements/base.txt -o requirements/judge.txt
	$(LOCK) requirements/containers.in -c requirements/dev.txt -c requirements/build.txt -o requirements/containers.txt
	$(LOCK) requirements/flash-attention.in -c requirements/dev.txt -c requirements/build.txt -o requirements/flash-attention.txt
	$(LOCK) requirements/torch-gpu.in -c requirements/base.txt -o requirements/gpu.txt \
	  $$(sed -n 's/^\([A-Za-z0-9_.-]*\)==.*/--no-emit-package \1/p' requirements/base.txt | sort -u)

# What builds images needs neither .venv nor torch; its few packages have a lock of their own.
IMAGES ?= cpu judge
TOOLS := build/containers/tools-$(firstword $(shell cksum < requirements/containers.txt))
container:  ## build IMAGES ("cpu judge") with docker, podman or buildah; ENGINE and BASE choose others (docs/containers.md)
	@test -n "$(PYTHON)" || { echo "make container: no Python 3.11, 3.12 or 3.13 found; name one with PYTHON=" >&2; exit 2; }
	@test -e $(TOOLS)/.done || { rm -rf $(TOOLS) && $(PYTHON) -m venv $(TOOLS) && $(TOOLS)/bin/python -m pip install -q \
	  --disable-pip-version-check --no-deps --require-hashes --only-binary :all: -r requirements/containers.txt && touch $(TOOLS)/.done; }
	@PYTHONPATH=src $(TOOLS)/bin/python containers/build.py $(if $(ENGINE),--engine $(ENGINE)) $(if $(BASE),--base $(BASE)) \
	  $(if $(FRESH),--fresh) $(IMAGES)

clean:  ## remove results, logs and caches; data/ and .venv stay
	rm -rf results logs report.html .snakemake .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
