# genctl's workshop. `make demo` shows it, `make test` proves it; each sets up what it needs in .venv.
#
#   PYTHON=python3.12        the interpreter to use instead of the newest one found
#   ARGS="..."               for `make test`: what to give to pytest, such as tests/genplatform/spec or -k name;
#                            for `make bench`: what to measure, such as queue or queue/submit
#   SECONDS=1200             how long `make soak` soaks
#   PIP_ARGS="..."           more for pip, for example PyTorch's own index of small CPU builds (see the README)
#
# Kept to GNU make 3.81, the one that macOS ships.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.genctl-stamp
PIP := $(BIN)/python -m pip install --disable-pip-version-check -qq -c constraints.txt
PIP_ARGS :=
SECONDS := 1200
PYTHON :=

.PHONY: help setup demo lint test soak bench clean

help:
	@echo "make demo    start the platform, train a small GAN on real digits, generate 1,000 pictures, serve it"
	@echo "make test    run the tests"
	@echo "make soak    load the platform and kill its parts for SECONDS=1200, then count everything"
	@echo "make lint    check style, types and the import rules"
	@echo "make bench   measure it: a table here, and JSON in bench/results/"
	@echo "make setup   only make the virtual environment in $(VENV) (the others do it by themselves)"
	@echo "make clean   remove $(VENV) and the caches of the tools"

setup: $(STAMP)
	@:

demo: $(STAMP)
	@$(BIN)/python examples/demo.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two processes halve what is mostly waiting; the tests of a whole platform have the machine to themselves, after.
test: $(STAMP)
ifeq ($(ARGS),)
	$(BIN)/python -m pytest -m "not platform and not soak" -n 2 --dist loadfile
	$(BIN)/python -m pytest -m platform
else
	$(BIN)/python -m pytest $(ARGS)
endif

soak: $(STAMP)
	$(BIN)/python -m pytest tests/soak --soak-seconds=$(SECONDS) -s $(ARGS)

bench: $(STAMP)
	@$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The newest usable Python wins. "Usable" is asked of the interpreter itself: a pyenv shim may exist and not
# run, and Debian's python3 may lack ensurepip, without which `venv` leaves a broken folder behind.
# A $(VENV) whose interpreter is gone (a Python upgrade, a moved folder) is made again.
$(BIN)/python:
	@usable='import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'; \
	right='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))'; \
	found=; bare=; \
	for candidate in $(or $(PYTHON),python3.14 python3.13 python3.12 python3.11 python3); do \
	  if "$$candidate" -c "$$usable" >/dev/null 2>&1; then found="$$candidate"; break; fi; \
	  if test -z "$$bare" && "$$candidate" -c "$$right" >/dev/null 2>&1; then bare="$$candidate"; fi; \
	done; \
	if test -z "$$found" && test -n "$$bare"; then \
	  version=`"$$bare" -c 'import sys; print("%d.%d" % sys.version_info[:2])'`; \
	  echo "Error: $$bare (Python $$version) is here, but its venv module is not complete." >&2; \
	  echo "On Debian or Ubuntu install it with: sudo apt install python$$version-venv" >&2; \
	  exit 3; \
	fi; \
	if test -z "$$found"; then \
	  echo "Error: no usable Python found (looked for: $(or $(PYTHON),python3.14 python3.13 python3.12 python3.11 python3))." >&2; \
	  echo "genctl needs Python 3.11 to 3.14. Debian or Ubuntu: sudo apt install python3 python3-venv;" \
	       "Fedora: sudo dnf install python3.12; macOS: brew install python@3.12. Or name one: make setup PYTHON=/path/to/python3." >&2; \
	  exit 3; \
	fi; \
	echo "Making $(VENV) with `"$$found" -c 'import sys; print(sys.executable, sys.version.split()[0])'`"; \
	rm -rf $(VENV) && "$$found" -m venv $(VENV)

# torch first and by name: it is most of the download, and with an index of CPU builds in pip's configuration
# (or in PIP_ARGS) pip takes the CPU build of the pinned version. The build runs without isolation so that
# setuptools is the pinned one too.
$(STAMP): pyproject.toml constraints.txt
	@$(BIN)/python -c '' 2>/dev/null || { rm -rf $(VENV); $(MAKE) --no-print-directory $(BIN)/python; }
	@echo "Installing the pinned packages into $(VENV) (the first time takes a few minutes)"
	@$(PIP) $(PIP_ARGS) setuptools torch && $(PIP) $(PIP_ARGS) --no-build-isolation -e '.[dev]' || { \
	  echo "Error: pip could not install the versions of constraints.txt (its own words are above)." >&2; \
	  echo "genctl runs on Linux with glibc 2.28 or newer (x86-64, arm64) and macOS on Apple silicon;" \
	       "check the network and pip's configuration (pip config list), then run make again." >&2; \
	  exit 3; }
	@# Plain paths beside pip's import hook: without them a folder named genctl in the working directory, such as
	@# this clone seen from its parent, would hide the package.
	@site=`$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'` && \
	  printf '%s\n' "$(CURDIR)/cli" "$(CURDIR)/platform" "$(CURDIR)/workers" > "$$site/genctl-source.pth"
	@touch $(STAMP)
