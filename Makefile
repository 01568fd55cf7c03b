# Tapedeck: everything a developer runs. `make demo` shows it working, `make test` passes the tests.
# Each target installs what it needs: Go modules through the Go command, test programs through apt (see scripts/).

BIN     := bin
GO      ?= go
SERVICES := producer slicer completer accesslog tapedeck
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/tapedeck-io/tapedeck/internal/version.version=$(VERSION)

.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: web ## Build the commands into bin/
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ $(addprefix ./cmd/,$(SERVICES))

web: ## Build the page that sessions are watched in, if Node is here
	@scripts/build-web.sh

demo: web ## Do the main job once: record, finish, verify and replay a short session
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/tapedeck ./cmd/tapedeck
	$(BIN)/tapedeck demo

test: test-deps web ## Run all tests against real NATS, S3, PTYs and sshd
	$(GO) test -timeout 20m ./...

race: test-deps web ## Run all tests with the race detector
	$(GO) test -race -timeout 30m ./...

test-deps: ## Install the programs that the tests talk to (sshd, tmux, …), if they are missing
	@scripts/install-test-deps.sh

faults: test-deps ## Kill, stop and cut everything at random for DURATION (default 10m), and look for a bad recording
	@scripts/faults.sh

images: web ## Build the images of the services, from scratch, with the Go on this machine
	@scripts/images.sh

compose-test: ## Run the compose stack, offline, stop its parts while it records, and verify every recording
	@scripts/compose-test.sh

lint-deploy: ## Have what lies in deploy/ read by the programs that will run it
	@scripts/lint-deploy.sh

fuzz: ## Fuzz each target for FUZZTIME (default 30s)
	@scripts/fuzz.sh

BENCH      ?= .
BENCHCOUNT ?= 1
bench: ## Run the benchmarks BENCH (default all) BENCHCOUNT times (benchstat wants 6 or more, and reads the output)
	$(GO) test -run '^$$' -bench '$(BENCH)' -count $(BENCHCOUNT) -benchmem -timeout 60m ./pkg/... ./internal/slicer

lint: ## Static checks: vet, golangci-lint with the layers, govulncheck
	$(GO) vet ./...
	$(GO) tool -modfile=tools/lint/go.mod golangci-lint run ./...
	@scripts/vulncheck.sh

generate: ## Write the generated code anew
	tools/generate.sh

generate-check: generate ## Fail if generated code is not current
	git diff --exit-code -- pkg/events

clean: ## Remove what was built
	rm -rf $(BIN) web/node_modules
	find web/dist -mindepth 1 ! -name unbuilt.html -delete

.PHONY: help build web demo test race test-deps faults images compose-test lint-deploy fuzz bench lint generate generate-check clean
