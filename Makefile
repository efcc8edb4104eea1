# Two commands from a fresh clone with nothing installed but Python 3.11, git and make:
#   make demo   the main job        make test   lint, types, tests
#   make docs   the documentation as HTML, in docs/_build/html
# Each has its own virtual environment.
PYTHON ?= python3
SOURCES := $(shell find models checker proofs -name '*.py')

.PHONY: demo test docs clean

demo: .venv-demo/ready
	.venv-demo/bin/check-strategy nop-then-back --use-case livepatch || [ $$? -eq 1 ]  # it is violated: that is the point
	.venv-demo/bin/check-strategy careful-call-to-call
	.venv-demo/bin/check-strategy catalogue

test: .venv-test/ready
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy
	.venv-test/bin/pytest -n auto --dist loadscope
	.venv-test/bin/check-strategy catalogue
	.venv-test/bin/check-strategy docs --check

docs: .venv-test/ready
	.venv-test/bin/sphinx-build -W -b html docs docs/_build/html

.venv-demo/ready: pyproject.toml $(SOURCES)
	$(PYTHON) -m venv .venv-demo
	.venv-demo/bin/pip install --quiet .
	touch $@

.venv-test/ready: pyproject.toml
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv-demo .venv-test build docs/_build *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache
