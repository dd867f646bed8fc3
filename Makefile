# Targets for users and developers. `make help` lists them.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CHECKED := vidarium tests bench

# Every run of the tests prints its seed; `make test SEED=…` repeats it.
ifeq ($(origin SEED), undefined)
SEED := $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
endif
export SEED

.DEFAULT_GOAL := help
.PHONY: help install demo serve test test-long bench lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Set up .venv from the lock file

$(STAMP): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make install PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is too old: Python 3.11 or newer is needed" >&2; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: install ## One video all the way, on a server of its own: make demo, or VIDEO=path make demo
	@$(BIN)/vidarium demo -- $${VIDEO:+"$$VIDEO"}

serve: install ## Start a server on port 8080 with its files in ./data
	$(BIN)/vidarium serve --home data --port 8080

test: install ## Style, types, and all tests but the long ones; SEED=… repeats a run
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy
	@echo "seed: $(SEED)  (again: make test SEED=$(SEED))"
	$(BIN)/python -m pytest -m "not long" --numprocesses=2 --dist=loadfile --hypothesis-seed=$(SEED)

test-long: install ## All tests, the long ones with their full numbers
	@echo "seed: $(SEED)  (again: make test-long SEED=$(SEED))"
	LONG=1 $(BIN)/python -m pytest --hypothesis-seed=$(SEED)

bench: install ## Run every benchmark
	@set -e; for benchmark in $(sort $(wildcard bench/*.py)); do echo "== $$benchmark"; $(BIN)/python "$$benchmark"; done

lock: install ## Resolve the dependencies anew into requirements.lock
	$(BIN)/python -m piptools compile --quiet --generate-hashes --allow-unsafe --strip-extras --all-extras \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header \
		--output-file requirements.lock pyproject.toml
