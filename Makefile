# Everything a contributor or CI does. Given: Python 3.11+, a C compiler and Rust; the rest goes into .venv.
.DEFAULT_GOAL := help
.NOTPARALLEL: # the order of the checks is the point, and cargo already uses every core
.DELETE_ON_ERROR:
SHELL := bash

# uv where there is a working one, because it is faster; otherwise venv and pip. `UV= make develop` forbids it.
UV ?= $(shell uv --version >/dev/null 2>&1 && echo uv)
PYTHON ?= $(shell for python in python3 python python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$python && break; done)
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY := $(BIN)/python
# 1.16: the version whose `--group` was tried with both uv and pip.
MATURIN := maturin>=1.16,<2

# The extras that `make develop` installs and `make test` tests. openvino is a download of about 60 MB, and its nncf brings scikit-learn
# and scipy; train brings accelerate, peft, scikit-learn, matplotlib and tensorboard. `make test EXTRAS=minilm` does without them, and the
# tests that need them are then skipped, with the reason.
EXTRAS ?= minilm,openvino,train

# Two processes halve the time of the tests; a file's tests share what they load. `make test PYTEST_OPTIONS=` runs one.
PYTEST_OPTIONS ?= --numprocesses 2 --dist loadfile

# The environment of the repository and no other: maturin refuses to choose between two.
VENV_ENV := env -u CONDA_PREFIX -u PYTHONHOME VIRTUAL_ENV="$(CURDIR)/.venv"
# The interpreter PyO3 is configured for; without it, cargo takes whichever `python3` comes first.
CARGO_PYTHON := PYO3_PYTHON="$(CURDIR)/$(PY)" cargo

RUST_SOURCES := $(shell find rust -type d -o -name '*.rs') # folders too: they change when a file is removed

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "  make %-13s %s\n", $$1, $$2 }'

.PHONY: demo
demo: develop ## Classify long documents in one call, on what is already installed
	$(PY) examples/demo.py

.PHONY: test
test: rust-check rust-test python-check docs-check pytest ## Lint, type-check and test everything: what CI runs

.PHONY: check
check: rust-check python-check docs-check ## Lint, type-check and build the documentation only

.PHONY: docs
docs: docs-check ## Build the documentation site into .docs-build/

.PHONY: bench
bench: develop ## Measure speed and memory (benches/*.py; long, for the packages compared with)
	@set -e; for bench in $(wildcard benches/*.py); do echo "== $$bench"; $(PY) $$bench; done

.PHONY: bench-peers
bench-peers: .bench/peers/.built .bench/next/.built ## Install what chunking is compared with, into .bench/

.PHONY: bench-picture
bench-picture: .venv/.built ## Draw docs/chunking.png from the results in benches/results
	$(VENV_ENV) $(if $(strip $(UV)),$(UV),$(PY) -m) pip install --quiet --group bench
	$(PY) benches/speed/picture.py

.PHONY: develop
develop: .venv/.built ## Build the package in place, with all tools, into .venv

.PHONY: format
format: .venv/.built ## Format and auto-fix all code
	cargo fmt
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

.PHONY: mutate
mutate: .venv/.built ## Break the chunker on purpose, line by line, and see that the tests notice (slow)
	$(PY) scripts/mutate.py

.PHONY: wheel
wheel: .venv/.tools ## Build a release wheel into dist/
	$(VENV_ENV) $(BIN)/maturin build --release --out dist --interpreter $(PY)

.PHONY: clean
clean: ## Remove what was built; .venv keeps its packages
	rm -rf target dist .docs-build .mypy_cache .ruff_cache .pytest_cache .hypothesis .venv/.built
	rm -f python/longctx/_core*.so python/longctx/_core*.pyd
	find python tests docs examples benches scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The steps of `test` and `check`, in order of cost.

.PHONY: rust-check
rust-check: .venv/.tools # with the feature `python`: no code is there only without it
	cargo fmt --check
	$(CARGO_PYTHON) clippy --all-targets --features python -- -D warnings

.PHONY: rust-test
rust-test: # without the feature `python`: the core needs no interpreter, and this is what proves it
	@if cargo nextest --version >/dev/null 2>&1; then set -x; cargo nextest run; else set -x; cargo test; fi

.PHONY: python-check
python-check: .venv/.built
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict python/longctx
	$(PY) -m mypy.stubtest longctx._core

.PHONY: docs-check
docs-check: .venv/.built
	$(BIN)/mkdocs build --strict --quiet

.PHONY: pytest
pytest: .venv/.built
	$(PY) -m pytest $(PYTEST_OPTIONS)

.bench/%/.built: benches/requirements/%.txt
ifeq ($(strip $(UV)),)
	test -d $(@D) || $(PYTHON) -m venv $(@D)
	$(dir $@)$(notdir $(BIN))/python -m pip install --quiet --requirement $<
else
	test -d $(@D) || $(UV) venv --python $(PYTHON) $(@D)
	$(UV) pip install --quiet --python $(@D) --requirement $<
endif
	@touch $@

# Stamps: each is touched when its step is done and older than what the step read.

.venv/.tools:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found; give one: make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; exit 1; }
ifeq ($(strip $(UV)),)
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m ensurepip >/dev/null 2>&1 || true # an environment that uv made has no pip
	$(PY) -m pip install --quiet --upgrade 'pip>=25.1' '$(MATURIN)' # pip 25.1: dependency groups
else
	test -x $(PY) || $(UV) venv --python $(PYTHON) .venv
	$(UV) pip install --quiet --python $(PY) '$(MATURIN)'
endif
	@touch $@

.venv/.built: .venv/.tools $(RUST_SOURCES) Cargo.toml $(wildcard Cargo.lock) pyproject.toml
	@rm -f python/longctx/_core*.so python/longctx/_core*.pyd # a stale module would hide a failed build
	$(VENV_ENV) $(BIN)/maturin develop --release --extras $(EXTRAS) --group test,lint,docs $(if $(strip $(UV)),--uv)
	@touch $@
