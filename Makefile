# make demo    install into .venv and find the faces of examples/
# make test    everything a change must pass: lint, types, layers, tests, the base install, and
#              the page's own tests where Node.js is there
# make web     build the page that `extd web` serves; needs Node.js 20.19 or newer
# make browser test the page in Chromium, which it installs where it is missing (Debian, as root)
# make coverage  the tests with branch coverage, which must reach 90 %
# make report  the tables and figures of docs/results; what needs data is made where it is named:
#              make report WIDER=DIR OFFICIAL=DIR PEERS=DIR
# make fuzz    damaged inputs of every kind, in child processes: COUNT=100000 KINDS=images
# make soak    memory while blurring images and films: MINUTES=60 IMAGES=20000
# make clean   remove what the others made
#
# PYTHON=python3.12 chooses the interpreter, TORCH=torch the newest torch for the tests.
# A CPU build of torch is taken where pip finds one, as in a folder that PIP_FIND_LINKS names.

PYTHON ?= python3
TORCH ?= torch==2.13.0

VENV := .venv
# Holds no torch, to prove that detection needs none.
BASE := .venv-base
PIP := -m pip install --quiet --disable-pip-version-check
DEMO_READY := $(VENV)/.ready-demo
TEST_READY := $(VENV)/.ready-test-$(shell printf '%s' '$(TORCH)' | cksum | cut -d ' ' -f 1)
BASE_READY := $(BASE)/.ready
NODE_READY := web/node_modules/.package-lock.json
PACKAGE := pyproject.toml README.md LICENSE $(shell find src/extd -type f ! -name '*.pyc')

.PHONY: demo test lint types layers unit page web browser coverage base report fuzz soak clean
.NOTPARALLEL:

demo: $(DEMO_READY)
	$(VENV)/bin/extd detect examples --out results/demo
	@printf '\nThe pictures with their faces framed are in %s\n' '$(CURDIR)/results/demo'

test: lint types layers unit page base
	@echo 'All checks passed.'

lint: $(TEST_READY)
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .

types: $(TEST_READY)
	$(VENV)/bin/python -m mypy src tests benchmarks paper tools

layers: $(TEST_READY)
	$(VENV)/bin/lint-imports

unit: $(TEST_READY)
	$(VENV)/bin/python -m pytest --numprocesses auto

ifeq ($(shell command -v npm),)
page:
	@echo 'The tests of web/ were left out: there is no npm; install Node.js 20.19 or newer.' >&2

web browser:
	@echo 'The page needs npm; install Node.js 20.19 or newer.' >&2; exit 1
else
page: $(NODE_READY)
	cd web && npm run check && npm test

web: $(NODE_READY) $(DEMO_READY)
	cd web && npm run build
	$(VENV)/bin/python $(PIP) --editable web/python

browser: web $(TEST_READY)
	@test -x "$${CHROMIUM:-/usr/bin/chromium}" || \
	{ apt-get update && apt-get install --yes --no-install-recommends chromium; }
	cd web && PYTHON=../$(VENV)/bin/python npm run browser
endif

coverage: $(TEST_READY)
	$(VENV)/bin/python -m pytest --numprocesses auto --cov --cov-report=term

base: $(BASE_READY)
	$(BASE)/bin/python .ci/base_install.py
	$(BASE)/bin/extd detect examples/astronaut.jpg --json - | grep '"score"'

RESULTS := docs/results
SHIPPED := extd-lite extd-lite-nano extd-fpn-32-prelu
FOUND := $(addprefix results/found/,$(SHIPPED))
RUN := $(VENV)/bin/python
TRUTH = --ground-truth '$(WIDER)/ground_truth'
IMAGES = --images '$(WIDER)/WIDER_val/images' $(TRUTH)
# Both precisions: a model's name means int8 where the processor is faster with it.
BENCH = $(SHIPPED) src/extd/weights/extd-lite.onnx src/extd/weights/extd-lite-nano.onnx $(if $(PEERS),--peers '$(PEERS)')
LATENCY = $(RUN) benchmarks/latency.py $(BENCH) --rounds 8

report: $(TEST_READY)
	$(RUN) paper/cost_table.py --out $(RESULTS)/models
	$(LATENCY) --out $(RESULTS)/bench
	$(LATENCY) --threads 0 --out $(RESULTS)/bench-all-cores
ifdef WIDER
	$(RUN) benchmarks/accuracy.py $(BENCH) $(IMAGES) --latency $(RESULTS)/bench/latency.csv \
	  --out $(RESULTS)/bench --save-predictions results/found/bench
	$(foreach model,$(SHIPPED),$(VENV)/bin/extd eval wider --model $(model) $(IMAGES) \
	  --json $(RESULTS)/wider/$(model).json --save-predictions results/found/$(model) &&) true
	$(RUN) paper/precision_recall.py $(FOUND) $(TRUTH) --out $(RESULTS)/pr \
	  $(if $(OFFICIAL),--official '$(OFFICIAL)')
	$(RUN) paper/recall.py size $(FOUND) $(TRUTH) --out $(RESULTS)/recall
	$(RUN) paper/recall.py attributes $(FOUND) $(TRUTH) --out $(RESULTS)/attributes
	$(RUN) paper/gallery.py $(IMAGES) --out results/gallery.png
endif
	$(RUN) paper/tradeoff.py --out $(RESULTS)/tradeoff \
	  $(if $(and $(WIDER),$(PEERS)),--accuracy $(RESULTS)/bench/ap.csv)

COUNT ?= 1000
KINDS ?=
MINUTES ?= 60
IMAGES ?= 20000

fuzz: $(TEST_READY)
	$(RUN) tools/fuzz.py $(KINDS) --count $(COUNT)

soak: $(TEST_READY)
	$(RUN) tools/soak.py --minutes $(MINUTES) --images $(IMAGES)

clean:
	rm -rf $(VENV) $(BASE) results/demo web/node_modules web/python/extd_web/dist

$(DEMO_READY): pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) --editable .
	@touch $@

$(TEST_READY): pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) '$(TORCH)'
	$(VENV)/bin/python $(PIP) --editable '.[dev]'
	@rm -f $(VENV)/.ready-test-*
	@touch $@ $(DEMO_READY)

$(NODE_READY): web/package-lock.json
	cd web && npm ci
	@touch $@

$(BASE_READY): $(PACKAGE) | $(BASE)/bin/python
	$(BASE)/bin/python $(PIP) .
	@touch $@

$(VENV)/bin/python $(BASE)/bin/python:
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo 'extd needs Python 3.11 or newer; name one: make PYTHON=python3.12' >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' || \
	{ echo '$(PYTHON) has no venv; on Debian: apt-get install python3-venv' >&2; exit 1; }
	'$(PYTHON)' -m venv '$(@:/bin/python=)'
