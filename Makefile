# Postern. `make help` lists the targets.

GO ?= go
BIN := bin
BINARIES := $(BIN)/gateway $(BIN)/policyd $(BIN)/policyctl

.PHONY: help build demo test check fmt vet lint unit e2e bench soak docs man clean FORCE

help: ## print this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: $(BINARIES) ## build the three programs into bin/

$(BIN)/%: FORCE
	@mkdir -p $(BIN)
	$(GO) build -o $@ ./cmd/$*

demo: ## run Prosody, policyd and a gateway, with a guided tour (ONCE=1: exit after it)
	@scripts/install-deps.sh demo
	@echo "Building; the first time, with the dependencies, takes some minutes."
	@$(MAKE) --no-print-directory -s build
	@$(GO) build -o $(BIN)/demo ./test/e2e/demo
	@$(BIN)/demo $(if $(ONCE),--once)

test: deps check e2e ## run everything that CI runs: check, then the end-to-end suite

.PHONY: deps
deps:
	@scripts/install-deps.sh test

check: fmt vet lint unit ## run gofmt, vet, staticcheck and the unit tests under the race detector

fmt:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$bad" || { echo "not gofmt-ed:"; echo "$$bad"; exit 1; }

vet:
	$(GO) vet ./...
	$(GO) vet -tags e2e ./test/...

lint:
	$(GO) tool staticcheck ./...
	$(GO) tool staticcheck -tags e2e ./test/...

unit: ## run the unit tests, the import table included, under the race detector
	$(GO) test -race ./...

e2e: build ## run the real programs against real Prosody and ejabberd with real clients
	$(GO) test -tags e2e -count=1 -timeout 9m ./test/e2e/...

bench: build ## run the benchmarks, each beside its lower bound or peer
	scripts/bench.sh

soak: deps build ## run the long forms of the tests
	POSTERN_SOAK=1 $(GO) test -count=1 -timeout 60m ./...
	POSTERN_SOAK=1 $(GO) test -tags e2e -count=1 -timeout 60m ./test/e2e/...

docs: $(BIN)/policyctl ## generate docs/PERMISSIONS.md from the rules and api/server/openapi.json from the routes
	$(BIN)/policyctl permissions --markdown >docs/PERMISSIONS.md
	$(GO) test ./api/server -run '^TestOpenAPI$$' -count=1 -update

man: $(BIN)/policyctl ## write the manual pages into bin/man
	@mkdir -p $(BIN)/man
	$(BIN)/policyctl man >$(BIN)/man/policyctl.1
	cp docs/man/*.8 $(BIN)/man/

clean: ## remove bin/ and the files of the demo
	rm -rf $(BIN) .demo
