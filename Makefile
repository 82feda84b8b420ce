# `make demo` and `make test` need only git, make and Python 3.11 or newer; everything else they fetch.
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
PY := .venv/bin/python
READY := .venv/.ready

.PHONY: demo view test check bench setup lock clean

demo: $(READY)
	@.venv/bin/simworld run friendship_paradox
	@echo "to see it move in the browser: make view"
	@echo "to type simworld yourself: source .venv/bin/activate"

view: $(READY)
	@.venv/bin/simworld view last

test: $(READY)
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-cache
	@$(PY) -m pytest -n 2 tests

check: $(READY)
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .
	@$(PY) -m mypy
	@.venv/bin/lint-imports --no-cache
	@$(PY) -m pytest -n 2 -m "not slow" tests

bench: $(READY)
	@$(PY) -m tests.bench

setup: $(READY)

# uv looks for an interpreter that is already here and downloads one only if there is none.
$(READY): requirements.lock pyproject.toml $(filter .tools/bin/uv,$(UV))
	@test -x $(PY) || $(UV) venv --quiet --python '>=3.12,<3.15' --no-python-downloads .venv 2>/dev/null || $(UV) venv --quiet --python '>=3.12,<3.15' .venv
	@echo "installing the pinned packages into .venv (about 150; a minute on a slow line)"
	@$(UV) pip sync --quiet --python $(PY) --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	@touch $@

.tools/bin/uv:
	@echo "fetching uv through pip into .tools"
	@python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .tools uv

lock:
	$(UV) pip compile pyproject.toml --group dev --universal --python-version 3.12 --generate-hashes --no-header --no-emit-index-url --quiet --output-file requirements.lock $(ARGS)

clean:
	rm -rf .venv .tools .pytest_cache .mypy_cache .ruff_cache .hypothesis
