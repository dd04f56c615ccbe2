# Every goal below is complete by itself: it makes .venv from the pins if that is not done yet, then does its work.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
# Tools are called through this Python alone: the scripts beside it hold the path of the folder they were installed in.
PYTHON := $(VENV)/bin/python
PIP := $(PYTHON) -m pip --disable-pip-version-check
READY := $(VENV)/.ready
# Named in the first installation, alone: any other package would draw a CUDA build of several GB. Equal to requirements.txt (a test says so).
TORCH := torch==2.13.0

NOTEBOOKS := $(wildcard book/chapters/*.ipynb) $(wildcard book/appendices/*.ipynb)
WORKERS ?= 2
# What computes side by side must not start a thread a core each: threads that wait for each other keep the cores busy.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
SMOKE := SKYTUTOR_PROFILE=$${SKYTUTOR_PROFILE:-smoke}

# Settings and contents lie at the top level, pages in book/. The extension that reads the contents wants its whole path.
# --all: Sphinx does not see that the package or the data have changed, and would keep the pages of an earlier build. The
# outputs of notebooks are kept all the same, by book/_ext/execute.py, as long as nothing has changed that they depend on.
JUPYTER_BOOK := $(PYTHON) -c 'from jupyter_book.cli.main import main; main(prog_name="jupyter-book")' \
  build book --config _config.yml --toc "$$(pwd -P)/_toc.yml" -W -n --keep-going --all
PYTEST := $(PYTHON) -m pytest
# What `make lint` reads: our Python, and the examples in the pages.
CODE := skytutor tests benchmarks book README.md

# Where the test stages write: pytest's results, the book they look at.
RESULTS := _build/results
BUILT := _build/test
STEP :=
STAGE :=
TEST_STAGES := lint unit chapters browser
DATA_STAGES := marked chapters

# What cannot work is refused here, before any rule: one line, and none of make's own after it.
GOALS := $(or $(MAKECMDGOALS),$(.DEFAULT_GOAL))
define LINE_BREAK


endef
ifneq ($(filter-out help,$(GOALS)),)
# venv takes no `:`, setuptools reads `$` as a variable, Jupyter Book reads `[` as a pattern.
ifneq ($(or $(findstring :,$(CURDIR)),$(findstring $$,$(CURDIR)),$(findstring [,$(CURDIR)),$(findstring $(LINE_BREAK),$(CURDIR))),)
$(error The tools cannot work in a folder with a colon, a dollar sign, an opening square bracket or a line break in its path. \
  Rename $(subst $(LINE_BREAK),?,$(CURDIR)))
endif
ifneq ($(shell [ -w . ] && echo yes),yes)
$(error Nothing can be written to $(CURDIR). Copy the folder to a place of your own and run make there)
endif
endif
ifneq ($(filter test-data,$(GOALS)),)
# Absolute, because notebooks run in the folder they lie in.
ifneq ($(shell case '$(subst ','\'',$(value SKYTUTOR_DATA))' in (/*) [ -d '$(subst ','\'',$(value SKYTUTOR_DATA))' ] && echo yes ;; esac),yes)
$(error make test-data needs SKYTUTOR_DATA, the absolute path of the folder that holds the data, got '$(value SKYTUTOR_DATA)'. `make data` fetches them)
endif
endif

# .ready holds the folder the environment was made in. A copied or moved environment still runs the package of its first place.
HERE := $(shell [ -x $(PYTHON) ] && [ "$$(cat $(READY) 2>/dev/null)" = "$$(pwd -P)" ] && echo yes)

.PHONY: help book lint test test-lint test-unit test-chapters test-notebooks test-build test-browser test-data test-marked closing-line data lab bench measure clean always

help:
	@echo "make book      build the book: runs the chapters, writes the HTML, prints where it lies"
	@echo "make test      all tests: package, notebooks, the built book, the book in a browser"
	@echo "make test-data what looks at the real data sets once more, with those in the folder SKYTUTOR_DATA"
	@echo "make data      fetch the small real data sets (the book also builds without them)"
	@echo "make lab       open JupyterLab on the chapters"
	@echo "make lint      lay out the code, then look for faults in style and types"
	@echo "make bench     time our layers against their peers"
	@echo "make measure   run the chapters once more and record run time and memory for the status page"
	@echo "make clean     remove what was built; the environment in $(VENV) stays"

# The stamp is written last: an interrupted installation is done again, a finished one costs nothing.
$(READY): requirements.txt pyproject.toml $(if $(HERE),,always)
	@set -e; found=; \
	for python in python3.13 python3.12 python3.11 python3 python; do \
	  if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "No Python 3.11 or newer with the venv module was found." >&2; \
	  echo "Install one (Debian and Ubuntu: apt-get install python3 python3-venv), then run make again." >&2; exit 1; \
	fi; \
	if [ -e $@ ] && [ "$$(cat $@)" != "$$(pwd -P)" ]; then \
	  echo "== $(VENV) was made in another folder: $$(cat $@)"; \
	  if [ -L $(VENV) ]; then rm $(VENV); else rm -rf $(VENV)/bin; fi; \
	fi; \
	if $(PYTHON) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo "== using the environment in $(VENV)"; \
	else echo "== making $(VENV) with $$($$found --version)"; $$found -m venv --clear $(VENV); fi
	@echo "== installing the pinned packages (a few minutes the first time)"
	$(PIP) install $(TORCH)
	$(PIP) install -r requirements.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	@pwd -P > $@

always:

book: $(READY)
	@echo "== building the book ($(words $(NOTEBOOKS)) notebooks)"
	@$(ONE_THREAD) $(JUPYTER_BOOK) --path-output .
	@echo
	@echo "== data used"
	@$(PYTHON) -m skytutor data list
	@echo
	@echo "The book is built. Open this file: $$(pwd -P)/_build/html/index.html"

# $(call in_turn,what,stages,places): one stage after the other up to the first that fails, then one line that says how it went.
# `+` and a sub-make for all that writes: so `make -n test` shows every stage and does nothing.
define in_turn
+@started=$$(date +%s); number=0; ran=; status=0; \
for stage in $(2); do \
  number=$$((number + 1)); \
  ran="$$ran $$stage"; \
  $(MAKE) --no-print-directory test-$$stage STEP="$$number of $(words $(2)): " $(3) || { status=$$?; break; }; \
done; \
took=$$(( $$(date +%s) - started )); \
$(MAKE) --no-print-directory closing-line WHAT="$(1)" STAGES="$(2)" RAN="$$ran" STATUS=$$status TOOK=$$took $(3); \
exit $$status
endef

closing-line: $(READY)
	@$(PYTHON) tests/summary.py $(RESULTS) --what "$(WHAT)" --stages $(STAGES) --ran $(RAN) --status $(STATUS) --seconds $(TOOK)

test: $(READY)
	$(call in_turn,all tests,$(TEST_STAGES))

# The formatter decides the layout; what it cannot mend, ruff and mypy name by file and line.
lint: $(READY)
	@$(PYTHON) -m ruff format $(CODE)
	@$(PYTHON) -m ruff check $(CODE)
	@$(PYTHON) -m mypy

test-lint: $(READY)
	@echo "== $(STEP)layout, style and types"
	@$(PYTHON) -m ruff format --check --quiet $(CODE)
	@$(PYTHON) -m ruff check $(CODE)
	@$(PYTHON) -m mypy

test-unit: $(READY)
	@echo "== $(STEP)unit, property and book tests, doctests"
	@$(ONE_THREAD) $(SMOKE) $(PYTEST) -p no:nbval -n $(WORKERS) --dist worksteal -m "not built" --junitxml=$(RESULTS)/unit.xml

# nbval keeps what the notebooks show, so the build runs none of them again; after a failure it runs those that are missing.
test-chapters: $(READY)
	@echo "== $(STEP)every notebook, then the book"
	+@status=0; \
	$(MAKE) --no-print-directory test-notebooks STEP= STAGE=chapters || status=$$?; \
	$(MAKE) --no-print-directory test-build STEP= || status=$$?; \
	exit $$status

test-notebooks: $(READY)
	@echo "== $(STEP)every notebook, cell by cell, each in its own process"
ifeq ($(NOTEBOOKS),)
	@echo "no notebook in book/chapters" >&2; exit 1
else
	@$(ONE_THREAD) $(SMOKE) \
	  $(PYTEST) --nbval --keep-executed --nbval-cell-timeout=300 -n $(WORKERS) --dist loadscope --no-loadscope-reorder --junitxml=$(RESULTS)/$(or $(STAGE),notebooks).xml $(NOTEBOOKS)
endif

test-build: $(READY)
	@echo "== $(STEP)the book, warnings are errors"
	@$(ONE_THREAD) $(SMOKE) $(JUPYTER_BOOK) --path-output $(BUILT)

test-browser: $(READY)
	@echo "== $(STEP)the built book in a browser"
	@$(ONE_THREAD) $(SMOKE) SKYTUTOR_HTML=$(BUILT)/_build/html $(PYTEST) -n $(WORKERS) --dist worksteal -m built --junitxml=$(RESULTS)/browser.xml tests/book

# A missing data set fails these tests and skips them elsewhere. Results and book get folders of their own, beside those of `make test`.
test-data: $(READY)
	$(call in_turn,all tests on the real data,$(DATA_STAGES),RESULTS=_build/results-data BUILT=_build/data)

test-marked: $(READY)
	@echo "== $(STEP)the tests that look at the real data sets"
	@$(ONE_THREAD) $(SMOKE) SKYTUTOR_NEED_DATA=1 $(PYTEST) -n $(WORKERS) -m "data and not built" --junitxml=$(RESULTS)/marked.xml

data: $(READY)
	@$(PYTHON) -m skytutor data fetch
	@$(PYTHON) -m skytutor data list

# One thread for numpy and healpy; how many torch takes is asked of the machine. Who names a number gets it: the package reads
# OMP_NUM_THREADS itself, which may be a list.
lab: $(READY)
	@[ -n "$$OMP_NUM_THREADS" ] || export SKYTUTOR_THREADS=$${SKYTUTOR_THREADS:-auto}; \
	  OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} \
	  MKL_NUM_THREADS=$${MKL_NUM_THREADS:-1} OPENBLAS_NUM_THREADS=$${OPENBLAS_NUM_THREADS:-1} \
	  $(PYTHON) -m jupyterlab --notebook-dir=book

bench: $(READY)
	@$(PYTHON) -m benchmarks

measure: $(READY)
	@for notebook in $(NOTEBOOKS); do \
	  for profile in $${PROFILES:-smoke cpu}; do $(PYTHON) book/_ext/measure.py $$notebook --profile $$profile || exit 1; done; \
	done

clean:
	rm -rf _build build *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	@echo "The environment stays. To remove it too: rm -rf $(VENV)"
