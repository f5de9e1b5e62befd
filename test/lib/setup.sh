# setup.sh: the packages for building and testing the extension. Installs missing ones.
# Sourced; needs only bash.

# Run a command as root. Returns 127 if that is impossible.
as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
		sudo -n "$@"
	else
		return 127
	fi
}

have_package()
{
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Does pg_config belong to a server with headers, from any source? Debian's client
# package has PGXS, too, but no headers.
have_server()
{
	local config=${PG_CONFIG:-pg_config}
	command -v "$config" >/dev/null && [ -x "$("$config" --bindir)/postgres" ] &&
		[ -f "$("$config" --pgxs)" ] && [ -f "$("$config" --includedir-server)/postgres.h" ]
}

# The major version of the server of pg_config; empty if there is none.
server_version()
{
	"${PG_CONFIG:-pg_config}" --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p'
}

# The packages of the server: for the version of pg_config, or else for this release of
# Debian.
server_packages()
{
	local version
	version=$(server_version) || true
	if [ -z "$version" ]; then
		version=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1) || true
	fi
	if [ -n "$version" ]; then
		echo "postgresql-$version" "postgresql-server-dev-$version"
	else
		echo postgresql postgresql-server-dev-all	# no package lists to ask
	fi
}

# Debian's postgresql package creates a cluster and starts it. Prevent that on a machine
# without one, because the tests start their own servers.
forbid_new_cluster()
{
	local conf=/etc/postgresql-common/createcluster.conf
	if ! have_package postgresql-common && [ ! -e "$conf" ]; then
		as_root mkdir -p "${conf%/*}"
		echo 'create_main_cluster = false' | as_root tee "$conf" >/dev/null
	fi
}

