# What there is to do here: `make help`.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# cargo as rustup installs it, and nft, ip, unbound where Debian keeps them, also for a shell that looks elsewhere.
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/sbin:/usr/sbin:/sbin

# Programs and files that the tests use, each with the Debian package that has it.
TOOLS := dig:bind9-dnsutils nslookup:bind9-dnsutils unbound:unbound named:bind9 promtool:prometheus ip:iproute2 \
	nft:nftables openssl:openssl curl:curl kill:procps valgrind:valgrind dbus-daemon:dbus-daemon mandoc:mandoc systemd-analyze:systemd \
	javac:default-jdk-headless go:golang-go \
	/usr/lib/python3/dist-packages/botocore/session.py:python3-botocore

PREFIX ?= /usr/local
DESTDIR ?=
# What is installed, and where zsh looks for completions; for packages of Debian that is share/zsh/vendor-completions.
PROGRAM ?= target/release/phzd
ZSH ?= $(PREFIX)/share/zsh/site-functions

.PHONY: help demo test instructions tools resolved lab faults soak bench buckets micro lint check man build install

help:     ## this list
	@sed -n 's/^\([a-z]*\): .*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo:     ## show what phzd does: no root, no AWS, ends with Ctrl-C
	@cargo run --quiet -- demo

# As root the lab has to run; `make test PHZD_LAB=optional` lets it skip, as it does for everybody else.
test: tools ## every test, after installing what they need (as root, on Debian and its kin)
	@if [ -z "$${PHZD_LAB:-}" ] && [ "$$(id -u)" = 0 ] && [ -z "$$($(MISSING))" ]; then export PHZD_LAB=required; fi
	if [ "$${PHZD_LAB:-}" != required ]; then echo 'make test: the lab of network namespaces skips where it cannot run'; fi
	cargo test

# BLESS=1 writes down what they take now.
instructions: tools ## no kind of query takes more instructions than it did; builds what is released
	cargo bench --bench instructions

tools: resolved ## install the programs that the tests use
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

lab:      ## the case on real hosts, as a transcript to read; needs root
	PHZD_LAB=required cargo test --test tests vpc:: -- --nocapture --test-threads=1

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

# Builds nothing, so that root needs no Rust. A configuration that is there already stays as it is.
install:  ## put binary, configuration, unit, manual pages and completions under DESTDIR, PREFIX and /etc; `make build` comes first
	@if [ ! -x '$(PROGRAM)' ]; then echo 'make install: run `make build` first'; exit 1; fi
	install -D -m 755 '$(PROGRAM)' '$(DESTDIR)$(PREFIX)/bin/phzd'
	if [ ! -e '$(DESTDIR)/etc/phzd/phzd.toml' ]; then install -D -m 644 config/phzd.toml '$(DESTDIR)/etc/phzd/phzd.toml'; fi
	install -d '$(DESTDIR)$(PREFIX)/lib/systemd/system'
	sed 's|/usr/bin/|$(PREFIX)/bin/|' systemd/phzd.service >'$(DESTDIR)$(PREFIX)/lib/systemd/system/phzd.service'
	chmod 644 '$(DESTDIR)$(PREFIX)/lib/systemd/system/phzd.service'
	install -m 644 systemd/phzd.socket '$(DESTDIR)$(PREFIX)/lib/systemd/system/phzd.socket'
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
