# `make help` lists what there is. Only Go and Python 3 have to be installed; the rest is fetched by `go` and `pip`.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The SDK sends usage reports unless told not to.
export DO_NOT_TRACK := 1
# The interpreter with the stock SDK, for everything that runs Python programs.
export BIPLANE_PYTHON ?= $(CURDIR)/.venv/bin/python

GO ?= go
# Binaries are static: no C, so that one file runs on any machine of its kind.
BUILD := CGO_ENABLED=0 $(GO) build -trimpath
PLATFORMS := linux/amd64 linux/arm64 darwin/arm64
PYTEST_ARGS ?= -q -n 2

# Our own packages; generated code is held by the test that compares it with what the generators make.
PACKAGES = $$($(GO) list ./... | grep -v '/gen/')
UNIT = $$($(GO) list ./... | grep -v -e '/gen/' -e '/biplane/test/' -e '/biplane/bench')

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: build venv ## Run two planes on this machine and a first program through them
	@bin/biplane demo

.PHONY: build
build: ## Build the binaries into bin/
	@mkdir -p bin
	$(BUILD) -o bin/ ./cmd/...

.PHONY: cross
cross: ## Build for every platform that has to compile, into bin/OS-ARCH/
	@for platform in $(PLATFORMS); do \
		export GOOS=$${platform%/*} GOARCH=$${platform#*/}; \
		echo "$$GOOS/$$GOARCH"; \
		mkdir -p bin/$$GOOS-$$GOARCH; \
		$(BUILD) -o bin/$$GOOS-$$GOARCH/ ./cmd/...; \
	done

.PHONY: generate
generate: venv ## Write generated code and pages again
	$(GO) run ./tools/protogen -in proto -out gen
	$(GO) run ./tools/trustpage
	$(GO) test ./test/protocol -run TestPage -update

.PHONY: lint
lint: ## Check format, vet and staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt'ed (run make fmt):"; echo "$$unformatted"; exit 1; fi
	$(GO) vet $(PACKAGES)
	$(GO) tool staticcheck $(PACKAGES)

.PHONY: fmt
fmt: ## Format the Go code
	@gofmt -w $$(git ls-files --cached --others --exclude-standard '*.go')

.PHONY: unit
unit: ## Run the tests of the packages
	$(GO) test $(UNIT)

.PHONY: check
check: lint unit ## What must hold before a commit: lint and unit, in under two minutes

.PHONY: test
test: check build cross venv ## Everything: check, all Go tests, the protocol, and the stock SDK against the binaries
	$(GO) test ./...
	@if [ -d test/sdk ]; then $(BIPLANE_PYTHON) -m pytest test/sdk $(PYTEST_ARGS); fi

.PHONY: test-boundary
test-boundary: build venv ## Show that nothing readable gets into the control plane (a part of test)
	$(BIPLANE_PYTHON) -m pytest test/sdk/test_boundary.py -q

.PHONY: race
race: ## Run the Go tests with the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race $(UNIT)

.PHONY: bench
bench: build venv ## Measure, print a table and write bench/out/*.jsonl
	@mkdir -p bench/out
	$(GO) run ./bench

.PHONY: venv
venv: ## Make .venv with the stock SDK and the test tools
	@tools/venv.sh

.PHONY: lock
lock: venv ## Pin what tools/requirements.in asks for in tools/requirements.txt
	.venv/bin/uv pip compile --quiet --universal --python-version 3.10 --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' tools/requirements.in -o tools/requirements.txt

.PHONY: clean
clean: ## Remove what was built, not the Python environment
	@rm -rf bin bench/out