# Install the server and the given packages, if they are missing. Without the right to
# do so, print the command.
install_missing()
{
	local missing=() server=() package
	for package in "$@"; do
		have_package "$package" || missing+=("$package")
	done
	if have_server && [ ${#missing[@]} = 0 ]; then
		return 0
	fi

	if ! as_root true 2>/dev/null; then
		have_server || read -ra server < <(server_packages)
		missing+=("${server[@]}")
		echo "Missing here, and I may not install it.  Please run:" >&2
		echo "    sudo sh -c 'apt-get update && apt-get install -y ${missing[*]}'" >&2
		return 1
	fi
	# the package lists may be empty or out of date
	as_root apt-get update -q >/dev/null || echo "apt-get update failed; going on with the lists that are here" >&2
	have_server || read -ra server < <(server_packages)
	missing+=("${server[@]}")
	echo "installing ${missing[*]}" >&2
	forbid_new_cluster
	install_quietly "${missing[@]}"
}

# Install packages without starting the services that some of them bring: the
# tests start their own.
install_quietly()
{
	local policy=/usr/sbin/policy-rc.d made='' status=0
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
		as_root chmod 755 "$policy"
		made=1
	fi
	as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -q --no-install-recommends "$@" >/dev/null || status=$?
	[ -z "$made" ] || as_root rm -f "$policy"
	return $status
}

# The packages for building and the demo, and for the tests, without the server; and
# results of setup_test.
perl_modules='' pgtap_dir=''
build_packages=(gcc make openssl libssl-dev libcurl4-openssl-dev)
test_packages=(clang libclang-rt-dev valgrind libipc-run-perl python3 python3-jwt python3-cryptography)

# Install the packages for building and the demo, and the given packages.
setup_build()
{
	if ! command -v apt-get >/dev/null; then
		have_server && return 0
		echo "Please install a C compiler, PostgreSQL with its server headers, and OpenSSL and libcurl with their headers." >&2
		return 1
	fi
	install_missing "${build_packages[@]}" "$@"
}

# The same, with the packages for the tests.
setup_test()
{
	local node=()
	command -v node >/dev/null || node+=(nodejs)
	setup_build "${test_packages[@]}" "${node[@]}" "$@" && setup_perl &&
		setup_pgtap && setup_spin
}

# Install the packages for the bench.
setup_bench()
{
	setup_build valgrind python3 python3-jwt python3-cryptography
}

# Install the package for the chart of the bench.
setup_chart()
{
	install_missing python3-matplotlib
}

# Install pgTAP for this server. A server that is not from Debian may have its own, or
# none. pgTAP is SQL, so that of another version also works. Sets pgtap_dir, which is
# empty if there is none.
setup_pgtap()
{
	local package version
	find_pgtap && return 0
	command -v apt-get >/dev/null || return 0
	for version in "$(server_version)" "$(PG_CONFIG='' server_version)"; do
		package=postgresql-$version-pgtap
		apt-cache show "$package" >/dev/null 2>&1 || as_root apt-get update -q >/dev/null 2>&1 || true
		if apt-cache show "$package" >/dev/null 2>&1; then
			install_missing "$package" || return
			find_pgtap
			return
		fi
	done
}

find_pgtap()
{
	for pgtap_dir in "$("${PG_CONFIG:-pg_config}" --sharedir)/extension" /usr/share/postgresql/*/extension; do
		[ ! -f "$pgtap_dir/pgtap.control" ] || return 0
	done
	pgtap_dir=
	return 1
}

# Install spin, where there is a package.
setup_spin()
{
	if command -v spin >/dev/null || ! command -v apt-get >/dev/null; then
		return 0
	fi
	apt-cache show spin >/dev/null 2>&1 || as_root apt-get update -q >/dev/null 2>&1 || true
	! apt-cache show spin >/dev/null 2>&1 || install_missing spin
}

# Find PostgreSQL's Perl modules for tests. A server that is not from Debian may lack
# them; those of another version also work. Sets perl_modules.
setup_perl()
{
	find_perl && return 0
	! command -v apt-get >/dev/null || PG_CONFIG='' install_missing
	find_perl || { echo "PostgreSQL's Perl modules for tests are missing." >&2; return 1; }
}

find_perl()
{
	perl_modules=$("${PG_CONFIG:-pg_config}" --pgxs)
	perl_modules=${perl_modules%/*/*}/test/perl
	[ ! -d "$perl_modules" ] || return 0
	perl_modules=$(find /usr/lib/postgresql -path '*/src/test/perl' -type d 2>/dev/null | sort -V | tail -n 1)
	[ -n "$perl_modules" ]
}

# Install the packages for tests with providers and drivers.
setup_peers()
{
	local npm=()
	command -v npm >/dev/null || npm+=(npm)
	install_missing pgbouncer nginx-light python3-pip "${npm[@]}"
}

# Install npm packages into the build folder, not into the source tree.
setup_node()
{
	local dir=$1 manifest=$2
	if [ ! -d "$dir/node_modules" ] || ! cmp -s "$manifest" "$dir/package.json"; then
		mkdir -p "$dir"
		cp "$manifest" "$dir/package.json"
		# remove the rest of an interrupted installation
		(cd "$dir" && npm install --no-audit --no-fund --no-package-lock --silent) ||
			{ rm -rf "$dir/node_modules"; return 1; }
	fi
}

# Install Python's packages into the build folder, too.
setup_python()
{
	local dir=$1 manifest=$2
	if ! cmp -s "$manifest" "$dir/requirements.txt"; then
		rm -rf "$dir"
		/usr/bin/python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location --root-user-action=ignore \
			--target "$dir" --requirement "$manifest" || { rm -rf "$dir"; return 1; }
		cp "$manifest" "$dir/requirements.txt"
	fi
}

# Build the verifiers of test/peers/issued that need a compiler, where there is Go, or
# Java with Maven. Tests that need them skip without.
setup_verifiers()
{
	local dir=$1 source=$2
	mkdir -p "$dir"
	if command -v go >/dev/null; then
		cp "$source"/{go.mod,go.sum,peer.go} "$dir/"
		(cd "$dir" && GOTOOLCHAIN=local nice go build -o peer .) || rm -f "$dir/peer"
	fi
	if command -v javac >/dev/null && command -v mvn >/dev/null; then
		if ! cmp -s "$source/pom.xml" "$dir/pom.xml"; then
			rm -rf "${dir:?}/lib"
			nice mvn -q -B -f "$source/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
				-DoutputDirectory="$dir/lib" || return 0
			cp "$source/pom.xml" "$dir/"
		fi
		javac -cp "$dir/lib/*" -d "$dir" "$source/Peer.java" || rm -f "$dir/Peer.class"
	fi
}
