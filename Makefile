# jwt: a PostgreSQL extension.  "make help" lists the targets.

# where the sources are, if the build is elsewhere
top := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))

EXTENSION = jwt jwt_auth jwt_pgjwt
EXTVERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" '$(top)/jwt.control')
MODULE_big = jwt
OBJS = src/module.o \
	$(addprefix src/token/, base64url.o json.o failure.o algorithm.o openssl_errors.o sha256.o secret.o edwards.o jwk.o jwk_set.o key_text.o jws.o claims.o uri.o dpop.o) \
	$(addprefix src/extension/, arguments.o install.o members.o row.o) \
	$(addprefix src/trust/, catalog.o rows.o revocation.o key_cache.o new_key.o key_set.o write.o triggers.o refresh.o) \
	$(addprefix src/session/, verify_cache.o replay.o confirmation.o verify.o session.o event.o) \
	$(addprefix src/sql/, functions.o accessors.o manage.o revoke.o event.o status.o entries.o)
DATA = jwt--1.0.sql jwt_auth--1.0.sql jwt_pgjwt--1.0.sql

# init makes what the others use; the rest follows the way of a token.
REGRESS = init verify order claims limits issuer key privileges secrets jwks session confirmation revocation event signing sessions status cache attacks pgjwt
# SQL_ASCII, as of a server without a locale, cannot hold all strings of JSON
REGRESS_OPTS = --inputdir=$(top) --encoding=UTF8

PG_CONFIG ?= pg_config
HAVE_PG_CONFIG := $(shell command -v $(PG_CONFIG) 2>/dev/null)
# libpq-dev brings a pg_config, too, and the client PGXS, but not the server's headers,
# which only a build needs
HAVE_HEADERS := $(if $(HAVE_PG_CONFIG),$(wildcard $(shell $(PG_CONFIG) --includedir-server)/postgres.h))
PGXS := $(if $(or $(HAVE_HEADERS),$(filter installcheck clean,$(MAKECMDGOALS))),$(wildcard $(shell $(PG_CONFIG) --pgxs)))

# The server's headers are not ours to warn about.  Hidden visibility: libraries
# are loaded with global symbols, and others own jwt_* names too.
PG_CPPFLAGS = $(if $(HAVE_PG_CONFIG),-isystem $(shell $(PG_CONFIG) --includedir-server)) \
	-I$(srcdir)/src -DJWT_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Wall -Wextra -fvisibility=hidden -fno-plt -fstack-protector-strong $(if $(WERROR),-Werror)
# PostgreSQL's flags are those of the compiler that it was built with.
ifneq ($(findstring clang,$(CC)),)
PG_CFLAGS += -Wno-ignored-optimization-argument -Wno-unknown-warning-option
endif
SHLIB_LINK = -lcrypto -Wl,-z,relro,-z,now

# Functions with static state gain nothing from being inlined into queries.
override with_llvm = no

EXTRA_CLEAN = build results regression.diffs regression.out jwt-*.zip

.DEFAULT_GOAL := all

# Each library of its own is made by a Makefile of its own.  jwt_jwks, which fetches
# key sets, is the only one that needs libcurl; WITH_JWKS=no leaves it out.
WITH_JWKS ?= yes
LIBRARIES = auth pgjwt $(if $(filter no,$(WITH_JWKS)),,fetcher)

ifneq ($(PGXS),)
include $(PGXS)
FOLDERS = $(sort $(patsubst %/,$(CURDIR)/%,$(dir $(OBJS))) $(LIBRARIES:%=$(CURDIR)/src/%))
$(FOLDERS):
	@mkdir -p $@
$(OBJS): $(wildcard $(top)/src/*.h $(top)/src/*/*.h) | $(FOLDERS)
# What reads each byte of a token.
src/token/base64url.o src/token/json.o: override CFLAGS += -O3

.PHONY: libcurl
libcurl:
	@echo '#include <curl/curl.h>' | $(CC) -E - >/dev/null 2>&1 || \
	{ echo "The headers of libcurl are missing; install libcurl4-openssl-dev, or set WITH_JWKS=no." >&2; exit 1; }
ifneq ($(abspath $(top)),$(CURDIR))
elsewhere = -f '$(abspath $(top))/src/$(1)/Makefile' VPATH='$(abspath $(top))/src/$(1)'
endif
define library
.PHONY: all-$(1) install-$(1) uninstall-$(1) clean-$(1)
all: all-$(1)
install: install-$(1)
uninstall: uninstall-$(1)
clean: clean-$(1)
install-$(1): all-$(1)
all-$(1) install-$(1) uninstall-$(1) clean-$(1): %-$(1): | $(CURDIR)/src/$(1)
	+$$(MAKE) -C src/$(1) $(elsewhere) $$* EXTVERSION='$$(EXTVERSION)' PG_CONFIG='$$(PG_CONFIG)'
