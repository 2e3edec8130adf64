# make demo    a whole search on the bundled digits, five minutes on 2 CPU cores
# make test    all tests;  make fast: those that take seconds
#              (make test PROCESSES=8 on a larger machine)
# make check   ruff and mypy
PYTHON ?= python3
BIN := .venv/bin
PROCESSES ?= 4
PYTEST = $(BIN)/python -m pytest -n $(PROCESSES) --dist loadgroup --no-loadscope-reorder

unexport PYTHONDONTWRITEBYTECODE # tests start many processes, each of which would compile anew

.PHONY: demo test fast check install clean
demo: install
	$(BIN)/python search/run.py --space spaces/digits.yaml

test: install
	$(PYTEST)

fast: PROCESSES = 2
fast: install
	$(PYTEST) -m "not slow and not gpu"

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: .venv/installed

# Made again only when what it was made from has changed.
.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: Python 3.11 or newer is needed, $(PYTHON) is older; use make PYTHON=python3.11"; exit 2; }
	@echo "installing into .venv; this takes some minutes, once"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
