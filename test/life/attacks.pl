# Attacks on the store by those who share the database with it: whoever may create
# there, owns a schema, or owns the database.  Each is refused or comes to nothing;
# nobody becomes a superuser, and nobody but the owner of the database reads a secret.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use JwtTest;
use LifeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "max_connections = 60\nlog_statement = none\nmax_locks_per_transaction = 512");
$node->start;
my $bootstrap = $node->safe_psql('postgres', 'SELECT rolname FROM pg_roles WHERE oid = 10');
$node->safe_psql('postgres', q{
	CREATE ROLE super2 LOGIN SUPERUSER;
	CREATE ROLE boss LOGIN;
	CREATE ROLE third LOGIN;
	CREATE ROLE creator LOGIN;
	CREATE ROLE other LOGIN;
	CREATE ROLE anon LOGIN;
});
my $hex = unpack('H*', JwtTest::secret());
my $k = JwtTest::base64url(JwtTest::secret());
my $issuer = 'https://idp.example';

my %sessions;
sub session
{
	my ($db, $user) = @_;
	return $sessions{"$db $user"} //= LifeTest->new($node->connstr($db) . " user=$user", 'SET client_min_messages = error');
}

# What a statement gives: its error's code, if it has one.
sub as
{
	my ($db, $user, $sql) = @_;
	return session($db, $user)->ask($sql) =~ s/\AERROR:  //r;
}

# The same, after which all is as it was.
sub try_as
{
	my ($db, $user, $sql) = @_;
	my $answer = as($db, $user, "BEGIN; $sql");
	as($db, $user, 'ROLLBACK');
	return $answer =~ s/\n.*//sr;
}

sub must
{
	my ($db, $user, $sql) = @_;
	return session($db, $user)->must($sql);
}

sub forget_sessions
{
	$_->finish for values %sessions;
	%sessions = ();
	return;
}

my $n_databases = 0;
sub new_database
{
	my ($template) = @_;
	my $db = 'db' . ++$n_databases;
	$node->safe_psql('postgres', "CREATE DATABASE $db OWNER boss" . ($template ? " TEMPLATE $template" : ''));
	return $db;
}

my $superusers = q{SELECT string_agg(rolname, ' ' ORDER BY rolname) FROM pg_roles WHERE rolsuper};
sub nobody_is_more
{
	my ($name) = @_;
	is($node->safe_psql('postgres', $superusers), "$bootstrap super2", "$name: nobody has become a superuser");
	return;
}

# Where somebody's object is called, it says so.
my $trap = q{BEGIN
	RAISE EXCEPTION USING ERRCODE = 'ZZ666';
END};
my $escalate = q{BEGIN
	ALTER ROLE boss SUPERUSER;
	ALTER ROLE third SUPERUSER;
EXCEPTION WHEN OTHERS THEN
	NULL;
END};

