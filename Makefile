# Two commands are all a fresh clone needs: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed
export HF_HUB_OFFLINE ?= 1

.PHONY: setup demo test test-vllm check bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "thence needs Python 3.11 or newer; set PYTHON=…"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	@$(BIN)/python examples/demo.py

test: setup
	$(BIN)/python -m pytest

test-vllm: setup
	@sh tests/vllm/setup.sh $(VENV)-vllm $(PYTHON) && THENCE_VLLM_PYTHON=$(VENV)-vllm/bin/python $(BIN)/python -m pytest -m vllm tests/vllm -rs || test $$? -eq 75

check: setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" ./check

bench: setup
	@$(BIN)/python benchmarks/bench.py

clean:
	rm -rf $(VENV) $(VENV)-vllm build dist .mypy_cache .ruff_cache .pytest_cache
