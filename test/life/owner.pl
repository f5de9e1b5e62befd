# For every installer, schema and owner: the owner of the database manages trust and can
# delegate it, no other role can, and no role gains other rights.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use JwtTest;
use LifeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($node, $bootstrap) = start_main('', q{
	CREATE ROLE super2 LOGIN SUPERUSER;
	CREATE ROLE super3 LOGIN SUPERUSER;
	CREATE ROLE boss LOGIN;
	CREATE ROLE next_boss LOGIN;
	CREATE ROLE creator LOGIN;
	CREATE ROLE third LOGIN;
	CREATE ROLE helper LOGIN;
	CREATE ROLE other LOGIN;
	CREATE ROLE worker LOGIN IN ROLE boss;
	CREATE ROLE auditor LOGIN IN ROLE pg_monitor;
});
my $hex = unpack('H*', JwtTest::secret());
my $issuer = 'https://idp.example';

# The members with their owners and privileges.
my $acls = q{
	SELECT string_agg(concat_ws(' ', o.name, o.owner, a.rights), E'\n' ORDER BY o.name)
	FROM (
		SELECT 'table ' || relname AS name, relowner::regrole AS owner, relacl AS acl, relkind AS kind FROM pg_class
		WHERE oid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND deptype = 'e' AND refobjid = e.oid)
		UNION ALL
		SELECT 'function ' || proname || ' ' || oidvectortypes(proargtypes), proowner::regrole, proacl, 'f' FROM pg_proc
		WHERE oid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_proc'::regclass AND deptype = 'e' AND refobjid = e.oid)
	) o, LATERAL (
		SELECT string_agg(concat_ws(' ', grantor::regrole, grantee::regrole, privilege_type, is_grantable), ', ' ORDER BY grantor, grantee, privilege_type) AS rights
		FROM aclexplode(o.acl)
	) a
} =~ s/FROM \(/FROM pg_extension e, LATERAL (/r . q{WHERE e.extname = 'jwt'};
my $reference;

# The lines that differ between two texts.
sub difference
{
	my ($is, $should) = map { my %lines = map { $_ => 1 } split /\n/; \%lines } @_;
	return join("\n", (map { "is: $_" } grep { !$should->{$_} } sort keys %$is), (map { "should be: $_" } grep { !$is->{$_} } sort keys %$should));
}

# The conditions for every database with the extension.
sub store_is_right
{
	my ($name, $db, $schema, $owner, @others) = @_;
	my $token = token('alice', jti => 't1', iat => time() - 60);
	my $hold = "$schema.";
	my @wrong;
	my $expect = sub {
		my ($user, $sql, $should) = @_;
		my $is = as($db, $user, $sql);
		push @wrong, "$user: $sql\n    $is, not $should" unless ref $should ? $is =~ $should : $is eq $should;
	};

	$expect->($owner, "SET search_path = $schema, pg_temp", '');
	$expect->($_, "SET search_path = $schema, pg_temp", '') for @others, 'helper', 'auditor';
	# manage
	$expect->($owner, "SELECT FROM jwt_add_issuer('$issuer', '{api}', '{HS256}')", '');
	$expect->($owner, "SELECT FROM jwt_add_secret('$issuer', '\\x$hex', 'HS256', 'k1')", '');
	$expect->($owner, verdict($token), 'valid');
	$expect->($owner, "INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://other.example', '{api}', '{EdDSA}')", '');
	$expect->($owner, q{SELECT count(*) FROM jwt_import_jwks('https://other.example', '{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "e", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}')}, '1');
	$expect->($owner, "SELECT count(*) FROM jwt_key WHERE jwk IS NOT NULL", '2');
	$expect->($owner, "SELECT FROM jwt_revoke_id('$issuer', 't1', 'infinity')", '');
	$expect->($owner, verdict($token), '28J11');
	$expect->($owner, "SELECT jwt_unrevoke_id('$issuer', 't1')", 't');
	$expect->($owner, "SELECT jwt_prune_revocations()", '0');
	$expect->($owner, q{SELECT DISTINCT ok FROM jwt_status}, 't');
	$expect->('auditor', q{SELECT DISTINCT ok FROM jwt_status}, 't');
	# delegate
	$expect->('helper', "SELECT FROM jwt_revoke_id('$issuer', 't1', 'infinity')", '42501');
	$expect->($owner, "GRANT EXECUTE ON FUNCTION jwt_revoke_id TO helper; GRANT SELECT ON jwt_issuer TO helper WITH GRANT OPTION", '');
	$expect->('helper', "SELECT FROM jwt_revoke_id('$issuer', 't1', 'infinity')", '');
	$expect->('helper', "SELECT count(*) FROM jwt_issuer; GRANT SELECT ON jwt_issuer TO other", '2');
	$expect->('helper', $_, '42501') for 'SELECT FROM jwt_denylist', 'SELECT FROM jwt_key', "SELECT jwt_unrevoke_id('$issuer', 't1')";
	$expect->($owner, verdict($token), '28J11');
	$expect->($owner, 'REVOKE EXECUTE ON FUNCTION jwt_revoke_id FROM helper; REVOKE SELECT ON jwt_issuer FROM helper CASCADE', '');
	$expect->('helper', $_, '42501') for "SELECT FROM jwt_revoke_id('$issuer', 't1', 'infinity')", 'SELECT FROM jwt_issuer';
	# no other role
	for my $user (@others)
	{
		$expect->($user, verdict($token), '28J11');
		$expect->($user, $_, '42501')
		  for 'SELECT FROM jwt_key', 'SELECT FROM jwt_key_status', 'SELECT FROM jwt_key_status_rows()', 'SELECT FROM jwt_status', 'SELECT FROM jwt_status_rows()', 'SELECT FROM jwt_denylist', 'SELECT FROM jwt_issuer', 'SELECT FROM jwt_jwks_source', 'SELECT FROM jwt_jwks_state',
		  "INSERT INTO jwt_denylist (issuer, kind, value) VALUES ('$issuer', 'jti', 'x')", 'DELETE FROM jwt_denylist', 'TRUNCATE jwt_key', "UPDATE jwt_issuer SET audience = '{*}'",
		  "SELECT jwt_add_issuer('https://mine.example', '{*}', '{HS256}')", "SELECT jwt_add_secret('$issuer', '\\x$hex', 'HS256', 'mine')", "SELECT jwt_add_key('$issuer', '{}')",
		  "SELECT jwt_import_jwks('$issuer', '{}')", "SELECT jwt_import_counts('$issuer', '{}')", "SELECT jwt_refresh_jwks('$issuer')", "SELECT jwt_jwks('$issuer')", "SELECT jwt_jwks_members('$issuer', '{}')",
		  "SELECT jwt_revoke('$token')", 'SELECT jwt_logout()', "SELECT jwt_revoke_subject('$issuer', 'alice')", "SELECT jwt_revoke_key('$issuer', 'k1')", "SELECT jwt_revoke_issuer('$issuer')", "SELECT jwt_unrevoke_id('$issuer', 't1')", 'SELECT jwt_prune_revocations()',
		  "SELECT jwt_issuer_deleted('$issuer')", 'SELECT jwt_issuers_truncated()', "SELECT jwt_issuer_renamed('$issuer', 'x')",
		  'GRANT SELECT ON jwt_key TO PUBLIC', 'ALTER TABLE jwt_key OWNER TO other';
		# DROP SCHEMA says that the extension needs the schema
		$expect->($user, 'DROP TABLE jwt_denylist CASCADE', qr/^(42501|2BP01)$/);
	}
	$expect->($owner, "DELETE FROM jwt_denylist; DELETE FROM jwt_issuer; SELECT count(*) FROM jwt_key", '0');
	is(join("\n", @wrong), '', "$name: the owner of the database manages and delegates, others do not");

	my $are = $node->safe_psql($db, $acls);
	$reference //= $are;
	is(difference($are, $reference), '', "$name: whose everything is, and who may do what");
	is($node->safe_psql($db, q{SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolsuper}), "$bootstrap super2 super3", "$name: and who is a superuser");
	return;
}

#
# Installers and schemas
#

my $n = 0;
sub new_database
{
	my ($owner) = @_;
	my $db = 'db' . ++$n;
	$node->safe_psql('postgres', "CREATE DATABASE $db OWNER $owner");
	$node->safe_psql($db, 'GRANT CREATE ON SCHEMA public TO creator; GRANT CREATE ON DATABASE ' . $db . ' TO creator');
	return $db;
}

my $own_schema = 'CREATE SCHEMA auth';
my $third_schema = 'CREATE SCHEMA auth AUTHORIZATION third; GRANT USAGE ON SCHEMA auth TO PUBLIC; GRANT CREATE ON SCHEMA auth TO boss';
my $usage = 'GRANT USAGE ON SCHEMA auth TO PUBLIC';

# Name, owner of the database, installer, preparation by a superuser, schema, and
# preparation by the installer.
for my $case (
	[ 'the bootstrap superuser', 'boss', $bootstrap, '', 'public', '' ],
	[ 'another superuser', 'boss', 'super2', '', 'public', '' ],
	[ 'another superuser, as a third one', 'boss', 'super2', '', 'public', 'SET ROLE super3' ],
	[ 'the bootstrap superuser, as another', 'boss', $bootstrap, '', 'public', 'SET ROLE super2' ],
	[ 'a superuser as the owner', 'boss', 'super2', '', 'public', 'SET ROLE boss' ],
	[ 'a superuser who has become the owner', 'boss', 'super2', '', 'public', 'SET SESSION AUTHORIZATION boss' ],
	[ 'the owner', 'boss', 'boss', '', 'public', '' ],
	[ 'a member of the owner', 'boss', 'worker', '', 'public', '' ],
	[ 'a member of the owner, as that', 'boss', 'worker', '', 'public', 'SET ROLE boss' ],
	[ 'the bootstrap superuser, in a schema of its own', 'boss', $bootstrap, '', 'auth', "$own_schema; $usage" ],
	[ 'another superuser, in a schema of its own', 'boss', 'super2', '', 'auth', "$own_schema; $usage" ],
	[ 'the owner, in a schema of its own', 'boss', 'boss', '', 'auth', "$own_schema; $usage" ],
	[ 'the bootstrap superuser, in a schema of somebody else', 'boss', $bootstrap, $third_schema, 'auth', '' ],
	[ 'another superuser, in a schema of somebody else', 'boss', 'super2', $third_schema, 'auth', '' ],
	[ 'the owner, in a schema of somebody else', 'boss', 'boss', $third_schema, 'auth', '' ],
	[ 'the owner, with a search_path of theirs', 'boss', 'boss', $third_schema, 'public', 'SET search_path = auth, pg_temp, public, pg_catalog' ],
  )
{
	my ($name, $owner, $installer, $before, $schema, $set_up) = @$case;
	my $db = new_database($owner);
	my $who = q{SELECT concat_ws(' ', current_user, session_user, current_setting('role'), current_setting('search_path'))};

	$node->safe_psql($db, $before) if $before;
	as($db, $installer, $set_up) if $set_up;
	my $was = as($db, $installer, $who);
	is(as($db, $installer, "BEGIN; CREATE EXTENSION jwt SCHEMA $schema; $who"), $was, "$name: who they are after it, in the same transaction");
	is(as($db, $installer, "COMMIT; $who"), $was, "$name: and after that");
	forget_sessions();
	store_is_right($name, $db, $schema, $owner, qw(third creator other));
	store_is_right("$name, by a member", $db, $schema, 'worker', 'other') if $owner eq 'boss';
	forget_sessions();
}

# A role that may create in the database, and is neither its owner nor a superuser.
my $db = new_database('boss');
$node->safe_psql($db, $third_schema);
for my $case ([ 'creator', 'public' ], [ 'creator', 'mine', 'CREATE SCHEMA mine' ], [ 'third', 'auth' ], [ 'other', 'public' ], [ 'super2', 'public', 'SET ROLE creator' ])
{
	my ($user, $schema, $set_up) = @$case;
	as($db, $user, $set_up) if $set_up;
	is(try_as($db, $user, "CREATE EXTENSION jwt SCHEMA $schema"), '42501', "$user must not install it in $schema");
}
my ($ret, $out, $err) = $node->psql($db, 'CREATE EXTENSION jwt', extra_params => [ '-U', 'creator' ]);
like($err, qr/permission denied to create extension "jwt".*HINT:  Create it as the owner of database "$db"/s, 'and is told who must');
$node->safe_psql($db, 'CREATE FUNCTION install() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ CREATE EXTENSION jwt $$; GRANT EXECUTE ON FUNCTION install() TO other');
is(as($db, 'other', 'BEGIN; SELECT FROM install(); SELECT current_user, session_user'), "other|other", 'a function of a superuser installs it for others');
as($db, 'other', 'ROLLBACK');
as($db, 'super2', 'RESET ROLE; ALTER FUNCTION install() OWNER TO super2');
is(try_as($db, 'other', 'SELECT FROM install()'), '42501', 'but only of the bootstrap superuser, as none sets its role');
is(as($db, 'super2', 'RESET ROLE; BEGIN; SAVEPOINT a; CREATE FUNCTION jwt_subject() RETURNS text LANGUAGE sql RETURN 1; CREATE EXTENSION jwt') =~ s/\n.*//sr, '42723', 'where it fails');
is(as($db, 'super2', q{ROLLBACK TO a; SELECT current_user, session_user, current_setting('role')}), 'super2|super2|none', 'a superuser is as before, too');
is(as($db, 'super2', 'COMMIT'), '', 'in the same transaction');
forget_sessions();

#
# New owners of the database
#

$node->safe_psql('postgres', "DROP DATABASE db$_") for 1 .. $n;
for my $case (
	[ 'ALTER DATABASE OWNER', 'ALTER DATABASE %s OWNER TO next_boss' ],
	[ 'REASSIGN OWNED', 'REASSIGN OWNED BY boss TO next_boss' ],
	[ 'REASSIGN OWNED to a superuser and on', 'REASSIGN OWNED BY boss TO super2; ALTER DATABASE %s OWNER TO next_boss' ],
  )
{
	my ($name, $change) = @$case;
	for my $way ([ 'boss', 'public' ], [ 'super2', 'auth' ])
	{
		my ($installer, $schema) = @$way;
		my $db = new_database('boss');
		my $as = "$name, installed by $installer in $schema";
		as($db, 'boss', "CREATE SCHEMA auth; GRANT USAGE ON SCHEMA auth TO PUBLIC");
		as($db, $installer, "CREATE EXTENSION jwt SCHEMA $schema");
		as($db, 'boss', "GRANT EXECUTE ON FUNCTION $schema.jwt_revoke_subject TO helper; GRANT SELECT, DELETE ON $schema.jwt_denylist TO helper");
		as($db, 'boss', "SELECT FROM $schema.jwt_add_issuer('https://kept.example', '{api}', '{HS256}')");
		$node->safe_psql($db, $change =~ s/%s/$db/r);
		is(as($db, 'helper', "SELECT FROM $schema.jwt_revoke_subject('https://kept.example', 'bob')"), '', "$as: what was granted stays");
		is(as($db, 'helper', "SELECT count(*) FROM $schema.jwt_denylist"), '1', "$as: and so does what was stored");
		is(as($db, 'boss', "SELECT FROM $schema.jwt_denylist"), '42501', "$as: the one before has no rights");
		is(as($db, 'next_boss', "DELETE FROM $schema.jwt_denylist; REVOKE ALL ON $schema.jwt_denylist FROM helper; REVOKE ALL ON FUNCTION $schema.jwt_revoke_subject FROM helper; DELETE FROM $schema.jwt_issuer"), '', "$as: the new one takes back what the other has granted");
		store_is_right($as, $db, $schema, 'next_boss', qw(boss third other));
		forget_sessions();
		$node->safe_psql('postgres', "DROP DATABASE $db");
	}
}

# A role with grants: pg_database_owner is the grantor of what the owner of the database
# grants, and DROP OWNED by a superuser does not revoke that.
$db = new_database('boss');
as($db, 'boss', 'CREATE EXTENSION jwt; GRANT SELECT ON jwt_key TO helper');
is(as($db, $bootstrap, 'DROP OWNED BY helper; DROP ROLE helper'), '2BP01', 'DROP OWNED by a superuser leaves what the owner has granted');
is(as($db, 'helper', 'SELECT FROM jwt_key'), '', 'so it still holds');
is(as($db, $bootstrap, 'SET ROLE pg_database_owner; REVOKE ALL ON jwt_key FROM helper; RESET ROLE'), '', 'a superuser takes it back as pg_database_owner');
store_is_right('after that', $db, 'public', 'boss', 'other');

# DROP OWNED of the installer drops the extension with all its rows.
$node->safe_psql($db, 'DROP OWNED BY boss');
is(as($db, 'boss', 'SELECT count(*) FROM pg_extension WHERE extname = $$jwt$$'), '0', 'DROP OWNED BY its installer drops it');
is(as($db, 'boss', q{SELECT count(*) FROM pg_class WHERE relname LIKE 'jwt%'}), '0', 'and its tables');
as($db, 'boss', 'CREATE EXTENSION jwt');
store_is_right('installed again', $db, 'public', 'boss', 'other');
forget_sessions();

# The owner of a copied database manages the copied trust.
$node->safe_psql($db, "SELECT jwt_add_issuer('$issuer', '{api}', '{HS256}'), jwt_add_secret('$issuer', '\\x$hex', 'HS256', 'k1')");
$node->safe_psql('postgres', "CREATE DATABASE copy TEMPLATE $db OWNER next_boss");
is(as('copy', 'next_boss', 'SELECT count(jwk) FROM jwt_key'), '1', 'the owner of a copy has the keys');
is(as('copy', 'boss', 'SELECT count(jwk) FROM jwt_key'), '42501', 'and the owner of the first does not');

done_testing();
