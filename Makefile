.PHONY: help test clean
help:
	@echo "make test   every check and test"
	@echo "make clean  remove what these made"

.venv/ready: setup.cfg
	python3 -m venv .venv
	.venv/bin/python -m pip install -q -e '.[test]'
	touch $@

test: .venv/ready
	.venv/bin/python -m tests.run

clean:
	rm -rf .venv *.egg-info _trial_temp* .coverage .hypothesis build dist
