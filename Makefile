# Everything a person or a machine does with this repository. `make` alone lists it.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# No part needs a C compiler, and a binary without C runs on any Linux. Tests and builds share what they
# compile only when they agree on this.
export CGO_ENABLED := 0

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo development)
WEB := $(shell find web/src web/public web/scripts web/index.html web/vite.config.ts web/tsconfig.json -type f 2>/dev/null)
GO := $(shell find cmd internal examples web -name '*.go' -not -path '*/node_modules/*' 2>/dev/null) go.mod go.sum
EMBEDDED := $(shell find internal examples -type f -not -name '*.go' 2>/dev/null)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: bin/flywheel bin/searchd ## Build bin/flywheel with its pages, and bin/searchd

bin/flywheel: $(GO) $(EMBEDDED) web/dist/index.html
	go build -ldflags "-s -w -X main.version=$(VERSION)" -o $@ ./cmd/flywheel

bin/searchd: $(wildcard examples/searchd/*) go.mod go.sum
	go build -ldflags "-s -w" -o $@ ./examples/searchd

# Vite empties the folder, and a clone without the placeholder does not compile before its first build.
web/dist/index.html: $(WEB) web/package.json web/node_modules/.stamp
	@mkdir -p tmp; echo "building the pages"; cd web && npm run --silent build >../tmp/pages.log 2>&1 || { cat ../tmp/pages.log >&2; exit 1; }
	touch web/dist/.placeholder $@

web/node_modules/.stamp: web/package-lock.json
	cd web && npm ci --silent --no-progress
	touch $@

e2e/node_modules/.stamp: e2e/package-lock.json
	cd e2e && npm ci --silent --no-progress
	touch $@

.PHONY: deps
deps: ## Install what the tests need, or say what to install
	@scripts/deps.sh test

.PHONY: tofu
tofu: ## Build OpenTofu from its Go module (some minutes, once)
	@scripts/tofu.sh

.PHONY: demo
demo: ## Build everything and play one revolution before your eyes
	@scripts/deps.sh demo
	@$(MAKE) build
	bin/flywheel demo

.PHONY: dev
dev: build ## Serve from ./tmp/data with pages that reload as you edit them
	@trap 'kill 0' EXIT; \
	bin/flywheel serve --data tmp/data & \
	cd web && FLYWHEEL_URL=http://127.0.0.1:7270 npm run dev

.PHONY: gen
gen: web/node_modules/.stamp ## Write openapi.json and the types of the pages
	scripts/gen.sh

.PHONY: fmt
fmt: ## Format Go and tidy the modules
	gofmt -w $$(git ls-files -co --exclude-standard '*.go')
	go mod tidy

.PHONY: lint
lint: web/node_modules/.stamp ## Run go vet, golangci-lint and the type checker of the pages
	go vet ./...
	$$(go -C tools/lint tool -n golangci-lint) run ./...
	@unreachable=$$($$(go -C tools/lint tool -n deadcode) -test ./...); [ -z "$$unreachable" ] || { echo "Nothing calls these functions, delete them:" >&2; echo "$$unreachable" >&2; exit 1; }
	cd web && npm run --silent lint

.PHONY: check
check: web/dist/index.html ## Everything that is checked without running tests
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	[ -z "$$unformatted" ] || { echo "Not formatted (run make fmt):" $$unformatted >&2; exit 1; }
	@go mod tidy -diff >/dev/null || { echo "go.mod is not tidy: run make fmt and commit it." >&2; exit 1; }
	@$(MAKE) lint
	@scripts/gen.sh --check
	@scripts/links.sh

.PHONY: test
test: web/node_modules/.stamp e2e/node_modules/.stamp ## Run all tests: Go on SQLite and PostgreSQL, pages, browser
	@scripts/deps.sh test
	@$(MAKE) build
	@scripts/test.sh

.PHONY: kill
kill: ## Kill server, engine and agent at every step, cut disk and database (some minutes)
	@scripts/deps.sh test
	FLYWHEEL_KILL=1 go test -count=1 -timeout 0 ./internal/server

.PHONY: cloud
cloud: ## Deploy a pattern of the AWS provider (FLYWHEEL_TEST_MIRROR=FOLDER, with moto_server on PATH)
	go test -count=1 -v -timeout 0 -run 'TestScenarios/^cloud$$' ./scenario

.PHONY: matrix
matrix: ## Play the scenarios on the pairs of engine and database that make test leaves out
	@scripts/deps.sh test
	FLYWHEEL_ENGINE=$$(scripts/tofu.sh) go test -count=1 -timeout 0 ./scenario
	@command -v terraform >/dev/null || { echo "terraform is not on PATH: the pair with PostgreSQL is left out." >&2; exit 1; }
	trap 'scripts/postgres.sh stop' EXIT; eval "$$(scripts/postgres.sh start)"; FLYWHEEL_ENGINE=$$(command -v terraform) go test -count=1 -timeout 0 ./scenario

.PHONY: bench
bench: build ## Measure what README.md and the decisions state
	@scripts/deps.sh demo
	go run ./bench -flywheel bin/flywheel

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin tmp web/dist/assets web/dist/index.html
