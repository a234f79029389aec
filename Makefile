# make demo  shows the main job: Services in, packets balanced by a real IPVS kernel
# make test  passes all tests, those that need IPVS in the lab
# Both do all the set-up that they need; a C compiler and Go must be there.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
GOFLAGS_STATIC := -trimpath -ldflags "-s -w -X main.version=$(VERSION)"
LAB_TEST_TIMEOUT := 30m
# Without those that take a minute or more, which say what plays them: LAB_FLAGS=-test.v.
LAB_FLAGS ?= -test.short
# The longest first: they run side by side.
LAB_PACKAGES := test/suite/wire test/suite/life test/suite/hostile test/suite/cluster test/suite/takeover test/suite/docs test/suite/xtables proxier/kernel proxier/kernel/ipvs netutil ipset proxier/node proxier/balance

.PHONY: build demo test compare check unit test-browser lab-test test-chart test-monitoring test-neighbours test-kernels test-uml test-xtables test-connections soak image-rootfs cluster cluster-shell cluster-down e2e e2e-quick e2e-life bench lab-shell bench-cluster docs release release-twice sign publish test-arm64 lint vulnerabilities fuzz clean

build: bin/kube-ipvs

# Go knows best whether something has changed.
.PHONY: bin/kube-ipvs
bin/kube-ipvs:
	CGO_ENABLED=0 go build $(GOFLAGS_STATIC) -o $@ ./cmd/kube-ipvs

# What takes no kernel comes first, so that there is something to see while a new machine
# builds the rest.
demo:
	@echo 'demo: first kube-ipvs on examples/ without IPVS (a new machine compiles for up to a minute), then the story in the lab:'
	@test/lab/run --outlook
	CGO_ENABLED=0 go build -o out/demo ./test/demo
	@out/demo --dry --color $(COLOR)
	@$(MAKE) --no-print-directory build
	@test/lab/run -- out/demo --color $(COLOR)

# For programs whose output may be a terminal that they do not see.
COLOR = $$([ -t 1 ] && echo always || echo never)

test: check unit test-browser lab-test test-chart test-monitoring

check:
	@test -z "$$(gofmt -l .)" || { echo "gofmt would change:"; gofmt -l .; exit 1; }
	go vet ./...

# What is read of objects is held to Kubernetes itself by a module of its own; as
# the lab's tests without CGO, to share what they compile.
unit:
	go test -race -shuffle=on ./...
	CGO_ENABLED=0 go test -C test/suite/reading .

# The status page in a real browser; installs Chromium if there is none.
test-browser:
	test/suite/browser/run

# The first time, it builds a kernel and a control plane, and keeps them outside
# the tree.
lab-test: build
	test/lab/selftest
	LAB_TEST_TIMEOUT=$(LAB_TEST_TIMEOUT) LAB_FLAGS='$(LAB_FLAGS)' test/lab/packages $(LAB_PACKAGES)

# Beside kube-router, which is built once, in some minutes, and Calico's felix, if it was
# put beside that; not part of make test.
test-neighbours: LAB_PACKAGES := test/suite/cluster
test-neighbours: LAB_FLAGS := -test.v -test.run TestKubeRouter|TestFelix
test-neighbours: export KUBE_IPVS_NEIGHBOURS = $(shell test/neighbours/build)
test-neighbours: lab-test

# Every version of iptables that test/xtables/build fetches beside every other, and the
# image's in the chart's containers: some minutes. make test plays some.
test-xtables: LAB_PACKAGES := test/suite/xtables
test-xtables: LAB_FLAGS := -test.v -every
test-xtables: export KUBE_IPVS_ROOTFS = $(CURDIR)/out/image/root
test-xtables: image-rootfs lab-test

# CONNECTIONS, which are held while a node is lost, and counted: ten minutes, and up to 10,000.
CONNECTIONS ?= 10000
test-connections: LAB_PACKAGES := test/suite/wire
test-connections: LAB_FLAGS = -test.v -test.run TestFlowsOutliveOneOfThreeNodes|TestCountsLong -connections $(CONNECTIONS)
test-connections: lab-test

# Ten changes a second and a fault every five seconds for HOURS, beside a real API server;
# then kube-ipvs holds no more than before.
HOURS ?= 1
soak: LAB_PACKAGES := test/suite/cluster
soak: LAB_FLAGS := -test.v -test.run ^TestSoak$$
soak: LAB_TEST_TIMEOUT := 0
soak: export LAB_TIMEOUT = 0
soak: export KUBE_IPVS_SOAK = $(HOURS)h
soak: lab-test

