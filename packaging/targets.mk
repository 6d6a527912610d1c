# Included by the Makefile: what installs and packages the gateway. docs/install.md says how each is used.
.PHONY: lock wheels install uninstall deb image version
PREFIX ?= /opt/smartgate
LOCK = packaging/requirements.lock
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' gateway/__init__.py)
# The Python that will run it, as 3.11, where that is not $(PYTHON) itself.
FOR ?= $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
WHEELS = build/wheels-$(FOR)
OWN = $(WHEELS)/smartgate-$(VERSION)-py3-none-any.whl
FETCH = build/pip/bin/python -m pip -q --disable-pip-version-check

lock: .venv/ready
	@$(PIP) -e '.[lock]'
	@CUSTOM_COMPILE_COMMAND="make lock" .venv/bin/pip-compile -q --upgrade --strip-extras --allow-unsafe --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --no-emit-trusted-host -o $(LOCK) setup.cfg

build/pip/ready:
	@$(PYTHON) -m venv build/pip
	@touch $@

$(WHEELS)/.ready: build/pip/ready $(LOCK)
	@rm -rf $(WHEELS)
	@$(FETCH) download --no-deps --only-binary=:all: --python-version $(FOR) --require-hashes -r $(LOCK) -d $(WHEELS)
	@touch $@

# The gateway's own is made anew when anything has changed or gone, and not of what an earlier build left. So who installs
# as root after `make wheels` makes nothing, and needs no index.
$(OWN): $(WHEELS)/.ready setup.cfg pyproject.toml README.md $(shell find gateway twisted -name __pycache__ -prune -o \( -type d -o -name '*.py' \) -print)
	@rm -rf build/lib build/bdist.* $(WHEELS)/smartgate-*
	@$(FETCH) wheel --no-deps -w $(WHEELS) .
	@rm -rf build/lib build/bdist.*
	@touch $@

wheels: $(OWN)

install: wheels
	@install -d $(DESTDIR)$(dir $(PREFIX))
	@PYTHON=$(PYTHON) packaging/venv.sh $(WHEELS) $(DESTDIR)$(PREFIX) $(PREFIX)
	@DESTDIR=$(DESTDIR) packaging/host.sh install $(PREFIX)

uninstall:
	@DESTDIR=$(DESTDIR) packaging/host.sh uninstall $(PREFIX)

deb: wheels
	@PYTHON=$(PYTHON) packaging/deb.sh $(WHEELS) $(VERSION) dist

# Of Debian 12's Python, whatever this machine's is.
image:
	@$(MAKE) -s wheels FOR=3.11
	@packaging/image.sh build/wheels-3.11 smartgate:$(VERSION) $(if $(BASE),--build-arg BASE=$(BASE))

version:
	@echo $(VERSION)
