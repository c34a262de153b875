# `make demo` on a fresh machine needs Python 3.11 or newer and make, and nothing else. `make help` lists the rest.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# A machine without an NVIDIA GPU gets the CPU build: the default one on Linux brings gigabytes of CUDA libraries.
# `make venv TORCH=torch==2.11.0` installs another build instead; `make venv TORCH=` the default one.
TORCH_CPU_BUILD := torch==2.13.0+cpu
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
ifeq ($(shell uname -s):$(shell command -v nvidia-smi 2>/dev/null),Linux:)
TORCH ?= $(TORCH_CPU_BUILD)
endif

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-lowest test-browser test-stores check format lint types fast docs bench gpu-check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

venv: $(STAMP) ## make .venv and install the project with its tools; a second call does nothing

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1): disttrain needs Python 3.11 or newer. Name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "$(PYTHON) cannot make virtual environments here; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	@echo "Installing into $(VENV): a few minutes the first time."
	@# The index of an installed pip may know the build already; asking PyTorch's own comes second.
	@test -z "$(TORCH)" || $(BIN)/python -m pip install --quiet "$(TORCH)" 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --extra-index-url $(TORCH_CPU_INDEX) "$(TORCH)"
	@$(BIN)/python -m pip install --quiet -e '.[demo,dev]'
	@touch $@

demo: $(STAMP) ## train on several workers, kill one on the way, and compare the weights with an undisturbed run
	@$(BIN)/python examples/demo.py

test: $(STAMP) ## every test, real Ray processes and faults included, in three processes: one waits much, for others
	@$(BIN)/python -m pytest -n 3 --no-loadscope-reorder

# Rooms that meet other packages: the command line (typer, rich), storage (fsspec, xxhash), what travels (cloudpickle), models and layers (torch, h5py,
# safetensors, pillow), the viewer (werkzeug), TensorBoard; then a real run on Ray that loses a worker.
LOWEST       := build/lowest
LOWEST_TESTS := $(addprefix tests/unit/, cli/test_command_line.py cli/test_plain_text.py cli/test_script_arguments.py \
                checkpoint/test_checkpoint_attempts.py checkpoint/test_checkpoint_commit.py checkpoint/test_checkpoint_store.py \
                elastic/test_shipping.py elastic/test_unshippable.py models/test_export.py models/test_plot.py models/test_saving.py \
                models/test_summary.py training/test_engine.py training/test_jit.py callbacks/test_tensorboard.py viewers/test_viewer_server.py)

test-lowest: ## the lowest versions that pyproject.toml allows, in build/lowest: the tests that meet other packages, and the demo
	@test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	@# uv resolves this in seconds; pip tries every newer version of what these bring.
	@$(LOWEST)/bin/python -m pip install --quiet uv
	@$(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python $$($(PYTHON) tests/support/lowest.py demo) pytest hypothesis -e .
	@# Old packages warn of their own newer dependencies. ONNX graphs have bounds of their own, in the extra.
	@$(LOWEST)/bin/python -m pytest -p no:cacheprovider -o filterwarnings=default -k "not onnx_graph" $(LOWEST_TESTS)
	@$(LOWEST)/bin/python examples/demo.py

test-browser: $(STAMP) ## the viewer and TensorBoard in a headless Chromium; screenshots go to build/screenshots
	@$(BIN)/python -m pytest -m browser --require-browser

# Servers in a folder of their own: their packages bound versions of what disttrain's clients need too. Azurite comes from npm, sshd from the
# system (apt install openssh-server); what is not there is skipped, and said.
STORES := build/stores

test-stores: $(STAMP) ## checkpoints on real servers on loopback (S3, Azure, GCS, SFTP, WebDAV), with requests that fail: into build/stores
	@test -x $(STORES)/bin/python || $(PYTHON) -m venv $(STORES)
	@$(STORES)/bin/python -m pip install --quiet -r tests/stores/servers.txt
	@$(BIN)/python -m pip install --quiet -e '.[demo,dev,stores]'
	@if command -v npm >/dev/null; then test -x $(STORES)/node_modules/.bin/azurite-blob || \
	  npm install --silent --no-audit --no-fund --prefix $(STORES) azurite; fi
	@$(BIN)/python -m pytest -m stores tests/stores

check: lint types fast ## format, lint, types and the fast tests: the quick half of CI

format: $(STAMP) ## rewrite the code in the house's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lint: $(STAMP) ## ruff: format and lint, changing nothing
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(STAMP) ## mypy
	@$(BIN)/mypy

fast: $(STAMP) ## tests that start no Ray and kill nothing
	@$(BIN)/python -m pytest -m "not ray and not faults and not browser"

docs: $(STAMP) ## the site, into build/site: every link checked, every block run
	@test -x $(BIN)/mkdocs || $(BIN)/python -m pip install --quiet -e '.[docs]'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@$(BIN)/python -m pytest -q tests/unit/docs tests/unit/test_coming_from.py tests/unit/callbacks/test_documented_callbacks.py \
	  tests/unit/test_readme.py tests/integration/test_documented_commands.py
	@echo "the site is in build/site: open build/site/index.html"

bench: $(STAMP) ## side by side with peers; prints ratios
	@$(BIN)/python benchmarks/run.py

gpu-check: $(STAMP) ## is it right on this machine's GPU, and how fast: 8 minutes, to benchmarks/gpu.md; exit code 2 without a GPU
	@$(BIN)/python benchmarks/gpu_check.py --report benchmarks/gpu.md

clean: ## remove .venv, caches and build outputs
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
