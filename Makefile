# Two commands do everything on a fresh machine with Python >= 3.11: `make map` and `make test`.
# Both set up a virtual environment in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: map figures test test-all lint docs coverage dist bench clean

map: $(VENV)/installed
	$(BIN)/olsbn map --data diabetes --standardize --out figures/map-diabetes

# Every figure to be cited, two at a time: PNG, PDF and data. Networks take hours, `make bench` and `make map` have their own.
FIGURES := heat_map null_part dimension three_slopes infinite_dimension momentum_edge batch_limit scale_invariance regimes \
	parameters edge_of_stability auto_tuning contraction kappa_star norm_and_angle smoothness
figures: $(VENV)/installed
	printf '%s\n' $(FIGURES) | xargs -P 2 -I NAME $(BIN)/python experiments/NAME.py

test: $(VENV)/installed-test lint
	$(BIN)/python -m pytest -n auto

# with JAX and a bucket as well
test-all: $(VENV)/installed-test-all lint
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/installed-test
	$(BIN)/ruff check olsbn tests experiments benchmarks tools docs
	$(BIN)/ruff format --check olsbn tests experiments benchmarks tools docs
	$(BIN)/mypy
	$(BIN)/lint-imports --config setup.cfg

docs: $(VENV)/installed-docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

coverage: $(VENV)/installed-test-all
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report

# What is published, from the last commit, checked. ADDRESS is the public address of the repository: RELEASING.md
ADDRESS ?=
dist: $(VENV)/created
	$(BIN)/python -m pip install --quiet build twine
	rm -rf dist build/dist && mkdir -p build/dist
	git archive HEAD | tar -x -C build/dist
	test -z "$(ADDRESS)" || $(PYTHON) tools/address.py build/dist "$(ADDRESS)"
	$(BIN)/python -m build --outdir dist build/dist
	$(BIN)/twine check --strict dist/*

bench: $(VENV)/installed-bench
	$(BIN)/python benchmarks/engine.py --out figures/bench
	$(BIN)/python benchmarks/methods.py --out figures/bench

$(VENV)/created:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "olsbn needs Python >= 3.11; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	touch $@

# The package is installed in place, so that only a change of its metadata calls for another installation.
$(VENV)/installed: $(VENV)/created setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[data]'
	touch $@

$(VENV)/installed-test: $(VENV)/created setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/installed

$(VENV)/installed-test-all: $(VENV)/created setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[test-all]'
	touch $@ $(VENV)/installed-test $(VENV)/installed

$(VENV)/installed-docs: $(VENV)/created setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@ $(VENV)/installed

$(VENV)/installed-bench: $(VENV)/created setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	touch $@

clean:
	rm -rf $(VENV) results build dist docs/_build docs/made *.egg-info .pytest_cache .mypy_cache .ruff_cache
