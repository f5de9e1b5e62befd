# An extension image for CloudNativePG: doc/install.md.  This file was not built here,
# where there is no container engine.  What it does was: make test-package installs the
# same files by the same command, and starts a PostgreSQL 18 that finds them by its
# settings.
#
#     docker build -f doc/extension-image.Dockerfile -t REGISTRY/jwt:1.0-18-trixie .
#
# The base must have the PostgreSQL and the Debian release of the cluster's image.
ARG BASE=ghcr.io/cloudnative-pg/postgresql:18-minimal-trixie
FROM $BASE AS build
ARG PG_MAJOR=18
USER 0
RUN apt-get update && apt-get install -y --no-install-recommends \
	gcc make libc6-dev libssl-dev libcurl4-openssl-dev postgresql-server-dev-$PG_MAJOR
COPY . /src
WORKDIR /src
RUN make clean && \
	make PG_CONFIG=/usr/lib/postgresql/$PG_MAJOR/bin/pg_config && \
	make install PG_CONFIG=/usr/lib/postgresql/$PG_MAJOR/bin/pg_config \
		datadir=/image/share pkglibdir=/image/lib docdir=/image/doc && \
	install -D -m 644 LICENSE /image/licenses/jwt/LICENSE
# jwt_jwks needs libcurl, which the base may lack: put it and what it needs beside the
# libraries, and name the folder in ld_library_path of the cluster's extension
RUN mkdir -p /image/system && \
	ldd /image/lib/jwt_jwks.so | awk '$3 ~ /^\// { print $3 }' | \
	grep -vE '/(libc|libm|libdl|libpthread|libresolv|libssl|libcrypto|ld-linux[^/]*)\.so' | \
	xargs -r cp -L -t /image/system

FROM scratch
COPY --from=build /image/ /
USER 65532:65532
