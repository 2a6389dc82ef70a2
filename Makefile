# Everything runs in .venv, with hashed, pinned requirements. `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
# SAM asks boto3 for the region, which fails with a shell's AWS settings that boto3 can't use.
SAM := env -i PATH="$$PATH" HOME="$$HOME" AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null \
	AWS_DEFAULT_REGION=us-east-1 SAM_CLI_TELEMETRY=0 .venv-sam/bin/sam
CHECKOV := .venv-checkov/bin/checkov
PIP := -m pip install --quiet --disable-pip-version-check --no-deps
JOBS ?= 4

.DEFAULT_GOAL := help
.PHONY: help demo local browser test second-emulator bench lint docs screenshots format requirements clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | column -t -s '|'

demo: .venv/.installed ## run everything end to end on this machine, and reconcile the result
	$(BIN)/export-jobs demo

local: .venv/.installed ## run the whole system on this machine until Ctrl-C
	$(BIN)/export-jobs local

test: browser lint ## lint, type-check and run every test; needs Chromium or Chrome
	$(BIN)/pytest -n $(JOBS) --dist loadgroup --cov --cov-report term:skip-covered --cov-fail-under 96

second-emulator: .venv/.installed .venv-ministack/.installed ## run what depends most on AWS against ministack instead of moto
	$(BIN)/pytest -n $(JOBS) --dist loadgroup --ministack .venv-ministack/bin/python \
		tests/second_emulator tests/faults \
		$(addprefix tests/integration/test_,commits.py names.py queues.py reads.py tables.py)

bench: .venv-bench/.installed .venv-sam/.installed ## measure cost and speed side by side with alternatives, into docs/performance.md
	.venv-bench/bin/python -m benchmarks --page docs/performance.md

lint: .venv/.installed .venv-sam/.installed .venv-checkov/.installed ## run ruff, mypy, import-linter, bandit and the checks of the template
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy layers/export_jobs/export_jobs cli/export_jobs_cli local/export_jobs_local
	MYPYPATH=functions/monitor $(BIN)/mypy functions/monitor/app.py
	MYPYPATH=functions/creator $(BIN)/mypy functions/creator/app.py
	$(BIN)/lint-imports --no-logo
	$(BIN)/bandit --quiet --recursive layers/export_jobs/export_jobs functions
	$(BIN)/cfn-lint template.yaml
	$(SAM) validate --lint
	$(CHECKOV) --quiet --compact --skip-download --framework cloudformation --file template.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms \
		$(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))

docs: .venv/.installed ## generate docs/cli.md, docs/schemas and the schemas in the template
	$(BIN)/typer export_jobs_cli.main utils docs --name export-jobs --title Commands --output docs/cli.md
	$(BIN)/python -m export_jobs_local.schemas
	$(BIN)/python -m export_jobs_cli.expectations.schema

browser: .venv/.installed
	@$(BIN)/python tests/support/browser.py

screenshots: browser demo ## run the demo, and make the README's pictures of its page; needs Chromium or Chrome
	PYTHONPATH=tests $(BIN)/python -m support.screenshots .export-jobs/demo/page docs/images

format: .venv/.installed ## format the code
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

requirements: .venv/.installed ## pin the latest requirements, with hashes
	$(BIN)/python $(PIP) uv
	$(call compile,requirements/dev) --universal --python-version 3.11
	$(call compile,requirements/sam)
	$(call compile,requirements/checkov)
	$(call compile,requirements/ministack)
	$(call compile,requirements/bench) --universal --python-version 3.11 $(addprefix --no-emit-package ,\
		pygraphviz psycopg2 psycopg2-binary)
	$(call compile,layers/export_jobs/requirements) --python-version 3.13 \
		--python-platform aarch64-manylinux2014 $(addprefix --no-emit-package ,\
		boto3 botocore s3transfer jmespath python-dateutil six)

compile = $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url \
	--custom-compile-command "make requirements" $(1).in --output-file $(1).txt

clean: ## remove everything that was generated
	rm -rf .venv .venv-sam .venv-checkov .venv-ministack .venv-bench .aws-sam .export-jobs .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage* *.egg-info

.venv/.installed: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python $(PIP) --require-hashes --requirement requirements/dev.txt
	$(BIN)/python $(PIP) --no-build-isolation --editable .
	@touch $@

# The SAM CLI's pins conflict with ours.
.venv-sam/.installed: requirements/sam.txt
	$(PYTHON) -m venv --clear .venv-sam
	.venv-sam/bin/python $(PIP) --require-hashes --requirement requirements/sam.txt
	@touch $@

# So do Checkov's.
.venv-checkov/.installed: requirements/checkov.txt
	$(PYTHON) -m venv --clear .venv-checkov
	.venv-checkov/bin/python $(PIP) --require-hashes --requirement requirements/checkov.txt
	@touch $@

# So do ministack's; its server runs there, and the tests in .venv.
.venv-ministack/.installed: requirements/ministack.txt
	$(PYTHON) -m venv --clear .venv-ministack
	.venv-ministack/bin/python $(PIP) --require-hashes --requirement requirements/ministack.txt
	@touch $@

# Adobe's community client needs pandas and more, which only the benchmarks may use. Its packages for
# graphs and databases are left out: they need C libraries, and no benchmark needs them.
.venv-bench/.installed: requirements/bench.txt pyproject.toml
	$(PYTHON) -m venv --clear .venv-bench
	.venv-bench/bin/python $(PIP) --require-hashes --requirement requirements/bench.txt
	.venv-bench/bin/python $(PIP) --no-build-isolation --editable .
	@touch $@
