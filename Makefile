# Two commands do all the set-up: `make demo` and `make test`. They need Python 3.11+, git, make.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
OUT ?= out
SITE ?= $(OUT)/site

.PHONY: demo test lint bench official site lock clean

demo: $(INSTALLED)
	$(BIN)/elsewhere demo --out $(OUT)/demo

# Two processes, a file each; then what measures time and memory, alone.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/bench
	$(BIN)/python -m pytest tests/bench

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The README's table of speeds, in the strict form; on an idle machine.
bench: $(INSTALLED)
	mkdir -p $(OUT)
	-ELSEWHERE_BENCH_STRICT=1 $(BIN)/python -m pytest tests/bench --benchmark-json $(OUT)/bench.json
	$(BIN)/python tests/bench/table.py $(OUT)/bench.json

# The leaderboard from the committed rows.
site: $(INSTALLED)
	$(BIN)/elsewhere site --results leaderboard/results --out $(SITE)

# The committed rows of era5-sample again, from nothing: 132 trainings, some three hours on 2 cores.
official: $(INSTALLED)
	BIN=$(BIN) OUT=$(OUT)/official leaderboard/official.sh

# Versions that were tested together. torch carries no local suffix, so that any index serves it.
lock: $(INSTALLED)
	$(BIN)/pip-compile --quiet --extra fast --extra train --extra site --extra recipes --extra dev --strip-extras --no-emit-index-url --no-emit-trusted-host \
	  --no-emit-find-links --constraint constraints.txt --output-file requirements.lock pyproject.toml
	sed -i 's/^\(torch==[0-9.]*\)+[a-z0-9]*/\1/' requirements.lock

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV) $(OUT)
