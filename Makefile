# make build   bin/cutover, one static binary
# make demo    the whole story on this machine in two minutes: promote, revert, back; installs what it needs and says so
# make test    lint, then all tests on the real Docker, Compose and nginx, with the race detector; nothing may be skipped
# make bench   how soon a cutback takes effect, beside nginx's reload and HAProxy, and what cutover costs; .bench/results.json, in twelve minutes
# make e2e-django  Django, Celery, MariaDB and Redis in two colors: a promotion, a revert, a cutback; .bench/django.json, in five minutes
# make lint    gofmt, go vet, staticcheck, govulncheck
# make clean   removes what make made

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FOLDERS := $(wildcard cmd traffic stacks nginxconf templates e2e)

.PHONY: build demo test bench e2e-django lint setup clean

# The tag leaves out what would write manual pages, and what each start would pay for it.
build:
	CGO_ENABLED=0 go build -tags urfave_cli_no_docs -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)" -o bin/cutover ./cmd/cutover

setup:
	@sh e2e/setup.sh

demo: build setup
	go build -buildvcs=false -o .tools/demo ./e2e/demo
	@bash e2e/with-engine.sh .tools/demo

# The end-to-end scenes run alone: beside other tests on a small machine their load would measure those.
test: build setup lint
	@sh e2e/setup.sh nginxes
	@sh e2e/setup.sh prometheus
	@sh e2e/setup.sh redis
	go build -buildvcs=false -o .tools/testrun ./e2e/testrun
	CUTOVER_REQUIRE_REAL=1 bash e2e/with-engine.sh .tools/testrun -race -count=1 -timeout 15m $$(go list ./... | grep -vx cutover/e2e)
	CUTOVER_REQUIRE_REAL=1 bash e2e/with-engine.sh .tools/testrun -race -count=1 -timeout 35m ./e2e

bench: build setup
	@sh e2e/setup.sh bench
	go build -buildvcs=false -o .tools/bench ./e2e/bench
	@bash e2e/with-engine.sh .tools/bench

e2e-django: build setup
	go build -buildvcs=false -o .tools/e2e-django ./e2e/django
	@bash e2e/with-engine.sh .tools/e2e-django

lint:
	@sh e2e/setup.sh lint
	@unformatted=$$(gofmt -l $(FOLDERS)); if [ -n "$$unformatted" ]; then echo "gofmt -w:" $$unformatted; exit 1; fi
	go vet ./...
	.tools/staticcheck ./...
	@sh e2e/vulncheck.sh

clean:
	rm -rf bin .tools .demo .bench .e2e
