# setup.sh: what a machine needs to build and test the extension, and installs
# what of it is missing.  Sourced; calls need nothing but bash.

# Run a command as root, or say that it cannot be.
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

# Whether pg_config leads to a server that can be run and built for, wherever it
# comes from.  Debian's package of the client has PGXS too, without the headers.
have_server()
{
	local config=${PG_CONFIG:-pg_config}
	command -v "$config" >/dev/null && [ -x "$("$config" --bindir)/postgres" ] &&
		[ -f "$("$config" --pgxs)" ] && [ -f "$("$config" --includedir-server)/postgres.h" ]
}

# The major version of the server of pg_config; nothing where there is none.
server_version()
{
	"${PG_CONFIG:-pg_config}" --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p'
}

# The packages of the server: of the version of pg_config where there is one,
# else of this release of the distribution.
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

# Debian's postgresql package creates a cluster and starts it.  We start our
# own, so on a machine that has had none, none shall appear.
forbid_new_cluster()
{
	local conf=/etc/postgresql-common/createcluster.conf
	if ! have_package postgresql-common && [ ! -e "$conf" ]; then
		as_root mkdir -p "${conf%/*}"
		echo 'create_main_cluster = false' | as_root tee "$conf" >/dev/null
	fi
}

# Install what is missing: the server and the packages that are named, all at
# once.  Who may not gets the one command that does.
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
	# the lists of a fresh machine are empty, those of an old one out of date
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

# The packages that building and the demo need, and those of the tests, without
# the server's; what setup_test has found.
perl_modules='' pgtap_dir=''
build_packages=(gcc make openssl libssl-dev libcurl4-openssl-dev)
test_packages=(clang libclang-rt-dev valgrind libipc-run-perl python3 python3-jwt python3-cryptography)

# What building and the demo need, and the packages that are named.
setup_build()
{
	if ! command -v apt-get >/dev/null; then
		have_server && return 0
		echo "Please install a C compiler, PostgreSQL with its server headers, and OpenSSL and libcurl with their headers." >&2
		return 1
	fi
	install_missing "${build_packages[@]}" "$@"
}

# The same, what the tests need besides, and the packages that are named.
setup_test()
{
	local node=()
	command -v node >/dev/null || node+=(nodejs)
	setup_build "${test_packages[@]}" "${node[@]}" "$@" && setup_perl &&
		setup_pgtap
}

# What the bench needs.
setup_bench()
{
	setup_build valgrind python3 python3-jwt python3-cryptography
}

# What the bench's chart needs.
setup_chart()
{
	install_missing python3-matplotlib
}

# The package of pgTAP for this server; a server that comes from elsewhere may have
# its own, or none.  As it is SQL that runs on any, that of another will do.  Sets
# pgtap_dir, which is empty where there is none.
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

# PostgreSQL's Perl modules for tests, which a server that comes from elsewhere may
# lack.  Those of another version serve as well; sets perl_modules.
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

# What the tests with providers and drivers need besides.
setup_peers()
{
	local npm=()
	command -v npm >/dev/null || npm+=(npm)
	install_missing pgbouncer nginx-light "${npm[@]}"
}

# npm's packages go into the build folder, never into the source tree.
setup_node()
{
	local dir=$1 manifest=$2
	if [ ! -d "$dir/node_modules" ] || ! cmp -s "$manifest" "$dir/package.json"; then
		mkdir -p "$dir"
		cp "$manifest" "$dir/package.json"
		# what an interrupted one leaves must not look finished
		(cd "$dir" && npm install --no-audit --no-fund --no-package-lock --silent) ||
			{ rm -rf "$dir/node_modules"; return 1; }
	fi
}