# All that a manager does, which calls every function of the extension.
sub cycle
{
	my ($db, $user) = @_;
	my $a = token('alice', jti => 't1', sid => 's1', iat => time() - 60);
	my $verdict = verdict($a);
	return join(' ', map { as($db, $user, $_) } (
		"SELECT FROM jwt_add_issuer('$issuer', '{api}', '{HS256}')", "SELECT FROM jwt_add_secret('$issuer', '\\x$hex', 'HS256', 'k1')", $verdict,
		"SELECT FROM jwt_revoke('$a')", $verdict, "SELECT jwt_unrevoke_id('$issuer', 't1')", $verdict,
		"SELECT FROM jwt_revoke_session('$issuer', 's1')", $verdict, "SELECT jwt_unrevoke_session('$issuer', 's1')",
		"SELECT FROM jwt_revoke_subject('$issuer', 'alice')", $verdict, "SELECT jwt_unrevoke_subject('$issuer', 'alice')",
		"SELECT FROM jwt_revoke_issuer('$issuer')", $verdict, "SELECT jwt_unrevoke_issuer('$issuer')",
		"SELECT FROM jwt_revoke_key('$issuer', 'k1')", $verdict, "SELECT jwt_unrevoke_key(jwt_thumbprint(jwk)) FROM jwt_key WHERE kid = 'k1'", $verdict,
		"SELECT jwt_prune_revocations(10)", "SELECT jwt_authenticate('$a', false) OPERATOR(pg_catalog.->>) 'sub'::pg_catalog.text", "SELECT jwt_subject(), jwt_claim('sub'), jwt_has_scope('x')", 'SELECT jwt_logout()', 'RESET jwt.token', $verdict,
		"INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://ed.example', '{api}', '{EdDSA}')", "INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://ed.example', 'https://ed.example/keys')",
		(map { qq{SELECT string_agg(action, ',') FROM jwt_import_jwks('https://ed.example', '{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "$_", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}')} } 'e', 'e', 'f'),
		"SELECT pg_catalog.jsonb_array_length(jwt_jwks('https://ed.example') OPERATOR(pg_catalog.->) 'keys'::pg_catalog.text)", "UPDATE jwt_issuer SET issuer = 'https://ed2.example' WHERE issuer = 'https://ed.example'", "SELECT count(*) FROM jwt_key WHERE issuer = 'https://ed2.example'",
		'SELECT count(*) FROM jwt_status', 'SELECT count(*) FROM jwt_key_status', 'SELECT count(*) FROM jwt_cache()', "DELETE FROM jwt_issuer WHERE issuer = '$issuer'", 'SELECT count(*) FROM jwt_key', 'TRUNCATE jwt_issuer', 'SELECT count(*) FROM jwt_key', 'DELETE FROM jwt_denylist'
	));
}
my $in_public = new_database();
must($in_public, 'boss', 'CREATE EXTENSION jwt');
my $cycle = cycle($in_public, 'boss');
like($cycle, qr/^  valid  28J11 t valid  28J11 t  28J11 t  28J11 t  28J11 t valid 0 alice alice\|alice\|f t  28J11   added unchanged added,retired 1  2 3 3 1  2  0 $/, 'what a manager does') or BAIL_OUT('nothing else makes sense');

# What members depend on, and what depends on these, outside of the extension and of
# the system.
my $strangers = q{
	WITH RECURSIVE part AS (
		SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'jwt') AND deptype = 'e'
		UNION
		SELECT d.classid, d.objid FROM part p JOIN pg_depend d ON d.refclassid = p.classid AND d.refobjid = p.objid WHERE d.deptype IN ('i', 'a', 'I')
	)
	SELECT pg_describe_object(d.refclassid, d.refobjid, 0)
	FROM part p JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
	WHERE d.refobjid >= 16384 AND d.refclassid NOT IN ('pg_extension'::regclass, 'pg_namespace'::regclass) AND (d.refclassid, d.refobjid) NOT IN (TABLE part)};
my $members = q{
	SELECT string_agg(kind || ' ' || n, ', ' ORDER BY kind) FROM (
		SELECT classid::regclass::text AS kind, count(*) AS n FROM pg_depend
		WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'jwt') AND deptype = 'e' GROUP BY 1) x};

#
# Objects that lie in the schema before the extension comes
#

