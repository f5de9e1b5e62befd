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

# The major version of PostgreSQL to build for: that of pg_config when there is
# one that can build, else what this release of the distribution has.
postgres_version()
{
	local version
	version=$("${PG_CONFIG:-pg_config}" --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p')
	if [ -z "$version" ]; then
		version=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
	fi
	echo "${version:-15}"
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

# Install the Debian packages that are missing among the arguments.
install_packages()
{
	local missing=() package
	for package in "$@"; do
		have_package "$package" || missing+=("$package")
	done
	[ ${#missing[@]} = 0 ] && return 0

	if ! as_root true 2>/dev/null; then
		echo "Missing here, and I may not install it.  Please run:" >&2
		echo "    sudo apt-get install ${missing[*]}" >&2
		return 1
	fi
	echo "installing ${missing[*]}" >&2
	forbid_new_cluster
	as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
}

# The package lists of a fresh machine are empty.
update_lists()
{
	if ! apt-cache show libssl-dev >/dev/null 2>&1; then
		as_root apt-get update -q >/dev/null || true
	fi
}

# What building and the demo need.
setup_build()
{
	local version
	if ! command -v apt-get >/dev/null; then
		command -v "${PG_CONFIG:-pg_config}" >/dev/null && return 0
		echo "Please install a C compiler, PostgreSQL with its server headers, and OpenSSL with its headers." >&2
		return 1
	fi
	update_lists
	version=$(postgres_version)
	install_packages gcc make openssl libssl-dev "postgresql-$version" "postgresql-server-dev-$version"
}

# What the tests need besides.
setup_test()
{
	setup_build
	command -v apt-get >/dev/null || return 0
	install_packages clang valgrind libipc-run-perl python3 python3-jwt python3-cryptography nodejs
	command -v npm >/dev/null || install_packages npm
}

# npm's packages go into the build folder, never into the source tree.
setup_node()
{
	local dir=$1 manifest=$2
	if [ ! -d "$dir/node_modules" ] || ! cmp -s "$manifest" "$dir/package.json"; then
		mkdir -p "$dir"
		cp "$manifest" "$dir/package.json"
		(cd "$dir" && npm install --no-audit --no-fund --no-package-lock --silent)
	fi
}
