# make demo  -> a trained model, a metrics table and pictures from a synthetic cohort, without network after installation
# make test  -> what CI runs: install, linters, types, unit tests, notebooks
# make docs  -> the documentation site in _docs/site

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP     = TMPDIR=$(abspath $(VENV))/tmp $(BIN)/python -m pip install --quiet    # some GB of wheels: /tmp is often small
export HF_HUB_OFFLINE = 1
export MPLBACKEND = Agg

.PHONY: install demo test lint unit notebooks notebooks-outputs pictures nuclei-model docs fuzz kills read-back test-oldest lock clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	mkdir -p $(VENV)/tmp
	$(PIP) --upgrade pip
	$(PIP) torch torchvision           # first: pip deletes their large wheels before it fetches the rest
	$(PIP) -e ".[dev]"
	touch $@

demo: install
	$(BIN)/dedl-fastai seg --arch unet --encoder efficientnet-b0 --out runs/demo-$$(date +%Y%m%d-%H%M%S)

test: install                          # linters and notebooks use one core each
	$(MAKE) --no-print-directory -j2 lint notebooks
	$(MAKE) --no-print-directory unit

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

unit: install
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder    # a file's tests share trained runs; the slow files are not last

fuzz: install                          # damaged files of all formats, for an hour or SECONDS; see tests/faults/mutants.py
	$(BIN)/python -W ignore -m tests.faults.mutants $(or $(SECONDS),3600) 2> /dev/null

kills: install                         # commands killed before each of their file operations; see tests/faults/kills.py
	$(BIN)/python -W ignore -m tests.faults.kills $(or $(SECONDS),3600) $(COMMANDS)

notebooks: install
	$(BIN)/nbdev-test --n-workers 1 --timing

notebooks-outputs: install             # after a change of a notebook: runs them and stores their outputs
	PYTHONWARNINGS=ignore::FutureWarning $(BIN)/python -m tests.notebooks

pictures: install                      # docs/images of the pages, after a change of their looks; needs Chromium
	$(BIN)/python -W ignore -m tests.view.pictures docs/images

docs: $(VENV)/.docs                    # warnings, such as a broken link, are errors
	$(BIN)/python docs/site/pages.py _docs/source
	$(BIN)/python -m sphinx -W --keep-going -q -c docs/site _docs/source _docs/site
	@echo "the site: _docs/site/index.html"

$(VENV)/.docs: $(VENV)/.installed
	$(PIP) -e ".[docs]"
	touch $@

read-back:                             # the wheel in a new environment; its files read by other libraries. FIELDS=FOLDER RULES=FILE
	$(PYTHON) tests/packages/from_wheel.py $(if $(FIELDS),--fields "$(FIELDS)") $(if $(RULES),--rules "$(RULES)")

OLDEST ?= .venv-oldest
QUICK  := tests/io tests/scores tests/cells tests/phenotypes tests/data tests/cli/test_command.py \
          tests/cli/test_data_and_doctor.py tests/runs/test_hub.py tests/runs/segmentation/test_training.py
test-oldest:                           # a quick part of the tests with the oldest versions that pyproject.toml allows
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet uv
	VIRTUAL_ENV=$(OLDEST) $(OLDEST)/bin/uv pip install --quiet --resolution lowest-direct -e . "pytest==8.*" "pytest-timeout==2.*" "tomli==2.*"
	PYTHONPATH= $(OLDEST)/bin/python -W ignore -m pytest $(QUICK)

lock: install                          # packaging/lock.txt: the newest versions, for Python 3.10 to 3.13 on any system
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-annotate --no-emit-index-url \
	    --custom-compile-command "make lock" --output-file packaging/lock.txt pyproject.toml

DSB2018 ?= dsb2018_fluo
LUNG ?= inform_lung_fields
nuclei-model: install                  # trains the model in dedl_fastai/models/nuclei again: half an hour to 80 minutes on one core
	mkdir -p runs
	{ echo image,mask,channel; for f in "$(abspath $(LUNG))"/Set4_1*_composite_image.jpg; do \
	  echo "\"$$f\",\"$${f%composite_image.jpg}binary_seg_maps.tif\",blue-only"; done; } > runs/set4_1.csv
	$(BIN)/dedl-fastai seg --data $(DSB2018) --train-only runs/set4_1.csv --preset best --tile 128 --seed 26 --out runs/nuclei
	$(BIN)/dedl-fastai export runs/nuclei --format run --out dedl_fastai/models/nuclei

clean:
	rm -rf $(VENV) $(OLDEST) build dist *.egg-info
