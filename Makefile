.PHONY: help run test bench clean
help:
	@echo "make run    the whole platform on loopback, the gateway at 127.0.0.1:3000"
	@echo "make test   every check and test"
	@echo "make bench  the gateway and its peers side by side, into bench/RESULTS.md"
	@echo "make clean  remove what these made"

.venv/ready: setup.cfg
	python3 -m venv .venv
	.venv/bin/python -m pip install -q -e '.[test]'
	touch $@

test: .venv/ready
	.venv/bin/python -m tests.run

run: .venv/ready
	.venv/bin/python -m tests.platform.run

bench: .venv/ready
	.venv/bin/python -m bench.run

clean:
	rm -rf .venv *.egg-info _trial_temp* .coverage .hypothesis build dist
