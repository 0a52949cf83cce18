# What there is to do here: `make help`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# cargo as rustup installs it, and nft, ip, unbound where Debian keeps them, also for a shell that looks elsewhere.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/sbin:/usr/sbin:/sbin

# Programs and files that the tests use, each with the Debian package that has it.
TOOLS := dig:bind9-dnsutils nslookup:bind9-dnsutils unbound:unbound named:bind9 promtool:prometheus ip:iproute2 \
	nft:nftables openssl:openssl curl:curl kill:procps valgrind:valgrind dbus-daemon:dbus-daemon mandoc:mandoc \
	systemd-analyze:systemd javac:default-jdk-headless go:golang-go c++:g++ \
	/usr/lib/python3/dist-packages/botocore/session.py:python3-botocore

# Packages of the machine that `make boot` boots, beside those of a minimal Debian.
MACHINE := systemd,systemd-sysv,dbus,iproute2,systemd-resolved,libnss-resolve,unbound,dnsmasq-base,rpm

PREFIX ?= /usr/local
DESTDIR ?=
# What is installed, and where zsh looks for completions; for packages of Debian that is share/zsh/vendor-completions.
PROGRAM ?= target/release/phzd
ZSH ?= $(PREFIX)/share/zsh/site-functions

.PHONY: help demo test fuzz deny instructions tools resolved fuzzer lab boot machine faults soak bench buckets micro lint check \
	man build install package packagers

help:     ## this list
	@sed -n 's/^\([a-z]*\): .*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo:     ## show what phzd does: no root, no AWS, ends with Ctrl-C
	@cargo run --quiet -- demo

# As root the lab has to run; `make test PHZD_LAB=optional` lets it skip, as it does for everybody else.
test: tools ## every test, after installing what they need (as root, on Debian and its kin)
	@if [ -z "$${PHZD_LAB:-}" ] && [ "$$(id -u)" = 0 ] && [ -z "$$($(MISSING))" ]; then export PHZD_LAB=required; fi
	if [ "$${PHZD_LAB:-}" != required ]; then echo 'make test: the lab of network namespaces skips where it cannot run'; fi
	cargo test
	if type -P cargo-fuzz >/dev/null; then $(MAKE) --no-print-directory fuzz FUZZ_SECONDS=30 FUZZ_SEED=1; else echo 'make test: no fuzzing without cargo-fuzz'; fi

