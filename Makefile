# Two commands: `make book` and `make test`. Each sets up what is missing first. `make help` lists all.

PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready
BUILD := $(BIN)/jupyter-book build . -n -W --keep-going
PYTEST := $(BIN)/python -m pytest
EXPERIMENTS := $(BIN)/python -m dpbook_utils.experiments
MODE ?= short
PAGES := tests/test_book.py $(wildcard tests/test_*browser.py)
# The tests look at a book of their own, so that they never replace the one that `make book` built.
SHORT := _build/short

.PHONY: help book lab results bench test unit notebooks pages node chromium clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

book: $(READY)  ## execute the chapters and build _build/html/index.html
	DPBOOK_MODE=full $(BUILD)

test: unit notebooks pages  ## everything below: units, notebooks, book, browser

unit: $(READY) node  ## the package and the repository
	$(PYTEST) --durations=10 $(addprefix --ignore=,$(PAGES))

notebooks: $(READY)  ## every notebook, executed in short mode (or MODE=full)
	DPBOOK_MODE=$(MODE) $(PYTEST) --nbval-lax --nbval-current-env --nbval-cell-timeout=600 -n logical --maxprocesses 4 \
	    --dist loadscope --durations=10 notebooks

pages: $(READY) chromium  ## the book in short mode, its pages and a real browser on them
	DPBOOK_MODE=short $(BUILD) --path-output $(SHORT)
	DPBOOK_HTML=$(SHORT)/_build/html $(PYTEST) $(PAGES)

lab: $(READY)  ## JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

results: $(READY)  ## compute what is missing of every study (hours), then print the verdicts
	@failed=0; for id in $$($(EXPERIMENTS) list | awk 'NR > 1 { print $$1 }'); do \
	    $(EXPERIMENTS) run $$id || failed=1; done; $(EXPERIMENTS) claims; exit $$failed

bench: $(READY)  ## speed and memory, side by side with JAX
	$(BIN)/python -m pip install -r requirements-bench.txt
	$(BIN)/python -m benchmarks

clean:  ## delete what was built; delete .venv by hand to set up anew
	rm -rf _build .cache .pytest_cache .ruff_cache

# A .venv that is there already is kept: a PyTorch build put into it first (for a CPU only, say) stays.
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -r requirements.txt
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	touch $@

# Debian's, where apt-get is there and may be used; the tests say what to do elsewhere.
DEBIAN = { command -v apt-get && if [ "$$(id -u)" = 0 ]; then \
	    apt-get update && apt-get install --yes --no-install-recommends $(1); \
	    else sudo apt-get update && sudo apt-get install --yes --no-install-recommends $(1); fi; }

node:
	@command -v node || $(call DEBIAN,nodejs) || \
	    echo "No Node.js found and none could be installed: the tests of the page that trains will fail and say so."

chromium:
	@command -v chromium || command -v google-chrome || $(call DEBIAN,chromium) || \
	    echo "No Chromium found and none could be installed: the browser tests will fail and say what to do."