endef
$(foreach name,$(LIBRARIES),$(eval $(call library,$(name))))
all-fetcher: libcurl
else
all install installcheck clean:
	@echo "The server headers of PostgreSQL were not found; install them, or set PG_CONFIG." >&2
	@exit 1
endif

## all            build the extensions
## install        install them into the PostgreSQL of PG_CONFIG
## installcheck   run the regression tests against a running server that has them

## demo           set up what is missing, and show tokens verified in a private PostgreSQL
.PHONY: demo
demo:
	@test/demo

## test           set up what is missing, and test the extension by itself (SUITES="regress tap ..." for some)
.PHONY: test
test:
	@test/run $(SUITES)

## test-package   the Debian packages for PostgreSQL 15 and 18, and an extension image, in clean roots (as root)
.PHONY: test-package
test-package:
	@test/package $(VERSIONS)

## test-life      restore, upgrade, owner, replication, standby
.PHONY: test-life
test-life:
	@test/run life

## test-peers     providers and drivers; with Keycloak and Ory Hydra, too, where test/peers/fetch has run
.PHONY: test-peers
test-peers:
	@test/run peers

## test-long      hours: load, mutated tokens, memory, fuzzing; everything under sanitizers and valgrind
.PHONY: test-long
test-long:
	@test/long

## mutate         verify mutated tokens (SEED=1 COUNT=1000000)
.PHONY: mutate
mutate:
	@SEED="$(SEED)" COUNT="$(or $(COUNT),1000000)" test/run mutate

## leak           call a million times, and watch the memory (COUNT=1000000)
.PHONY: leak
leak:
	@COUNT="$(or $(COUNT),1000000)" test/run leak

## fuzz           fuzz everything that reads from outside (SECONDS=60 for each target, TARGETS="json jws", CORPUS=folder, ENGINE=afl)
.PHONY: fuzz
fuzz:
	@SECONDS_EACH="$(or $(SECONDS),60)" TARGETS="$(TARGETS)" CORPUS="$(CORPUS)" ENGINE="$(ENGINE)" test/run fuzz

## fuzz-asan      the same under AddressSanitizer and UBSan, in a root of a Debian release (as root)
.PHONY: fuzz-asan
fuzz-asan:
	@SECONDS_EACH="$(or $(SECONDS),60)" TARGETS="$(TARGETS)" CORPUS="$(CORPUS)" ENGINE="$(ENGINE)" test/versions fuzz

## bench          count what things cost, beside OpenSSL alone and no-ops, and fail when a row of bench/rows is missed (SESSIONS="cold floor" for some)
.PHONY: bench
bench:
	@bench/run $(SESSIONS)

## bench-chart    put the last such run into doc/bench.md and doc/bench.svg
.PHONY: bench-chart
bench-chart:
	@bash -c '. test/lib/setup.sh && setup_chart && BENCH_OUT="$${JWT_BUILD:-build}/bench" /usr/bin/python3 bench/chart.py'

## test-versions  the same as "test" on PostgreSQL 16, 17 and 18 (VERSIONS="17 18" for some), in roots of Debian releases that it makes (as root)
.PHONY: test-versions
test-versions:
	@test/versions $(VERSIONS)

## test-asan      under AddressSanitizer and UBSan, in such a root
.PHONY: test-asan
test-asan:
	@test/versions asan

## test-valgrind  all but whole servers' tests, with the server under valgrind
.PHONY: test-valgrind
test-valgrind:
	@JWT_VALGRIND=1 test/run regress isolation pgtap vectors malformed mutate

## lint           what tools can say without running anything
.PHONY: lint
lint: build/typedefs.list
	@test/lint/run

## format         put the sources into PostgreSQL's style
.PHONY: format
format: build/typedefs.list
	@for file in src/*.[ch] src/*/*.[ch] test/fuzz/*.c test/module/*.c; do \
	test/lint/indent $$file >$$file.new 2>/dev/null && cat $$file.new >$$file; rm -f $$file.new; done

# the names of types, which the indenter has to know
build/typedefs.list: test/lint/typedefs $(wildcard src/*.[ch] src/*/*.[ch] test/fuzz/*.c test/module/*.c)
	@mkdir -p $(@D)
	@$< >$@.new && mv $@.new $@

## dist           make the archive for PGXN, of what is committed
.PHONY: dist
dist:
	@git archive --format zip --prefix=jwt-$(EXTVERSION).0/ -o jwt-$(EXTVERSION).0.zip HEAD

## help           show this list
.PHONY: help
help:
	@sed -n 's/^## //p' Makefile
