# Postern. `make help` lists the targets.

GO ?= go
BIN := bin
BINARIES := $(BIN)/gateway $(BIN)/policyd $(BIN)/policyctl

.PHONY: help build demo cluster-demo test check fmt vet lint unit e2e bench soak docs man release deb reproducible clean FORCE

help: ## print this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

cluster-demo: ## run a cluster of three nodes and two gateways, and break it, with a guided tour (ONCE=1: exit after it)
	@scripts/install-deps.sh cluster-demo
	@echo "Building; the first time, with the dependencies, takes some minutes."
	@$(MAKE) --no-print-directory -s build
	@$(GO) build -o $(BIN)/clusterdemo ./test/e2e/clusterdemo
	@$(BIN)/clusterdemo $(if $(ONCE),--once)

# The unit tests need the processor and the end-to-end suite mostly waits, so both run
# at once. The unit tests run with the lowest priority: they use only the time that the
# end-to-end suite leaves, so that they do not disturb its deadlines. Each prints its
# output in one piece when it is done. A failure of one fails the whole.
test: deps fmt ## run everything that CI runs: check and the end-to-end suite
	@$(MAKE) --no-print-directory -j2 --output-sync=target beside e2e

.PHONY: beside
beside:
	@nice -n 19 $(MAKE) --no-print-directory check

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

e2e: build deb ## run the real programs against real Prosody and ejabberd with real clients
	$(GO) test -tags e2e -count=1 -timeout 12m ./test/e2e/...

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

# What a release is made of: static programs, the same bytes from the same commit in
# whatever folder they are built.
RELEASE := $(BIN)/release
RELEASE_FLAGS := -trimpath -ldflags "-s -w -buildid="
NFPM := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
ARCH ?= $(shell $(GO) env GOARCH)
# The time of the commit is the version until there are tags, and the time of files.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)
VERSION ?= 0~git$(shell date -u -d @$(SOURCE_DATE_EPOCH) +%Y%m%d.%H%M%S)

release: ## build the static programs of a release into bin/release
	@mkdir -p $(RELEASE)
	CGO_ENABLED=0 GOARCH=$(ARCH) $(GO) build $(RELEASE_FLAGS) -o $(RELEASE)/ ./cmd/gateway ./cmd/policyd ./cmd/policyctl

deb: release man ## build the Debian packages into bin/deb
	@mkdir -p $(BIN)/deb
	@for shell in bash zsh fish; do $(BIN)/policyctl completion $$shell >$(RELEASE)/policyctl.$$shell; done
	@for package in policyctl policyd gateway; do \
		VERSION='$(VERSION)' ARCH=$(ARCH) $(GO) run $(NFPM) package --packager deb --config deploy/debian/$$package.yaml --target $(BIN)/deb || exit 1; \
	done

.PHONY: print-nfpm
print-nfpm:
	@echo $(NFPM)

reproducible: ## build the release twice, in two folders, and compare
	scripts/reproducible.sh

clean: ## remove bin/ and the files of the demo
	rm -rf $(BIN) .demo .cluster-demo
