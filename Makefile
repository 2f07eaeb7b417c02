# What people do daily. Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
CHAPTERS = $(sort $(wildcard nbs/[0-9]*.ipynb nbs/*/*.ipynb))
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: run serve test test-package test-chapters test-scale lab refresh readme bench bench-scale results faults soak clean-notebooks help

help:
	@echo "make run      the pipeline on data/pydocs (quick profile), its headline and three answers"
	@echo "make serve    a search page and an HTTP service on what make run made, at http://127.0.0.1:8000"
	@echo "make test     everything that CI runs"
	@echo "make lab      JupyterLab on the chapters"
	@echo "make refresh  execute all chapters again, clean them, export the package, make README.md"
	@echo "make bench    timings and sizes, to runs/bench.json; encoders and service, to data/pydocs; an hour"
	@echo "make bench-scale  a search from 10,000 to ten million documents, and what engines find; some hours"
	@echo "make test-scale   encoding through Ray; needs memory and a quiet machine"
	@echo "make soak     kill runs at 100 random moments, damage artifacts and input; the figures that README shows"
	@echo "make faults   inject every fault, write the table that the chapter on failures shows"
	@echo "make results  the full profile with three seeds, and what each kind of pairs does, to data/pydocs; many hours"
	@echo "              without an accelerator, goes on where it stopped; PEOPLE=FOLDER: a BEIR folder of people's questions"

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --retries 0 --extra-index-url https://download.pytorch.org/whl/cpu $(shell grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

run: $(VENV)/.installed
	$(BIN)/semantic-nb run
	@echo
	@printf '%s\n' "most common elements of a list" "remove spaces from both ends of a string" "draw samples from a bell curve" | $(BIN)/semantic-nb search -k 3

serve: $(VENV)/.installed
	$(BIN)/semantic-nb serve

# Side by side, so one thread each. Chapters at the smallest scale; solutions run in tests/test_book.py.
test: $(VENV)/.installed
	$(MAKE) -j2 test-package test-chapters

test-package test-chapters: export OMP_NUM_THREADS = 1
test-package test-chapters: export SEMANTIC_NB_THREADS = 1

test-package: $(VENV)/.installed
	$(BIN)/python -m pytest --durations 12 tests

test-chapters: export SEMANTIC_NB_PROFILE = tiny
test-chapters: $(VENV)/.installed
	$(BIN)/python -m pytest --durations 12 --nbval-lax --nbval-current-env --nbval-cell-timeout 1800 \
		--ignore nbs/solutions nbs

lab: $(VENV)/.installed
	$(BIN)/jupyter lab nbs

refresh: $(VENV)/.installed
	$(BIN)/nbdev-export
	for chapter in $(CHAPTERS); do echo $$chapter; TQDM_DISABLE=1 $(BIN)/jupyter nbconvert --to notebook --execute --inplace --log-level WARN $$chapter || exit 1; done
	$(MAKE) readme
	$(MAKE) clean-notebooks

readme: $(VENV)/.installed
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --log-level WARN nbs/index.ipynb
	$(BIN)/jupyter nbconvert --to markdown --no-input --log-level WARN --stdout nbs/index.ipynb | sed -e 's#](\([0-9a-z_/]*\.\(ipynb\|png\)\))#](nbs/\1)#g' -e 's#](../#](#g' | cat -s > README.md

clean-notebooks: $(VENV)/.installed
	$(BIN)/python nbs/plumbing/drop_progress.py
	$(BIN)/nbdev-clean
	$(BIN)/nbdev-export

bench: $(VENV)/.installed
	$(BIN)/python tests/measurements/cost.py
	$(BIN)/python tests/measurements/encoders.py
	$(BIN)/python tests/measurements/serving.py

bench-scale: $(VENV)/.installed
	$(BIN)/python tests/measurements/growth.py --most 10000000
	$(BIN)/python tests/measurements/engines.py

# Not in `make test`: Ray starts a dozen processes.
test-scale: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[scale]'
	WITH_RAY=1 $(BIN)/python -m pytest tests/scale/test_ray.py

soak: $(VENV)/.installed
	$(BIN)/python tests/reliability/soak.py

faults: $(VENV)/.installed
	$(BIN)/python -m pytest tests/faults --write-table

results: $(VENV)/.installed
	$(BIN)/python tests/measurements/results.py
	$(BIN)/python tests/measurements/silent_failure.py $(if $(PEOPLE),--people $(PEOPLE))