# The files of the container image and what they consist of, as the Dockerfile
# makes them, without a container engine.
image-rootfs: build
	rm -rf out/image
	cmd/image/rootfs bin/kube-ipvs out/image/root
	go run ./cmd/image/sbom out/image/root '$(VERSION)' >out/image/sbom.spdx.json

# The chart: what it renders and refuses, and its containers in the image's files,
# installed by helm into a real API server. The first time, it builds helm.
test-chart: build image-rootfs
	@helm=$$(test/helm/build) && peers=$$(test/peers/build) || exit 1; export KUBE_IPVS_HELM=$$helm KUBE_IPVS_BINARY=$(CURDIR)/bin/kube-ipvs; \
	go test -count=1 ./test/suite/chart || exit 1; \
	KUBE_IPVS_PEERS=$$peers KUBE_IPVS_ROOTFS=$(CURDIR)/out/image/root \
		LAB_TEST_TIMEOUT=$(LAB_TEST_TIMEOUT) LAB_FLAGS='$(LAB_FLAGS)' test/lab/packages test/suite/install

# The chart's alerts and dashboards, with a real Prometheus.
test-monitoring: build
	test/suite/monitoring/run

# The same objects and packets for kube-proxy in each mode and for kube-ipvs. It
# fails where kube-ipvs differs from iptables mode and test/compare/known.yaml
# does not say why; what differs is played once more first. CASE is a regular
# expression for "chapter / scenario"; PROXIES are some of
# nftables,ipvs,direct,image, with a space between those that have a lab each, and
# @REGEX behind those that are to play some of it only. Labs play side by side, and
# mostly wait.
CASE ?=
PROXIES ?=
comma := ,
COMPARE_LABS := $(if $(PROXIES),iptables $(PROXIES),iptables$(comma)nftables ipvs direct$(comma)image)
compare: build
	CGO_ENABLED=0 go build -o out/compare ./test/compare
	CASE='$(CASE)' test/compare/play $(COMPARE_LABS)

# Suites of tests on kernels of distributions, as Debian and Ubuntu ship them, with no
# module loaded, in QEMU: `make test-kernels KERNELS='5.10 6.12' SUITES='host wire'`.
# Without both it plays five kernels of docs/kernels.md, and with KERNELS=all its whole table;
# it writes the rows of those that it has played whole. MACHINES run side by side. Kernels
# are fetched once (test/kernels/fetch). An unknown name ends it before anything is built, and
# an interruption keeps the results of the suites that have ended.
KERNELS ?=
SUITES ?=
MACHINES ?= $(shell nproc)
PLAY_KERNELS = out/play-kernels --table $@ --kernels '$(KERNELS)' --suites '$(SUITES)'
test-kernels:
	CGO_ENABLED=0 go build -o out/play-kernels ./test/kernels
	$(PLAY_KERNELS) --check
	$(MAKE) --no-print-directory build image-rootfs
	$(PLAY_KERNELS) --machines $(MACHINES)

# All lab tests on User-Mode Linux of distributions' sources, which are built once, in
# minutes each: `make test-uml KERNELS=uml/bullseye SUITES='test/suite/wire ipset'`. Without both
# it plays and writes the whole table.
test-uml:
	CGO_ENABLED=0 go build -o out/play-kernels ./test/kernels
	$(PLAY_KERNELS) --check
	$(MAKE) --no-print-directory build image-rootfs
	peers=$$(test/peers/build) && xtables=$$(test/xtables/build) || exit 1; \
	KUBE_IPVS_PEERS=$$peers KUBE_IPVS_XTABLES=$$xtables \
		$(PLAY_KERNELS) --machines $(MACHINES)

# A cluster of this machine, with kube-ipvs by its chart, that stays up: etcd, the control
# plane, and nodes in a User-Mode Linux. PROXY is image or direct, or iptables, nftables
# or ipvs for kube-proxy; PLUGIN is ptp or bridge. The first time, it builds Kubernetes.
NODES ?= 2
NODE ?= node1
PROXY ?= image
PLUGIN ?= ptp
DUAL_STACK ?= false
cluster: build image-rootfs
	test/e2e/play up --nodes $(NODES) --proxy $(PROXY) --plugin $(PLUGIN) --dual-stack=$(DUAL_STACK)

cluster-shell:
	test/e2e/play sh $(NODE)

cluster-down:
	test/e2e/play down