my @types = qw(text varchar bpchar name uuid oid timestamptz interval jsonb int4 int8 bool text[] anyelement anyarray);
my @plants = ("CREATE FUNCTION trap(int) RETURNS int LANGUAGE plpgsql AS \$\$ $trap \$\$");
my $n = 0;
for my $left (@types)
{
	for my $right (@types)
	{
		next if $left =~ /^any/ && $right =~ /^any/ && $left ne $right;
		push @plants, "CREATE FUNCTION trap_$n($left, $right) RETURNS bool LANGUAGE plpgsql AS \$\$ $trap \$\$";
		push @plants, map { "CREATE OPERATOR $_ (LEFTARG = $left, RIGHTARG = $right, FUNCTION = trap_$n)" } '=', '<>', '<', '>', '>=', '||', '-', '+', '->>';
		$n++;
	}
}
# functions that the script and its bodies call, in shapes that may fit as well
for my $name (qw(now clock_timestamp gen_random_uuid set_config current_setting count format string_agg array_agg coalesce_ greatest_ quote_ident pg_extension_config_dump jwt_cache_ min max int4))
{
	push @plants, "CREATE FUNCTION $name(name) RETURNS text LANGUAGE plpgsql AS \$\$ $trap \$\$", "CREATE FUNCTION $name(text, varchar, bool) RETURNS text LANGUAGE plpgsql AS \$\$ $trap \$\$",
	  "CREATE FUNCTION $name(VARIADIC anyarray) RETURNS bool LANGUAGE plpgsql AS \$\$ $trap \$\$";
}
push @plants, map { "CREATE FUNCTION $_() RETURNS timestamptz LANGUAGE plpgsql AS \$\$ $trap \$\$" } qw(now clock_timestamp gen_random_uuid session_user_ pg_trigger_depth);
# overloads of ours
push @plants, map { my ($name, $args) = @$_; "CREATE FUNCTION $name($args) RETURNS text LANGUAGE plpgsql AS \$\$ $trap \$\$" }
  [ 'jwt_install_begin', 'int' ], [ 'jwt_install_strip', 'VARIADIC x int[]' ], [ 'jwt_issuer_check', 'int' ], [ 'jwt_issuer_deleted', 'varchar' ], [ 'jwt_issuer_deleted', 'name' ],
  [ 'jwt_issuer_deleted', 'anyelement' ], [ 'jwt_issuer_renamed', 'varchar, varchar' ], [ 'jwt_jwks_members', 'varchar, varchar' ], [ 'jwt_jwks_members', 'anyelement, anyelement' ],
  [ 'jwt_import_jwks', 'text, text, text' ], [ 'jwt_import_jwks', 'varchar, varchar, interval' ], [ 'jwt_status_rows', 'VARIADIC int[]' ];
# types, domains, casts and collations with names of the system's
push @plants, map { "CREATE DOMAIN $_ AS pg_catalog.text" } qw(text timestamptz uuid jsonb "boolean" bool interval regclass int4 int8 bytea "trigger" record void oid);
push @plants, 'CREATE TYPE pair AS (a pg_catalog.text)', 'CREATE FUNCTION of_text(pg_catalog.text) RETURNS pair LANGUAGE plpgsql AS $$ ' . $trap . ' $$', 'CREATE CAST (pg_catalog.text AS pair) WITH FUNCTION of_text(pg_catalog.text) AS IMPLICIT',
  'CREATE FUNCTION to_text(pair) RETURNS pg_catalog.text LANGUAGE plpgsql AS $$ ' . $trap . ' $$', 'CREATE CAST (pair AS pg_catalog.text) WITH FUNCTION to_text(pair) AS IMPLICIT',
  q{CREATE COLLATION "C" (provider = libc, locale = 'POSIX')}, 'CREATE AGGREGATE count(pg_catalog.text) (SFUNC = of_text_, STYPE = pg_catalog.int8)', 'CREATE TABLE pg_namespace (oid oid, nspname name)', 'CREATE TABLE pg_roles (oid oid, rolname name)',
  # relations that take the names of indexes that PostgreSQL chooses
  map { "CREATE TABLE $_ ()" } qw(jwt_denylist_pkey jwt_issuer_pkey jwt_key_pkey jwt_jwks_source_pkey pg_class pg_proc pg_depend pg_extension);

my $planted = new_database();
must($planted, $bootstrap, 'CREATE SCHEMA auth AUTHORIZATION third; GRANT USAGE ON SCHEMA auth TO PUBLIC; GRANT CREATE ON SCHEMA auth TO boss');
must($planted, 'third', 'SET search_path = pg_catalog, auth; SET check_function_bodies = off');
as($planted, 'third', join("; ", map { s/(FUNCTION|OPERATOR|DOMAIN|TYPE|AGGREGATE|COLLATION|TABLE) (?!pg_catalog)(?=\S)/$1 auth./r =~ s/FUNCTION = /FUNCTION = auth./r } @plants));
cmp_ok(must($planted, 'third', q{SELECT sum(n) FROM (SELECT count(*) AS n FROM pg_operator WHERE oprnamespace = 'auth'::regnamespace UNION ALL SELECT count(*) FROM pg_proc WHERE pronamespace = 'auth'::regnamespace
	UNION ALL SELECT count(*) FROM pg_type WHERE typnamespace = 'auth'::regnamespace) x}), '>', 2000, 'so many objects lie in a schema');