# One build for all targets, without a sanitizer: there is no unsafe code here to watch, and without one they run twice as
# often, on a stable compiler. What is new and interesting goes to the target folder, and nothing into the tree.
FUZZ_SECONDS ?= 600
# Where it begins to draw: 0 is somewhere else each time, and any other number the same again, so that a test is.
FUZZ_SEED ?= 0
FUZZ ?= $(basename $(notdir $(wildcard fuzz/targets/*.rs)))
fuzz:     ## look for octets that break phzd: every target for FUZZ_SECONDS=600, or FUZZ='query config'
	@folder=$$(realpath -m "$${CARGO_TARGET_DIR:-target}/fuzz")
	cargo fuzz build --sanitizer none --no-cfg-fuzzing --codegen-units 16 --target-dir "$$folder"
	programs=("$$folder"/*/release)
	run() {
	  log="$$2/$$1.log"; mkdir -p "$$2/corpus/$$1" "$$2/found"
	  dictionary=(); if [ -e "fuzz/dictionaries/$$1" ]; then dictionary=("-dict=fuzz/dictionaries/$$1"); fi
	  if ! "$$3/$$1" "$$2/corpus/$$1" "fuzz/corpus/$$1" "$${dictionary[@]}" -seed=$(FUZZ_SEED) -max_total_time=$(FUZZ_SECONDS) -timeout=10 \
	      -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$$2/found/$$1-" >"$$log" 2>&1; then
	    grep -a -A 8 -e panicked -e ERROR "$$log" || tail "$$log"
	    echo "make fuzz: $$1 has failed; what broke it is in $$2/found, all that it said in $$log"; exit 1
	  fi
	  awk -v target="$$1" '/cov: / { for (i = 1; i < NF; i++) if ($$i ~ /^(cov|ft|corp):$$/) had[$$i] = $$(i + 1) }
	    /executed_units:/ { runs = $$2 } /peak_rss_mb:/ { rss = $$2 }
	    END { printf "%-12s %9d runs, %5d edges, %5d features, corpus %s, %d MB at most\n",
	      target, runs, had["cov:"], had["ft:"], had["corp:"], rss }' "$$log"
	}
	export -f run
	printf '%s\n' $(FUZZ) | xargs -P "$$(nproc)" -I {} bash -c 'run "$$@"' fuzz {} "$$folder" "$${programs[0]}"

deny:     ## licences, versions and origin of all dependencies, and known holes in them
	@type -P cargo-deny >/dev/null || cargo install --locked --quiet cargo-deny
	cargo deny check licenses bans sources
	if cargo deny fetch db 2>/dev/null; then cargo deny check --disable-fetch advisories
	else echo 'make deny: the database of advisories cannot be reached from here: NOT looked for known holes'; fi

# BLESS=1 writes down what they take now.
instructions: tools ## no kind of query takes more instructions than it did; builds what is released
	cargo bench --bench instructions

tools: resolved fuzzer ## install the programs that the tests use
	@programs=$$($(MISSING))
	if [ -z "$$programs" ]; then exit; fi
	packages=$$(for tool in $(TOOLS); do case " $$programs " in *" $${tool%%:*} "*) echo "$${tool#*:}";; esac; done | sort -u)
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	  echo "make tools: not installed:" $$programs; echo "  Debian and Ubuntu: apt-get install" $$packages; exit
	fi
	# Their packages start services, on port 53 for one, of a machine that runs services. That is not for a test to decide.
	for service in unbound bind9 prometheus; do
	  if [ -d /run/systemd/system ] && grep -qx $$service <<<"$$packages"; then
	    echo "make tools: not installed, because its service would start here: $$service (apt-get install $$service)"
	    packages=$$(grep -vx $$service <<<"$$packages" || true)
	  fi
	done
	if [ -z "$$packages" ]; then exit; fi
	export DEBIAN_FRONTEND=noninteractive
	install() { apt-get install -q -y --no-install-recommends $$packages </dev/null; }
	install || { echo 'make tools: once more, with new lists of packages'; apt-get update -q; install; }

# Its package would make it this machine's resolver; so what is in it is put where one test looks for it, and not installed.
resolved:
	@folder="$${CARGO_TARGET_DIR:-target}/tools/systemd-resolved"
	if [ -e /lib/systemd/systemd-resolved ] || [ -e "$$folder" ]; then exit; fi
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	  echo 'make tools: not here: systemd-resolved, which one test of the lab uses'; exit
	fi
	loaded=$$(mktemp -d); trap 'rm -r "$$loaded"' EXIT
	load() { (cd "$$loaded" && apt-get download -q -o APT::Sandbox::User=root systemd-resolved); }
	load || { apt-get update -q; load; } || { echo 'make tools: systemd-resolved cannot be had'; exit; }
	mkdir -p "$$folder"
	dpkg-deb -x "$$loaded"/systemd-resolved_*.deb "$$folder"

fuzzer:
	@if type -P cargo-fuzz >/dev/null; then exit; fi
	if [ "$$(id -u)" != 0 ]; then echo 'make tools: not installed: cargo-fuzz'; echo '  cargo install cargo-fuzz'; exit; fi
	cargo install --locked --quiet cargo-fuzz

lab:      ## the case on real hosts, as a transcript to read; needs root
	PHZD_LAB=required cargo test --test tests vpc:: -- --nocapture --test-threads=1

boot: package machine ## the packages on a machine with a real systemd, as a transcript to read; needs root
	@if [ "$$(id -u)" != 0 ]; then echo 'make boot: containers with a systemd of their own need root'; exit 1; fi
	begin=$$SECONDS transcript="$${CARGO_TARGET_DIR:-target}/boot.txt"
	cargo test --test boot -- --nocapture --test-threads=1 $(BOOT) | tee "$$transcript"
	echo "make boot: all of it once more in figures, after $$((SECONDS - begin)) s"
	sed -nE 's/^test ([^ ]+) \.\.\. ( +=.*)?.*/\1\n\2/p; /^  = /p' "$$transcript" | grep .

# What the machine begins as: Debian 12 has the systemd of Amazon Linux 2023, 252. Made once; to have it made anew, remove it.
machine:
	@root="$${CARGO_TARGET_DIR:-target}/tools/machine"
	if [ "$$(id -u)" != 0 ]; then echo 'make boot: needs root'; exit 1; fi
	missing=$$(for tool in debootstrap:debootstrap systemd-nspawn:systemd-container dig:bind9-dnsutils; do
	  type -P "$${tool%%:*}" >/dev/null || echo "$${tool#*:}"; done)
	if [ -n "$$missing" ]; then apt-get install -q -y --no-install-recommends $$missing </dev/null; fi
	if [ -e "$$root" ]; then exit; fi
	rm -rf "$$root.new"
	mkdir -p "$$root.new"
	debootstrap --variant=minbase --include=$(MACHINE) bookworm "$$root.new" >"$$root.log" || { tail "$$root.log"; exit 1; }
	mv "$$root.new" "$$root"

# Peers are not installed for these: those that are found take part.
faults:   ## what clients see when resolvers fail, beside other programs; needs root and half an hour
	cargo bench --bench faults -- $(FAULTS)

soak:     ## hours of use in half an hour: faults, reloads, floods and connections under load; needs root
	cargo bench --bench soak -- $(SOAK)

bench:    ## what phzd costs beside a bare echo and other programs; wants two idle cores and half an hour
	cargo bench --bench load -- $(BENCH)

micro:    ## what a query costs inside, and a configuration to read, as tables grow; two minutes
	cargo bench --bench micro -- $(MICRO)

buckets:  ## time to the first answer and memory, from 10 buckets to 1,000,000
	cargo bench --bench buckets

# Documentation is read by those who change phzd too, so links to private items are good ones.
lint:     ## formatting, clippy, and every link in the documentation
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --all-targets -- -D warnings
	cargo clippy --lib --no-default-features -- -D warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' cargo doc --no-deps --document-private-items

check:    ## the example configurations, judged by `phzd check`
	@for file in config/*.toml; do cargo run --quiet -- check "$$file"; done

man:      ## write man/ and completions/ anew, as the program prints them
	@cargo build --quiet
	phzd() { cargo run --quiet -- "$$@"; }
	phzd man phzd >man/phzd.8
	phzd man phzd.toml >man/phzd.toml.5
	phzd completions bash >completions/phzd.bash
	phzd completions zsh >completions/_phzd
	phzd completions fish >completions/phzd.fish

build:    ## the binary to install: target/release/phzd
	cargo build --release

# Both are of one binary, without lines of the source, which are four fifths of it, and with the names of functions, so that
# a profile of what is installed can be read. cargo-generate-rpm strips nothing itself.
package: packagers ## .deb and .rpm of this machine's kind, in target/packages
	@cargo build --release --locked
	target="$${CARGO_TARGET_DIR:-target}"
	rm -rf "$$target/packages"
	mkdir -p "$$target/packages"
	strip --strip-debug -o "$$target/packages/phzd" "$$target/release/phzd"
	cargo deb --quiet --no-build --no-strip --no-dbgsym --profile packages --output "$$target/packages/"
	cargo generate-rpm --profile packages --output "$$target/packages/"
	rm "$$target/packages/phzd"
	cargo test --quiet --test boot -- packages
	ls "$$target/packages"/*

packagers:
	@for tool in cargo-deb cargo-generate-rpm; do
	  type -P $$tool >/dev/null || cargo install --locked $$tool
	done
	missing=$$(for tool in dpkg-deb:dpkg rpm:rpm objdump:binutils; do type -P "$${tool%%:*}" >/dev/null || echo "$${tool#*:}"; done)
	if [ -z "$$missing" ]; then exit; fi
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then echo 'make package: not installed:' $$missing; exit 1; fi
	apt-get install -q -y --no-install-recommends $$missing </dev/null

# Builds nothing, so that root needs no Rust. A configuration that is there already stays as it is.
install:  ## put binary, configuration, unit, manual pages and completions under DESTDIR, PREFIX and /etc; `make build` comes first
	@if [ ! -x '$(PROGRAM)' ]; then echo 'make install: run `make build` first'; exit 1; fi
	install -D -m 755 '$(PROGRAM)' '$(DESTDIR)$(PREFIX)/bin/phzd'
	if [ ! -e '$(DESTDIR)/etc/phzd/phzd.toml' ]; then install -D -m 644 config/phzd.toml '$(DESTDIR)/etc/phzd/phzd.toml'; fi
	install -d '$(DESTDIR)$(PREFIX)/lib/systemd/system'
	for unit in phzd.service phzd.socket; do
	  sed 's|/usr/bin/|$(PREFIX)/bin/|' systemd/$$unit >'$(DESTDIR)$(PREFIX)/lib/systemd/system/'$$unit
	  chmod 644 '$(DESTDIR)$(PREFIX)/lib/systemd/system/'$$unit
	done
	share='$(DESTDIR)$(PREFIX)/share'
	install -D -m 644 man/phzd.8 "$$share/man/man8/phzd.8"
	install -D -m 644 man/phzd.toml.5 "$$share/man/man5/phzd.toml.5"
	install -D -m 644 completions/phzd.bash "$$share/bash-completion/completions/phzd"
	install -D -m 644 completions/_phzd '$(DESTDIR)$(ZSH)/_phzd'
	install -D -m 644 completions/phzd.fish "$$share/fish/vendor_completions.d/phzd.fish"

# The programs of TOOLS that are not here.
MISSING = for tool in $(TOOLS); do [ -e "$${tool%%:*}" ] || type -P "$${tool%%:*}" >/dev/null || echo "$${tool%%:*}"; done | xargs

# A recipe is one script: its variables last, and its first failure ends it.
.ONESHELL:
