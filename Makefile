# `make demo` and `make test` set up all they need on a fresh machine that has Python 3.11 and make.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := .make/installed
DATA := .make/data
CODE := src tests examples docs bench

.PHONY: demo test check format test-all components prove bench clean

demo: $(INSTALLED) $(DATA)
	$(BIN)/python examples/electricity/demo.py

test: $(INSTALLED) $(DATA)
	$(BIN)/python -m pytest -n 2 -m 'not slow and not outside and not proof'

check: $(INSTALLED)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(INSTALLED)
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

# Everything, on real components; the proofs at about 2 % of their size, with fixed seeds, judging correctness only.
test-all: $(INSTALLED) $(DATA) components
	$(BIN)/python -m pytest -n 2

components:
	tests/components/install.sh

# The figures that README and docs quote, at full size; each writes docs/proof/NAME.json. May take an hour.
prove: $(INSTALLED) $(DATA) components
	$(BIN)/python tests/proof/prove.py

# Seaway and its peers side by side, on a quiet machine; `make bench BENCH="--quick --only small --peers kserve"` is short.
bench: $(INSTALLED)
	$(BIN)/python -m bench $(BENCH)

$(INSTALLED): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Seaway and its development tools into $(VENV) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@mkdir -p $(@D) && touch $@

$(DATA): examples/datasets.py $(INSTALLED)
	@echo "fetching the data sets …"
	@$(BIN)/python examples/datasets.py
	@mkdir -p $(@D) && touch $@

clean:
	rm -rf .make .mypy_cache .ruff_cache .pytest_cache .hypothesis
