# vmlaunch: what a developer types. `make` alone prints this list.

GO     := .ci/go
BIN    := bin/vmlaunch
PREFIX := /usr/local
AGENT  := image/embedded/vmlaunch-guest
PROBE  := image/embedded/probe.rom
LDFLAGS = -s -w -X main.version=$(shell .ci/version)

.DEFAULT_GOAL := help
.PHONY: help up test test-more test-distro unit install build needs lint fuzz docs check clean FORCE

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: needs build ## install what is missing, build, start a machine and run a command in it
	@.ci/up

test: ## every test, on nested Linux 7.3, 7.2 and 6.12 hosts too (half an hour)
	@.ci/test

unit: build ## go vet and the tests that this host can run, the model of the ledger in its short form (under a minute)
	$(GO) vet ./...
	VMLAUNCH_BINARY=$(CURDIR)/bin/vmlaunch $(GO) test -short ./...

test-more: build ## what `make test` leaves out for its length: agent and launcher with Linux guests, 1 GiB through a forward, the nest's own life
	.ci/nest-tests linux cmd/vmlaunch-guest launcher
	VMLAUNCH_TEST_MIB=1024 .ci/nest-tests linux e2e
	VMLAUNCH_TEST_NEEDS=nest,qemu $(GO) test -v -count=1 ./nest

test-distro: build ## a stock Debian, made here, boots in a nest and is entered over vsock (minutes)
	@.ci/test-distro

install: build ## bin/vmlaunch into $(DESTDIR)$(PREFIX)/bin (PREFIX is /usr/local)
	install -D -m 0755 $(BIN) '$(DESTDIR)$(PREFIX)/bin/vmlaunch'

build: $(BIN) ## bin/vmlaunch with its built-in guests

needs: ## install what building and running take (apt, as root)
	@.ci/needs

lint: ## golangci-lint, from PATH
	golangci-lint run

fuzz: ## each fuzz target for 30 seconds
	@.ci/fuzz 30s

docs: ## rewrite the tables that docs/ and README.md take from the code
	VMLAUNCH_WRITE_DOCS=1 $(GO) test ./cmd/vmlaunch/command ./internal/layout -run TestDocs -count=1

check: unit lint ## what a change has to pass before it is sent
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))"

clean: ## remove what was built (machines and caches stay: vmlaunch keeps those)
	rm -rf bin build $(PROBE) $(AGENT)
	$(MAKE) -s -C image/probe clean

# Go knows best what is up to date, so it is always asked.
$(BIN): $(PROBE) $(AGENT) FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/vmlaunch

$(AGENT): FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $@ ./cmd/vmlaunch-guest

$(PROBE): FORCE
	@$(MAKE) -s -C image/probe

FORCE:
