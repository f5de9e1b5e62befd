# private-server.sh: a private PostgreSQL with the extension. Sourced.
#
# PostgreSQL finds its libraries and its share directory relative to its program. So a
# copy of the programs with links to all other files is an installation, and the
# extension can be installed there without changing the real one. It needs no root, and
# listens only on a socket in its own folder.

server_dir=
server_user=()

# Run a command as the user of the server: postgres refuses to run as root.
as_server_user()
{
	"${server_user[@]}" "$@"
}

# The common prefix of two paths, up to a slash.
common_prefix()
{
	local a=$1/ b=$2/ prefix=
	while [ "${a%%/*}" = "${b%%/*}" ] && [ -n "$a" ] && [ -n "$b" ]; do
		prefix+=${a%%/*}/
		a=${a#*/}
		b=${b#*/}
	done
	echo "$prefix"
}

# Make a folder with links to all files of another folder.
link_all()
{
	mkdir -p "$2"
	find "$1" -mindepth 1 -maxdepth 1 -exec ln -sfn -t "$2" {} +
}

# Install the extension from $1 (control, SQL, .so) into the staged copy. A file
# replaces a link to an installed one, and the server's user can read it.
stage_extension()
{
	local from=$1
	install -m 644 "$from"/*.control "$from"/*--*.sql "$stage_share/extension/"
	install -m 755 "$from"/*.so "$stage_lib/"
	for from in "$from"/src/*/jwt_*.so; do
		[ ! -f "$from" ] || install -m 755 "$from" "$stage_lib/"
	done
}

# Unset variables that a user has set for other servers.
forget_client_settings()
{
	local name
	for name in "${!PG@}"; do
		[ "$name" = PG_CONFIG ] || unset "$name"
	done
}

# Copy the installation of a pg_config into a folder, and install the extension from $3.
# Sets stage_bin, stage_share and stage_lib.
stage_installation()
{
	local config=$1 to=$2 built=$3 bin share lib prefix libs
	bin=$("$config" --bindir) share=$("$config" --sharedir) lib=$("$config" --pkglibdir)
	prefix=$(common_prefix "$(common_prefix "$bin" "$share")" "$lib")
	stage_bin=$to/${bin#"$prefix"}
	stage_share=$to/${share#"$prefix"}
	stage_lib=$to/${lib#"$prefix"}

	# the programs of a wheel find their libraries by relative paths, too
	for libs in "$bin"/../../../*.libs; do
		[ ! -d "$libs" ] || export LD_LIBRARY_PATH=$libs
	done

	# programs are copied: a link would be followed to the real installation
	mkdir -p "$stage_bin"
	cp "$bin"/* "$stage_bin/"
	link_all "$lib" "$stage_lib"
	link_all "$share" "$stage_share"
	rm "$stage_share/extension"
	link_all "$share/extension" "$stage_share/extension"
	rm -f "$stage_share"/extension/jwt{,_*}{.control,--*.sql} "$stage_lib"/jwt{,_*}.so
	stage_extension "$built"
}

# Stage a copy of the installation; $1 is the folder with the built extension.
server_stage()
{
	local tmp=${TMPDIR:-/tmp}

	forget_client_settings
	umask 022
	# the path of a socket must fit into 107 bytes
	[ ${#tmp} -le 60 ] || tmp=/tmp
	server_dir=$(mktemp -d "$tmp/jwt.XXXXXX")
	trap server_cleanup EXIT
	stage_installation "${PG_CONFIG:-pg_config}" "$server_dir/stage" "$1"

	if [ "$(id -u)" = 0 ]; then
		server_user=(setpriv "--reuid=${JWT_TEST_USER:-nobody}" --regid=nogroup --clear-groups)
		chmod 755 "$server_dir"
	fi
	mkdir "$server_dir/run"
	[ "$(id -u)" != 0 ] || chown "${JWT_TEST_USER:-nobody}" "$server_dir/run"
	export PATH=$stage_bin:$PATH
}

# Wrap the server's program: $1 is a shell command that is followed by the program and
# its arguments. Calls that only query or set up the server are not wrapped.
server_wrap()
{
	mv "$stage_bin/postgres" "$stage_bin/postgres.bin"
	cat >"$stage_bin/postgres" <<-END
		#!/bin/bash
		case " \$* " in
			*" -V "* | *" -C "* | *" --boot "* | *" --check "* | *" --single "*) exec "\$0.bin" "\$@" ;;
		esac
		$1 "\$0.bin" "\$@"
	END
	chmod 755 "$stage_bin/postgres"
	export PGCTLTIMEOUT=300
}

# Start the server that was set up.
server_launch()
{
	(
		cd "$server_dir/run" || exit
		as_server_user pg_ctl -D "$server_dir/run/data" -l "$server_dir/run/server.log" -w start >/dev/null ||
			{ cat "$server_dir/run/server.log" >&2; exit 1; }
	)
}

# Set up a server and start it. The arguments are lines of its configuration.
server_start()
{
	local data=$server_dir/run/data
	(
		cd "$server_dir/run" || exit
		as_server_user initdb -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >initdb.log
		{
			echo "listen_addresses = ''"
			echo "unix_socket_directories = '$server_dir/run'"
			echo "fsync = off"
			printf '%s\n' "$@"
		} | as_server_user tee -a "$data/postgresql.conf" >/dev/null
	)
	server_launch
	export PGHOST=$server_dir/run PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
}

# Make a file with a key for all databases, in which the extension jwt_auth seals its
# private keys. Sets key_file.
server_make_key_file()
{
	key_file=$server_dir/run/jwt_auth.keys
	(
		umask 077
		cd "$server_dir/run" && echo "k1:$(openssl rand -base64 32):*" | as_server_user tee "$key_file" >/dev/null
	)
}

# Stop the server, and servers in our folder that a test has left.
server_stop()
{
	local pidfile
	find "$server_dir/run" -name postmaster.pid 2>/dev/null | while read -r pidfile; do
		(cd "$server_dir/run" && as_server_user pg_ctl -D "${pidfile%/*}" -m immediate -w stop >/dev/null) || true
	done
}

# Clean up at exit. KEEP=1 keeps the folder.
server_cleanup()
{
	local status=$?
	trap - EXIT
	if [ -n "$server_dir" ]; then
		server_stop
		# small disks of interrupted tests
		awk -v "dir=$server_dir/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | while read -r mounted; do
			umount -l "$mounted"
		done
		if [ -n "${KEEP:-}" ]; then
			echo "kept $server_dir" >&2
		else
			rm -rf "$server_dir"
		fi
	fi
	exit $status
}

# Build the extension with a compiler in a separate folder, with all files for
# stage_extension().
build_extension()
{
	local source=$1 dir=$2 cc=$3
	shift 3
	rm -rf "$dir"
	mkdir -p "$dir"
	cp -r "$source"/{Makefile,src} "$source"/*.control "$source"/*--*.sql "$dir/"
	[ ! -d "$source/test/module" ] || { mkdir -p "$dir/test"; cp -r "$source/test/module" "$dir/test/"; }
	find "$dir" -name '*.o' -delete
	make -s -C "$dir" -j2 CC="$cc" "$@" >"$dir/build.log" 2>&1 || { cat "$dir/build.log" >&2; return 1; }
}
