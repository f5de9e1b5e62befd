# next.sh: a later version of the extension, for tests of upgrades. Sourced.

# Make the sources in a folder those of version 1.1. It has a function more, and another
# text for an expired token, so that a test can tell which library a session has.
make_next()
{
	local dir=$1
	sed -i "s/^default_version = .*/default_version = '1.1'/" "$dir/jwt.control"
	sed -i 's/^DATA = /&jwt--1.0--1.1.sql /' "$dir/Makefile"
	sed -i 's/JSON Web Token has expired/JSON Web Token is past its time/' "$dir/src/token/failure.c"
	cat >"$dir/jwt--1.0--1.1.sql" <<-'END'
		CREATE FUNCTION @extschema@.jwt_next(token text) RETURNS jsonb AS 'MODULE_PATHNAME', 'jwt_sql_header'
		LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
	END
}