forget_sessions();
for my $installer (qw(boss super2))
{
	my $db = new_database($planted);
	is(as($db, $installer, 'CREATE EXTENSION jwt SCHEMA auth'), '', "planted for $installer: the extension is created all the same");
	is($node->safe_psql($db, $strangers), '', "planted for $installer: it depends on none of them");
	is($node->safe_psql($db, $members), $node->safe_psql($in_public, $members), "planted for $installer: it has its members, and no other");
	must($db, 'boss', 'SET search_path = auth');
	is(cycle($db, 'boss'), $cycle, "planted for $installer: and calls none of them");
}
nobody_is_more('planted');

# Objects that it cannot be created beside.
my $db = new_database();
must($db, $bootstrap, 'CREATE SCHEMA auth AUTHORIZATION third; GRANT USAGE ON SCHEMA auth TO PUBLIC; GRANT CREATE ON SCHEMA auth TO boss');
for my $case (
	(map { [ "CREATE TABLE auth.$_ ()", '42P07' ] } qw(jwt_denylist jwt_issuer jwt_key jwt_jwks_source jwt_jwks_state jwt_denylist_issuer_kind_value_idx jwt_key_kid_idx jwt_status)),
	(map { [ "CREATE TYPE auth.$_ AS ()", $_ eq 'jwt_key_status' ? '42P07' : '42710' ] } qw(jwt_trust_marker jwt_denylist_marker jwt_key_status)),
	[ 'CREATE DOMAIN auth.jwt_key AS text', '42710' ], [ 'CREATE DOMAIN auth.jwt_trust_marker AS text', '42710' ],
	(map { [ "CREATE FUNCTION auth.$_ LANGUAGE plpgsql AS \$\$ $escalate \$\$", '42723' ] } 'jwt_install_begin() RETURNS void', 'jwt_install_strip() RETURNS void', 'jwt_install_end() RETURNS text', 'jwt_key_check() RETURNS trigger',
		'jwt_issuer_deleted(text) RETURNS void', 'jwt_verify(text, text, text, timestamptz) RETURNS jsonb', 'jwt_status_rows() RETURNS SETOF record'),
	(map { [ "CREATE FUNCTION auth.$_ LANGUAGE plpgsql AS \$\$ $escalate \$\$", '42725' ] } 'jwt_install_begin(x int DEFAULT 1) RETURNS void', 'jwt_install_strip(x text DEFAULT NULL) RETURNS void', 'jwt_install_end(x int[] DEFAULT NULL) RETURNS void'),
  )
{
	my ($plant, $code) = @$case;
	must($db, 'third', "BEGIN; $plant; COMMIT");
	is(try_as($db, $_, 'CREATE EXTENSION jwt SCHEMA auth'), $code, "$plant, before $_ installs") for qw(boss super2);
	$plant =~ /CREATE (\w+) (auth\.\w+(?:\([^)]*\))?)/ or die $plant;
	must($db, 'third', "DROP $1 " . $2 =~ s/ DEFAULT [^,)]*//r);
}
# Schemas that are none to install into.
is(try_as($db, 'boss', 'CREATE EXTENSION jwt SCHEMA pg_catalog'), '42501', 'the schema pg_catalog');
must($db, 'boss', 'CREATE TEMP TABLE t ()');
# some versions refuse that themselves
like(try_as($db, 'boss', "CREATE EXTENSION jwt SCHEMA $_"), qr/^(0A000|3F000|42939)$/, "the schema $_") for 'pg_temp', must($db, 'boss', 'SELECT pg_my_temp_schema()::regnamespace');
nobody_is_more('in the way');

#
# The schema is renamed, and another put in its place, while the extension is created
#