# Upstream's end-to-end tests that concern a service proxy, with kube-proxy and kube-ipvs,
# each in a cluster of its own: hours. FOCUS is a regular expression for their names; without
# it they are all played, and docs/conformance.md is written; REST=true plays those only that
# have not passed by out/e2e-results, and RUNS=5 all of them so often. e2e-quick plays those
# that tell most with kube-ipvs.
FOCUS ?=
REST ?= false
RUNS ?= 1
e2e: build image-rootfs
	test/e2e/play conform --rest=$(REST) --runs=$(RUNS) --proxies '$(or $(PROXIES),iptables image direct)' $(if $(FOCUS),--focus '$(FOCUS)',$(if $(PROXIES),,--document docs/conformance.md))

e2e-quick: build image-rootfs
	test/e2e/play conform --quick --runs=$(RUNS) --nodes 2 --proxies image

# What happens to a cluster in its life, with requests all the time: about 25 minutes. RUN is
# a regular expression for names of tests; REQUESTS are sent while the version changes and
# kube-proxy is replaced, and AWAY is how long there is no control plane.
RUN ?= .
REQUESTS ?= 10000
AWAY ?= 1m
e2e-life: build image-rootfs
	test/e2e/play life -test.run '$(RUN)' -requests $(REQUESTS) -away $(AWAY)

# Memory and CPU with 10,000 Services of a real API server, beside kube-proxy's.
bench-cluster: LAB_PACKAGES := test/suite/cluster
bench-cluster: LAB_FLAGS := -test.v -test.run TestLarge -large
bench-cluster: LAB_TEST_TIMEOUT := 55m
bench-cluster: export LAB_TIMEOUT := 3600
bench-cluster: lab-test

# What kube-ipvs costs, beside kube-proxy in each mode and the floor: takes about
# half an hour. SIZE=small takes some minutes. PARTS is some of the parts; balance alone takes
# five minutes, and writes docs/balancing.md.
SIZE ?= full
PARTS ?=
bench: build
	CGO_ENABLED=0 go build -o out/bench ./test/bench
	SIZE='$(SIZE)' PARTS='$(PARTS)' test/bench/play

# The parts of docs/ that are made from the code.
docs:
	go test -p 1 ./proxier/config ./cmd/kube-ipvs -run Documented -update

# All files of a release, in out/release: make release VERSION=v1.2.3. SOURCE is the URL of the
# repository, BUILDER what builds, and IMAGE where the image is pushed to, if they are known.
# sign signs them by COSIGN; publish pushes the image to IMAGE and the chart to CHARTS, and
# signs all.
release:
	cmd/release/build '$(VERSION)' out/release

sign:
	cmd/release/sign out/release

publish:
	@helm=$$(test/helm/build) || exit 1; export HELM=$$helm; \
	cmd/release/publish '$(VERSION)' out/release '$(IMAGE)' '$(CHARTS)'

# As release, twice, of the last commit in two folders: it fails if a byte differs.
release-twice:
	cmd/release/compare '$(VERSION)' out/release

# Unit tests of packages that need no kernel, for arm64, by QEMU where this machine is
# another. QEMU's kernel has no generic netlink.
ARM64_PACKAGES := cmd/release netutil/ipfamily netutil/iptables proxier/config proxier/desired proxier/explain proxier/kernel/ipvs proxier/ledger proxier/model proxier/state
ARM64_SKIP := ^(TestOpenWithoutIPVS|TestLoaded)$$
ARM64_RUNNER := $(if $(filter aarch64,$(shell uname -m)),env,qemu-aarch64-static)
test-arm64:
	@if command -v $(ARM64_RUNNER) >/dev/null; then \
		CGO_ENABLED=0 GOARCH=arm64 go test -exec $(ARM64_RUNNER) -skip '$(ARM64_SKIP)' $(addprefix ./,$(ARM64_PACKAGES)); \
	else \
		echo "no test is run for arm64: $(ARM64_RUNNER) is missing (Debian: qemu-user-static)"; \
		CGO_ENABLED=0 GOARCH=arm64 go vet $(addprefix ./,$(ARM64_PACKAGES)); \
	fi

lab-shell: build
	test/lab/shell

lint:
	.github/pin --check
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run ./...

# Known vulnerabilities of what the program and its tests call, by vuln.go.dev.
vulnerabilities:
	go run golang.org/x/vuln/cmd/govulncheck@v1.9.0 ./...

# Every fuzz test for a time, or for so many inputs (FUZZTIME=20000x); make test runs their
# seeds only.
FUZZTIME ?= 30s
fuzz:
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r f; do \
		sed -nE 's/^func (Fuzz[A-Za-z0-9]*).*/\1/p' "$$f" | while read -r name; do \
			echo "fuzz: $$(dirname "$$f") $$name"; \
			go test -C "$$(dirname "$$f")" -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) . || exit 1; \
		done || exit 1; \
	done

clean:
	rm -rf bin out
