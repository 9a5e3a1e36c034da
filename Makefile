# Two commands on a fresh machine: make figures, make test. Both set up .venv first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
PRESET ?= quick

.PHONY: figures test lint paper validate calibrate gallery bench clean

figures: .venv/ready
	$(PY) -m experiments run --all --preset $(PRESET)

# One thread in each of two processes: more would only fight over the cores.
test: .venv/ready
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile --durations=5

validate: .venv/ready
	$(PY) -m pytest -m validation -v

# How often intervals hold the truth, into docs/statistics.md: some minutes.
calibrate: .venv/ready
	$(PY) -m calibration

gallery: .venv/ready
	$(PY) -m experiments.gallery

lint: .venv/ready
	.venv/bin/ruff check .

paper: figures
	@if command -v latexmk >/dev/null; then cd paper && latexmk -pdf -interaction=nonstopmode -halt-on-error main.tex; \
	else echo "paper: install latexmk with a LaTeX distribution (on Debian: latexmk texlive-latex-recommended), then make paper"; fi

# torch first and alone: a range would let pip take a build with gigabytes of CUDA libraries.
.venv/ready: pyproject.toml constraints.txt
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --disable-pip-version-check torch==2.13.0
	$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# Beside its peers, in an environment of their own: about half an hour.
bench: .bench/ready
	.bench/bin/python -m benchmarks $(BENCH)

.bench/ready: pyproject.toml constraints.txt benchmarks/requirements.txt
	test -x .bench/bin/python || $(PYTHON) -m venv .bench
	.bench/bin/python -m pip install --disable-pip-version-check torch==2.13.0
	.bench/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	.bench/bin/python -m pip install --disable-pip-version-check -c constraints.txt -r benchmarks/requirements.txt
	touch $@

clean:
	rm -rf results paper/figures paper/numbers.tex
