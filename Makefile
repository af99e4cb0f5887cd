# Run, test and read the course. Each target makes its own .venv when it is missing or older than the lock.

PROFILE ?= demo
PYTHON ?= python3
ARGS ?=
JOBS ?= 2

VENV := .venv
INSTALLED := $(VENV)/.installed
RUN := $(CURDIR)/$(VENV)/bin/python
# what the wings' own pages leave out; batches and search come along, as functions of the same name do
PARTS = $(filter-out %/batches %/search,$(basename $(shell find sapbert_utils/*/ -maxdepth 1 -name '[a-z]*.py')))

.DEFAULT_GOAL := help
.PHONY: help reproduce test browser stress lab report docs book clean

help:
	@echo "make reproduce   run the nine notebooks (skips what is up to date), print every metric (PROFILE=$(PROFILE))"
	@echo "make test        run the tests, the smoke chain, then each notebook cell by cell (pytest --nbval-lax)"
	@echo "make browser     open every notebook in JupyterLab and every page of the site in Chromium (install it first)"
	@echo "make stress      run the long form of tests/faults: fifty kills, thousands of damaged files (about an hour)"
	@echo "make report      write a research note from a finished run to runs/$(PROFILE)/report.md and .html"
	@echo "make lab         open the notebooks in JupyterLab"
	@echo "make docs        write the API reference to docs/api/index.html, from the docstrings"
	@echo "make book        build the site (notebooks as committed, search, light and dark) in book/html/index.html"
	@echo "make clean       remove runs/, docs/api/, book/ and .venv/"
	@echo
	@echo "PROFILE   smoke, demo (the default), full or paper: make reproduce PROFILE=smoke"
	@echo "ARGS      more options for the command behind reproduce, test (pytest) and lab:"
	@echo "          make reproduce ARGS='--force -p seed=7'      make test ARGS='-k course'"
	@echo "JOBS      the number of test files that make test runs at once (default: 2)"
	@echo "PYTHON    the interpreter, 3.11 or newer, that makes .venv: make test PYTHON=python3.12"

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: set PYTHON=")'
	@echo "Installing the packages of requirements.lock into $(VENV)/ (once; a few minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install -qq --disable-pip-version-check -r requirements.lock
	@$(RUN) -m pip install -qq --disable-pip-version-check --no-deps -e .
	@touch $@

reproduce: $(INSTALLED)
	@echo "Running the course with the profile $(PROFILE) into runs/$(PROFILE)/"
	@$(RUN) -m sapbert_utils reproduce --profile $(PROFILE) $(ARGS)

test: $(INSTALLED)
	@echo "Testing: modules, style, the smoke chain, then every cell of every notebook with the smoke profile"
	@# run two files at a time, on one thread each, because most tests wait for imports and kernels, and
	@# the longest first (tests/conftest.py). The notebooks start from what the smoke chain left, also
	@# two at a time; without it, in order, because they read each other's results. Pytest ends with 5
	@# if ARGS chose none of its tests, which is fine for one of the two runs, but not for both
	@tests=0; export SMOKE_RUNS=$$(mktemp -d) OMP_NUM_THREADS=1; trap 'rm -rf "$$SMOKE_RUNS"' EXIT; \
	$(RUN) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder tests $(ARGS) || tests=$$?; \
	[ $$tests -eq 0 ] || [ $$tests -eq 5 ] || exit $$tests; \
	together="-n $(JOBS) --dist loadfile"; \
	[ -d "$$SMOKE_RUNS/smoke" ] || { together=; unset SMOKE_RUNS OMP_NUM_THREADS; }; \
	$(RUN) -m pytest --nbval-lax --nbval-current-env $$together notebooks $(ARGS) || \
		{ cells=$$?; [ $$cells -eq 5 ] && [ $$tests -eq 0 ]; }

browser: $(INSTALLED)
	@echo "Testing in a browser: JupyterLab with the smoke profile, then the site"
	@$(RUN) -m pip install -qq --disable-pip-version-check -r docs/requirements.txt -r tests/browser/requirements.txt
	@BROWSER=1 $(RUN) -m pytest tests/browser $(ARGS)

stress: $(INSTALLED)
	@echo "Stressing: kills at random moments over the smoke chain, damaged files for every reader"
	@STRESS=1 $(RUN) -m pytest tests/faults $(ARGS)

report: $(INSTALLED)
	@echo "Writing the research note of the profile $(PROFILE)"
	@$(RUN) -m sapbert_utils report --profile $(PROFILE) $(ARGS)

lab: $(INSTALLED)
	@echo "Opening the notebooks in JupyterLab; stop it with Ctrl-C"
	@SAPBERT_PROFILE=$(PROFILE) $(RUN) -m jupyterlab notebooks $(ARGS)

docs: $(INSTALLED)
	@echo "Writing the API reference to docs/api/index.html"
	@# leave by os._exit: at an ordinary exit, DuckDB reports every object that the pages still hold
	@$(RUN) -c "import os, sys; from pdoc.__main__ import cli; cli(sys.argv[1:]); os._exit(0)" \
		--docformat google --output-directory docs/api sapbert_utils sapbert_utils.data.open_data $(subst /,.,$(PARTS))

book: $(INSTALLED)
	@echo "Building the site: open book/html/index.html"
	@$(RUN) -m pip install -qq --disable-pip-version-check -r docs/requirements.txt
	@$(RUN) -m sphinx -q -W --keep-going -b html -c docs . book/html

clean:
	@echo "Removing runs/, docs/api/, book/ and $(VENV)/"
	@rm -rf runs docs/api book $(VENV)