my $script = slurp_file($node->safe_psql('postgres', q{SELECT setting FROM pg_config WHERE name = 'SHAREDIR'}) . '/extension/jwt--1.0.sql');
my $clones = join("\n", map { s/\@extschema\@/auth/gr } $script =~ /^(CREATE TABLE .*?^\);|CREATE TYPE .*?;)/msg);
my $evil = join('; ', map { "CREATE FUNCTION auth.jwt_install_$_() RETURNS void LANGUAGE plpgsql AS \$\$ $escalate \$\$" } qw(begin strip end));
# before the script begins
{
	my $db = new_database();
	my $holder = LifeTest->new($node->connstr($db) . ' user=third');
	my $creator = session($db, 'boss');
	my $pid = $creator->must('SELECT pg_backend_pid()');
	must($db, $bootstrap, "CREATE SCHEMA auth AUTHORIZATION third; GRANT ALL ON SCHEMA auth TO boss; GRANT CREATE ON DATABASE $db TO third");
	$holder->must("BEGIN; ALTER SCHEMA auth RENAME TO old; CREATE SCHEMA auth; GRANT ALL ON SCHEMA auth TO PUBLIC; $evil");
	$creator->tell('CREATE EXTENSION jwt SCHEMA auth');
	until_true(sub { $node->safe_psql('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid") eq 't' });
	$holder->must('COMMIT');
	like($creator->answer, qr/^ERROR:  (22P02|55000|3F000|42723)$/, 'renamed before the script begins: it is not created');
	nobody_is_more('renamed before the script begins');
	$holder->finish;
	forget_sessions();
}
# an object of this name, which is not committed, makes the script wait there
for my $stop ('FUNCTION auth.jwt_install_strip() RETURNS void LANGUAGE sql RETURN NULL', 'TABLE auth.jwt_denylist ()', 'TYPE auth.jwt_denylist_marker AS ()', 'FUNCTION auth.jwt_status_rows() RETURNS SETOF record LANGUAGE sql AS $$ SELECT 1, 2 $$')
{
	for my $installer (qw(boss super2))
	{
		my $db = new_database();
		my $name = "renamed at " . $stop =~ s/ (RETURNS|AS).*//r . ", before $installer:";
		my $holder = LifeTest->new($node->connstr($db) . ' user=third');
		my $renamer = LifeTest->new($node->connstr($db) . ' user=third');
		my $pid = $renamer->must('SELECT pg_backend_pid()');
		my $creator = session($db, $installer);
		my $creator_pid = $creator->must('SELECT pg_backend_pid()');
		my $waits = sub { my ($who) = @_; until_true(sub { $node->safe_psql('postgres', "SELECT coalesce(wait_event_type, '') = 'Lock' OR state <> 'active' FROM pg_stat_activity WHERE pid = $who") eq 't' }) };

		must($db, $bootstrap, "CREATE SCHEMA auth AUTHORIZATION third; GRANT ALL ON SCHEMA auth TO boss; GRANT CREATE ON DATABASE $db TO third");
		$holder->must("BEGIN; CREATE $stop");
		$creator->tell('CREATE EXTENSION jwt SCHEMA auth');
		$waits->($creator_pid);
		$renamer->tell("ALTER SCHEMA auth RENAME TO old; CREATE SCHEMA auth; GRANT ALL ON SCHEMA auth TO PUBLIC; $evil; $clones");
		$waits->($pid);
		$holder->must('ROLLBACK');
		like($creator->answer =~ s/\AERROR:  //r, qr/^(|55000|42P01|42710|42883)$/, "$name it is created or not");
		$renamer->answer;
		is(as($db, 'third', q{SELECT count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass
			WHERE e.extname = 'jwt' AND d.deptype = 'e' AND p.pronamespace <> e.extnamespace}), '0', "$name all of it is in its schema");
		nobody_is_more($name =~ s/:$//r);
		$_->finish for $holder, $renamer;
		forget_sessions();
		$node->safe_psql('postgres', "DROP DATABASE $db");
	}
}

done_testing();
