# Two commands: `make book` and `make test`. Each sets up what is missing first. `make help` lists all.

# The newest that works and can make an environment: a name on the path may be a shim that only says what it cannot run.
VERSIONS := 3.13 3.12 3.11
PYTHON ?= $(shell for version in $(VERSIONS); do \
	    python$$version -c "import ensurepip, venv" 2>/dev/null && echo python$$version && break; done)
BIN := .venv/bin
READY := .venv/.ready
BUILD := $(BIN)/python book/build.py
PYTEST := $(BIN)/python -m pytest
EXPERIMENTS := $(BIN)/python -m dpbook_course.experiments
MODE ?= short
NUMBER ?= 20
PAGES := tests/test_book.py tests/test_glossary.py $(wildcard tests/test_*browser.py)
# The tests look at a book of their own, so that they never replace the one that `make book` built.
SHORT := _build/short
PARTS := unit notebooks pages

.PHONY: help book pdf lab results outcomes bench mutants test unit notebooks pages portable node chromium clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

book: $(READY)  ## execute the chapters and build _build/html/index.html
	DPBOOK_MODE=full $(BUILD)

pdf: book chromium  ## the same as one file, _build/book.pdf
	DPBOOK_MODE=full $(BIN)/python book/pdf.py

test: $(READY)  ## everything below, whatever fails of it: units, notebooks, book, browser
	@trap 'exit 130' INT TERM; failed=0; report=; for part in $(PARTS); do \
	    start=$$(date +%s); outcome=passed; \
	    $(MAKE) --no-print-directory $$part || { outcome=FAILED; failed=1; }; \
	    took=$$(($$(date +%s) - start)); \
	    report="$$report$$part: $$outcome in $$((took / 60)) min $$((took % 60)) s\n"; \
	done; printf "\n$$report"; exit $$failed

unit: $(READY) node  ## the package and the repository
	$(PYTEST) -n logical --maxprocesses 4 --dist loadfile --durations=10 $(addprefix --ignore=,$(PAGES))

portable: $(READY)  ## checks, identities and chapters again with the rounding of other processors (PROFILE=fft: one)
	$(BIN)/python -m tests.portable $(PROFILE)

# What passes is kept, so that the book below, of the same code and mode, need not execute it once more.
notebooks: $(READY)  ## every notebook, executed in short mode (or MODE=full)
	DPBOOK_MODE=$(MODE) OMP_NUM_THREADS=1 $(PYTEST) -p tests.kept_chapters --nbval-lax --nbval-current-env \
	    --nbval-cell-timeout=600 -n logical --maxprocesses 4 --dist loadscope --durations=10 notebooks

pages: $(READY) chromium  ## the book in short mode, its pages and a real browser on them
	@DPBOOK_MODE=short $(BUILD) --output $(SHORT); built=$$?; \
	    DPBOOK_HTML=$(SHORT)/_build/html $(PYTEST) -n logical --maxprocesses 4 --dist worksteal --durations=10 $(PAGES) && \
	    exit $$built

lab: $(READY)  ## JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

results: $(READY)  ## compute what is missing of every study (hours), then print the verdicts
	@failed=0; for id in $$($(EXPERIMENTS) list | awk 'NR > 1 { print $$1 }'); do \
	    $(EXPERIMENTS) run $$id || failed=1; done; $(EXPERIMENTS) claims; exit $$failed

outcomes: $(READY)  ## repeat what the chapters show live (hours), and say how often it held
	$(BIN)/python -m dpbook_course.experiments.outcomes run

bench: .bench/.ready  ## speed and memory, side by side with JAX
	PYTHONPATH=.bench $(BIN)/python -m benchmarks

mutants: .mutants/.ready  ## small changes that the tests should notice (MODULE=losses NUMBER=20; else the core)
	$(BIN)/python -m tests.mutants $(MODULE) --number $(NUMBER)

# Beside .venv, not in it: what only these two commands need is out of sight of everything else.
.bench/.ready .mutants/.ready: .%/.ready: $(READY) requirements-%.txt
	rm -rf .$*
	$(BIN)/python -m pip install --no-deps --target .$* -r requirements-$*.txt
	touch $@

clean:  ## delete what was built; delete .venv by hand to set up anew
	rm -rf _build .cache .pytest_cache .ruff_cache

# A .venv that is there already is kept: a PyTorch build put into it first (for a CPU only, say) stays.
NOT_SET_UP := echo "The environment .venv could not be set up, for the reason above: repeat the command when it is" \
	"gone (on a full disk: .venv needs 2 GB, and 8 GB with PyTorch's CUDA libraries)."
ANOTHER = make $(MAKECMDGOALS) PYTHON=/path/to/python3
$(READY): requirements.txt pyproject.toml
	@test -w . || { echo "$(CURDIR) cannot be written to: clone the repository into a folder that can."; exit 1; }
	@if test -x $(BIN)/python; then python=$(BIN)/python; else python="$(PYTHON)"; fi; \
	    test -n "$$python" || { echo "No Python of $(VERSIONS) that can make an environment was found: install one" \
	        "(Debian: apt-get install python3-venv), or say where it is: $(ANOTHER)"; exit 1; }; \
	    version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || { \
	        echo "$$python cannot be run: name a Python of $(VERSIONS): $(ANOTHER)"; exit 1; }; \
	    case " $(VERSIONS) " in *" $$version "*) echo "Taking Python $$version: $$python";; *) \
	        echo "$$python is Python $$version, and one of $(VERSIONS) is needed: $(ANOTHER)" \
	            "(delete a .venv of another version first)"; exit 1;; esac; \
	    test -x $(BIN)/python || "$$python" -m venv .venv || { rm -rf .venv; $(NOT_SET_UP); exit 1; }
	@{ $(BIN)/python -m pip install -r requirements.txt && \
	    $(BIN)/python -m pip install --no-deps --no-build-isolation --editable .; } || { $(NOT_SET_UP); exit 1; }
	@touch $@

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
