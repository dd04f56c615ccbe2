# Every goal below is complete by itself: it makes .venv from the pins if that is not done yet, then does its work.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Named in the first installation, alone: any other package would draw a CUDA build of several GB. Equal to requirements.txt (a test says so).
TORCH := torch==2.13.0

NOTEBOOKS := $(wildcard book/chapters/*.ipynb) $(wildcard book/appendices/*.ipynb)
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
WORKERS ?= 2
# Tests side by side must not each start a thread a core.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
SMOKE := SKYTUTOR_PROFILE=$${SKYTUTOR_PROFILE:-smoke}

# Settings and contents lie at the top level, pages in book/. The extension that reads the contents wants its whole path.
JUPYTER_BOOK := $(BIN)/jupyter-book build book --config _config.yml --toc "$(CURDIR)/_toc.yml" -W -n --keep-going
PYTEST := $(BIN)/python -m pytest

.PHONY: help book test test-unit test-notebooks test-build test-browser data lab bench measure clean

help:
	@echo "make book    build the book: runs the chapters, writes the HTML, prints where it lies"
	@echo "make test    all tests: package, notebooks, the built book, the book in a browser"
	@echo "make data    fetch the small real data sets (the book also builds without them)"
	@echo "make lab     open JupyterLab on the chapters"
	@echo "make bench   time our layers against their peers"
	@echo "make measure run the chapters once more and record run time and memory for the status page"
	@echo "make clean   remove what was built; the environment in $(VENV) stays"

# The stamp is written last: an interrupted installation is done again, a finished one costs nothing.
$(READY): requirements.txt pyproject.toml
	@set -e; found=; \
	for python in python3.13 python3.12 python3.11 python3 python; do \
	  if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "No Python 3.11 or newer with the venv module was found." >&2; \
	  echo "Install one (Debian and Ubuntu: apt-get install python3 python3-venv), then run make again." >&2; exit 1; \
	fi; \
	if $(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo "== using the environment in $(VENV)"; \
	else echo "== making $(VENV) with $$($$found --version)"; $$found -m venv --clear $(VENV); fi
	@echo "== installing the pinned packages (a few minutes the first time)"
	$(BIN)/pip install --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

book: $(READY)
	@echo "== building the book ($(words $(NOTEBOOKS)) notebooks)"
	@$(JUPYTER_BOOK) --path-output .
	@echo
	@echo "== data used"
	@$(BIN)/skytutor data list
	@echo
	@echo "The book is built. Open this file: $(CURDIR)/_build/html/index.html"

test: $(READY)
	@started=$$(date +%s); \
	$(MAKE) --no-print-directory test-unit && \
	$(MAKE) --no-print-directory test-notebooks && \
	$(MAKE) --no-print-directory test-build && \
	$(MAKE) --no-print-directory test-browser && \
	echo "== all tests passed in $$(( $$(date +%s) - started )) s"

test-unit: $(READY)
	@echo "== 1 of 4: unit, property and book tests, doctests"
	@$(ONE_THREAD) $(SMOKE) $(PYTEST) -n $(WORKERS) -m "not built"

test-notebooks: $(READY)
	@echo "== 2 of 4: every notebook, cell by cell, each in its own process"
ifeq ($(NOTEBOOKS),)
	@echo "no notebook in book/chapters" >&2; exit 1
else
	@threads=$$(( $(CORES) / ($(words $(NOTEBOOKS)) > 1 ? 2 : 1) )); \
	$(SMOKE) OMP_NUM_THREADS=$$(( threads > 0 ? threads : 1 )) \
	  $(PYTEST) --nbval --nbval-cell-timeout=300 -n $(WORKERS) --dist loadscope $(NOTEBOOKS)
endif

test-build: $(READY)
	@echo "== 3 of 4: the book, warnings are errors"
	@$(SMOKE) $(JUPYTER_BOOK) --path-output _build/test

test-browser: $(READY)
	@echo "== 4 of 4: the built book in a browser"
	@$(ONE_THREAD) $(SMOKE) SKYTUTOR_HTML=_build/test/_build/html $(PYTEST) -n $(WORKERS) -m built tests/book

data: $(READY)
	@$(BIN)/skytutor data fetch
	@$(BIN)/skytutor data list

lab: $(READY)
	@$(BIN)/jupyter lab --notebook-dir=book

bench: $(READY)
	@$(BIN)/python -m benchmarks

measure: $(READY)
	@for notebook in $(NOTEBOOKS); do \
	  for profile in $${PROFILES:-smoke cpu}; do $(BIN)/python book/_ext/measure.py $$notebook --profile $$profile || exit 1; done; \
	done

clean:
	rm -rf _build build *.egg-info .pytest_cache .hypothesis
	@echo "The environment stays. To remove it too: rm -rf $(VENV)"
