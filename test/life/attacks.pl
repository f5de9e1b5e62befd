# Attacks on the tables by other roles of the database: roles that may create objects,
# own a schema, or own the database. Each attack is refused or has no effect. No role
# becomes a superuser, and only the owner of the database can read a secret.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use JwtTest;
use LifeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($node, $bootstrap) = start_main('max_locks_per_transaction = 512', q{
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

sub must
{
	my ($db, $user, $sql) = @_;
	return session($db, $user)->must($sql);
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

# A planted object reports when it is called.
my $trap = q{BEGIN
	RAISE EXCEPTION USING ERRCODE = 'ZZ666';
END};
my $escalate = q{BEGIN
	ALTER ROLE boss SUPERUSER;
	ALTER ROLE third SUPERUSER;
EXCEPTION WHEN OTHERS THEN
	NULL;
END};

# All actions of a manager, which call every function of the extension.
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

my $members = q{
	SELECT string_agg(kind || ' ' || n, ', ' ORDER BY kind) FROM (
		SELECT classid::regclass::text AS kind, count(*) AS n FROM pg_depend
		WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'jwt') AND deptype = 'e' GROUP BY 1) x};

#
# Objects in the schema before the extension is created
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
# functions that the script and its function bodies call, with argument types that also
# match
for my $name (qw(now clock_timestamp gen_random_uuid set_config current_setting count format string_agg array_agg coalesce_ greatest_ quote_ident pg_extension_config_dump jwt_cache_ min max int4))
{
	push @plants, "CREATE FUNCTION $name(name) RETURNS text LANGUAGE plpgsql AS \$\$ $trap \$\$", "CREATE FUNCTION $name(text, varchar, bool) RETURNS text LANGUAGE plpgsql AS \$\$ $trap \$\$",
	  "CREATE FUNCTION $name(VARIADIC anyarray) RETURNS bool LANGUAGE plpgsql AS \$\$ $trap \$\$";
}
push @plants, map { "CREATE FUNCTION $_() RETURNS timestamptz LANGUAGE plpgsql AS \$\$ $trap \$\$" } qw(now clock_timestamp gen_random_uuid session_user_ pg_trigger_depth);
# overloads of the extension's functions
push @plants, map { my ($name, $args) = @$_; "CREATE FUNCTION $name($args) RETURNS text LANGUAGE plpgsql AS \$\$ $trap \$\$" }
  [ 'jwt_install_begin', 'int' ], [ 'jwt_install_strip', 'VARIADIC x int[]' ], [ 'jwt_issuer_check', 'int' ], [ 'jwt_issuer_deleted', 'varchar' ], [ 'jwt_issuer_deleted', 'name' ],
  [ 'jwt_issuer_deleted', 'anyelement' ], [ 'jwt_issuer_renamed', 'varchar, varchar' ], [ 'jwt_jwks_members', 'varchar, varchar' ], [ 'jwt_jwks_members', 'anyelement, anyelement' ],
  [ 'jwt_import_jwks', 'text, text, text' ], [ 'jwt_import_jwks', 'varchar, varchar, interval' ], [ 'jwt_status_rows', 'VARIADIC int[]' ];
# types, domains, casts and collations with names of system objects
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
	is($node->safe_psql($db, strangers('jwt')), '', "planted for $installer: it depends on none of them");
	is($node->safe_psql($db, $members), $node->safe_psql($in_public, $members), "planted for $installer: it has its members, and no other");
	must($db, 'boss', 'SET search_path = auth');
	is(cycle($db, 'boss'), $cycle, "planted for $installer: and calls none of them");
}
nobody_is_more('planted');

# Objects that prevent the creation of the extension.
my $db = new_database();
must($db, $bootstrap, 'CREATE SCHEMA auth AUTHORIZATION third; GRANT USAGE ON SCHEMA auth TO PUBLIC; GRANT CREATE ON SCHEMA auth TO boss');
for my $case (
	(map { [ "CREATE TABLE auth.$_ ()", '42P07' ] } qw(jwt_denylist jwt_issuer jwt_key jwt_jwks_source jwt_jwks_state jwt_denylist_value_kind_issuer_idx jwt_key_kid_idx jwt_status)),
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
# Schemas in which the extension cannot be installed.
is(try_as($db, 'boss', 'CREATE EXTENSION jwt SCHEMA pg_catalog'), '42501', 'the schema pg_catalog');
must($db, 'boss', 'CREATE TEMP TABLE t ()');
# some versions of PostgreSQL refuse that themselves
like(try_as($db, 'boss', "CREATE EXTENSION jwt SCHEMA $_"), qr/^(0A000|3F000|42939)$/, "the schema $_") for 'pg_temp', must($db, 'boss', 'SELECT pg_my_temp_schema()::regnamespace');
nobody_is_more('in the way');

#
# The schema is replaced by another one while the extension is created
#

my (%clones, %evil);
for my $extension ('jwt', 'jwt_auth')
{
	my $script = slurp_file($node->safe_psql('postgres', q{SELECT setting FROM pg_config WHERE name = 'SHAREDIR'}) . "/extension/$extension--1.0.sql");
	my $clones = $clones{$extension} = join("\n", map { s/\@extschema\@/auth/gr } $script =~ /^(CREATE TABLE .*?^\);|CREATE TYPE .*?;)/msg);
	my $evil = $evil{$extension} = join('; ', map { "CREATE FUNCTION auth.${extension}_install_$_() RETURNS void LANGUAGE plpgsql AS \$\$ $escalate \$\$" } qw(begin strip end));
	my $set_up = sub {
		my ($db) = @_;
		must($db, $bootstrap, "CREATE SCHEMA auth AUTHORIZATION third; GRANT ALL ON SCHEMA auth TO boss; GRANT CREATE ON DATABASE $db TO third");
		must($db, 'boss', 'CREATE EXTENSION jwt') if $extension ne 'jwt';
	};
	# before the script begins
	{
		my $db = new_database();
		my $holder = LifeTest->new($node->connstr($db) . ' user=third');
		my $creator = session($db, 'boss');
		my $pid = $creator->must('SELECT pg_backend_pid()');
		$set_up->($db);
		$holder->must("BEGIN; ALTER SCHEMA auth RENAME TO old; CREATE SCHEMA auth; GRANT ALL ON SCHEMA auth TO PUBLIC; $evil");
		$creator->send_sql("CREATE EXTENSION $extension SCHEMA auth");
		until_true(sub { $node->safe_psql('postgres', "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid") eq 't' });
		$holder->must('COMMIT');
		like($creator->answer, qr/^ERROR:  (22P02|55000|3F000|42723)$/, "$extension, renamed before the script begins: it is not created");
		nobody_is_more("$extension, renamed before the script begins");
		$holder->finish;
		forget_sessions();
	}
	# an uncommitted object of this name makes the script wait there
	my ($table) = $script =~ /^CREATE TABLE \@extschema\@\.(\w+)/m;
	my ($type) = $script =~ /^CREATE TYPE \@extschema\@\.(\w+)/m;
	my ($rows) = $script =~ /^CREATE FUNCTION \@extschema\@\.(\w+_status_rows)\(/m;
	for my $stop ("FUNCTION auth.${extension}_install_strip() RETURNS void LANGUAGE sql RETURN NULL", "TABLE auth.$table ()", "TYPE auth.$type AS ()", "FUNCTION auth.$rows() RETURNS SETOF record LANGUAGE sql AS \$\$ SELECT 1, 2 \$\$")
	{
		for my $installer (qw(boss super2))
		{
			my $db = new_database();
			my $name = "$extension, renamed at " . $stop =~ s/ (RETURNS|AS).*//r . ", before $installer:";
			my $holder = LifeTest->new($node->connstr($db) . ' user=third');
			my $renamer = LifeTest->new($node->connstr($db) . ' user=third');
			my $pid = $renamer->must('SELECT pg_backend_pid()');
			my $creator = session($db, $installer);
			my $creator_pid = $creator->must('SELECT pg_backend_pid()');
			my $waits = sub { my ($who) = @_; until_true(sub { $node->safe_psql('postgres', "SELECT coalesce(wait_event_type, '') = 'Lock' OR state <> 'active' FROM pg_stat_activity WHERE pid = $who") eq 't' }) };

			$set_up->($db);
			$holder->must("BEGIN; CREATE $stop");
			$creator->send_sql("CREATE EXTENSION $extension SCHEMA auth");
			$waits->($creator_pid);
			$renamer->send_sql("ALTER SCHEMA auth RENAME TO old; CREATE SCHEMA auth; GRANT ALL ON SCHEMA auth TO PUBLIC; $evil; $clones");
			$waits->($pid);
			$holder->must('ROLLBACK');
			like($creator->answer =~ s/\AERROR:  //r, qr/^(|55000|42P01|42710|42883)$/, "$name it is created or not");
			$renamer->answer;
			is(as($db, 'third', qq{SELECT count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_proc p ON p.oid = d.objid AND d.classid = 'pg_proc'::regclass
				WHERE e.extname = '$extension' AND d.deptype = 'e' AND p.pronamespace <> e.extnamespace}), '0', "$name all of it is in its schema");
			nobody_is_more($name =~ s/:$//r);
			$_->finish for $holder, $renamer;
			forget_sessions();
			$node->safe_psql('postgres', "DROP DATABASE $db");
		}
	}
}

#
# Default privileges that grant and that revoke
#

my $acls = q{
	SELECT string_agg(concat_ws(' ', o.name, o.owner, a.rights), E'\n' ORDER BY o.name) FROM (
		SELECT 'table ' || relname AS name, relowner::regrole AS owner, relacl AS acl FROM pg_class
		WHERE oid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass AND deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'jwt'))
		UNION ALL
		SELECT 'function ' || oid::regprocedure, proowner::regrole, proacl FROM pg_proc
		WHERE oid IN (SELECT objid FROM pg_depend WHERE classid = 'pg_proc'::regclass AND deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'jwt'))
	) o, LATERAL (
		SELECT string_agg(concat_ws(' ', grantor::regrole, grantee::regrole, privilege_type, is_grantable), ', ' ORDER BY grantor, grantee, privilege_type) AS rights FROM aclexplode(o.acl)
	) a};
# the privileges with which pg_dump compares
my $not_initial = q{
	SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class c LEFT JOIN pg_init_privs i ON i.classoid = 'pg_class'::regclass AND i.objoid = c.oid AND i.objsubid = 0
	WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') AND c.relacl IS DISTINCT FROM i.initprivs};
my $granting = new_database();
my $acl_of = sub {
	my ($user) = @_;
	my $answer = as($granting, $user, "BEGIN; CREATE EXTENSION jwt; $acls; $not_initial");
	as($granting, $user, 'ROLLBACK');
	return $answer;
};
my $reference = $acl_of->($bootstrap);
like($reference, qr/table jwt_key $bootstrap .*pg_database_owner SELECT t/, 'the rights without any default');
for my $kind (qw(TABLES FUNCTIONS TYPES SCHEMAS SEQUENCES))
{
	for my $change ('GRANT ALL ON %s TO anon', 'GRANT ALL ON %s TO PUBLIC', 'GRANT ALL ON %s TO anon, boss, pg_database_owner, pg_monitor WITH GRANT OPTION',
		"REVOKE ALL ON %s FROM PUBLIC, $bootstrap, super2, boss", 'IN SCHEMA public GRANT ALL ON %s TO anon, PUBLIC')
	{
		next if $kind eq 'SCHEMAS' && $change =~ /IN SCHEMA/;
		my $statement = sprintf("ALTER DEFAULT PRIVILEGES FOR ROLE $bootstrap, super2, boss $change", $kind);
		my @wrong;
		must($granting, $bootstrap, $statement);
		for my $installer ($bootstrap, 'super2', 'boss')
		{
			push @wrong, $installer if $acl_of->($installer) ne $reference;
		}
		is("@wrong", '', $statement);
		must($granting, $bootstrap, 'DELETE FROM pg_default_acl');
	}
}

#
# Actions that neither the owner of the database nor other roles can do
#

must($in_public, $bootstrap, 'GRANT CREATE ON SCHEMA public TO creator, boss');
must($in_public, 'boss', "CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO PUBLIC; CREATE FUNCTION evil.evil() RETURNS bool LANGUAGE plpgsql AS \$\$ $escalate \$\$; "
	  . "CREATE FUNCTION evil.evil_trigger() RETURNS trigger LANGUAGE plpgsql AS \$\$ $escalate \$\$");
my @forbidden;
for my $table (qw(jwt_denylist jwt_issuer jwt_key))
{
	push @forbidden,
	  [ "CREATE TRIGGER t BEFORE INSERT ON $table FOR EACH ROW EXECUTE FUNCTION evil.evil_trigger()", '42501' ],
	  [ "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON $table DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION evil.evil_trigger()", '42501' ],
	  map { [ $_, '42501' ] } "CREATE RULE r AS ON INSERT TO $table DO ALSO SELECT evil.evil()", "CREATE POLICY p ON $table USING (evil.evil())", "CREATE INDEX ON $table (issuer)",
	  "ALTER TABLE $table DISABLE TRIGGER ALL", "ALTER TABLE $table ENABLE ROW LEVEL SECURITY", "ALTER TABLE $table ADD COLUMN evil text", "ALTER TABLE $table ADD CHECK (evil.evil())",
	  "ALTER TABLE $table ALTER COLUMN issuer SET DEFAULT 'x'", "ALTER TABLE $table OWNER TO boss", "ALTER TABLE $table RENAME TO x", "ALTER TABLE $table SET SCHEMA evil",
	  "ALTER TABLE $table REPLICA IDENTITY NOTHING", "CREATE TABLE evil.child () INHERITS ($table)", "CREATE PUBLICATION p FOR TABLE $table",
	  "CREATE TABLE evil.referring (x " . ($table eq 'jwt_issuer' ? 'text' : 'uuid') . " REFERENCES $table)", "COMMENT ON TABLE $table IS 'x'", "CREATE STATISTICS evil.s ON issuer, kid FROM $table";
}
push @forbidden, map { [ $_, '42501' ] } 'ALTER FUNCTION jwt_issuer_deleted(text) OWNER TO boss', 'ALTER FUNCTION jwt_verify SET search_path = evil', 'ALTER TYPE jwt_trust_marker ADD ATTRIBUTE a int',
  'CREATE OR REPLACE FUNCTION jwt_issuer_deleted(issuer text) RETURNS void LANGUAGE sql AS $$ SELECT 1 $$', 'ALTER VIEW jwt_status RENAME TO x', 'CREATE OR REPLACE VIEW jwt_status AS SELECT 1',
  'ALTER EXTENSION jwt DROP TABLE jwt_key', 'SELECT jwt_install_begin()', 'SELECT jwt_install_strip()', 'SELECT jwt_install_end()', "SELECT jwt_issuer_deleted('x')", 'SELECT jwt_issuers_truncated()',
  'CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION evil.evil_trigger()', 'ALTER ROLE boss SUPERUSER', 'GRANT pg_database_owner TO boss',
  'CREATE TABLE evil.mine (issuer text); CREATE TRIGGER t BEFORE INSERT ON evil.mine FOR EACH ROW EXECUTE FUNCTION jwt_issuer_check()',
  'CREATE TABLE evil.mine (issuer text); CREATE TRIGGER t AFTER DELETE ON evil.mine FOR EACH ROW EXECUTE FUNCTION jwt_issuer_cascade()';
for my $case (@forbidden)
{
	my ($statement, $code) = @$case;
	for my $user (qw(boss creator))
	{
		my $said = try_as($in_public, $user, $statement);
		# some of them are refused for another reason
		my $reasons = $statement =~ /STATISTICS/ ? qr/^(42501|42703)$/ : $statement =~ /GRANT pg_database_owner/ ? qr/^(42501|0A000|0LP01|22023)$/ : qr/^$code$/;
		like($said, $reasons, "$user: $statement");
	}
}

# PostgreSQL only warns about rights that cannot be granted.
for my $table (qw(jwt_denylist jwt_issuer jwt_key))
{
	is(as($in_public, 'boss', "BEGIN; GRANT TRIGGER, REFERENCES ON $table TO boss, creator; SELECT has_table_privilege('boss', '$table', 'TRIGGER, REFERENCES'), has_table_privilege('creator', '$table', 'TRIGGER, REFERENCES')"), 'f|f', "boss: GRANT TRIGGER ON $table");
	as($in_public, 'boss', 'ROLLBACK');
}

# Calls by a superuser outside of their context.
is(as($in_public, $bootstrap, "SELECT jwt_install_$_()"), '55000', "jwt_install_$_() outside of a script") for qw(begin strip end);
must($in_public, $bootstrap, 'CREATE TABLE theirs (issuer text)');
for my $case ([ 'BEFORE INSERT', 'ROW', 'jwt_issuer_check' ], [ 'BEFORE INSERT', 'ROW', 'jwt_key_check' ], [ 'BEFORE INSERT', 'ROW', 'jwt_denylist_check' ], [ 'AFTER INSERT', 'ROW', 'jwt_key_check' ],
	[ 'AFTER INSERT', 'ROW', 'jwt_issuer_cascade' ], [ 'AFTER INSERT', 'STATEMENT', 'jwt_issuer_cascade' ])
{
	my ($when, $each, $function) = @$case;
	is(try_as($in_public, $bootstrap, "CREATE TRIGGER t $when ON theirs FOR EACH $each EXECUTE FUNCTION $function(); INSERT INTO theirs VALUES ('x')"), '39P01', "$function() on another table, $when for each $each");
}
like(try_as($in_public, $bootstrap, "CREATE TRIGGER t AFTER INSERT ON theirs FOR EACH STATEMENT EXECUTE FUNCTION $_(); INSERT INTO theirs VALUES ('x')"), qr/^$/, "$_() on another table does nothing") for qw(jwt_trust_changed jwt_denylist_changed jwt_warn_of_inert_rows);

# An overload of a function that a trigger calls, which the owner adds to the extension.
for my $signature ('evil.jwt_issuer_deleted(issuer text)', 'public.jwt_issuer_deleted(issuer varchar)', 'public.jwt_issuer_deleted(issuer name)')
{
	my $bare = $signature =~ s/issuer //r;
	is(as($in_public, 'boss', "CREATE FUNCTION $signature RETURNS void LANGUAGE plpgsql AS \$\$ $escalate \$\$; ALTER EXTENSION jwt ADD FUNCTION $bare"), '', "$signature is added by the owner of the extension");
	is(as($in_public, $bootstrap, "SET search_path = evil, public; INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://x.example', '{a}', '{EdDSA}'); DELETE FROM jwt_issuer; RESET search_path"), '', 'a superuser deletes an issuer');
	nobody_is_more($signature);
	is(as($in_public, 'boss', "ALTER EXTENSION jwt DROP FUNCTION $bare; DROP FUNCTION $bare"), '', 'it is taken away again');
}
# Tables, too.
must($in_public, 'boss', 'CREATE TABLE evil.jwt_key (id uuid); ALTER EXTENSION jwt ADD TABLE evil.jwt_key; CREATE VIEW evil.jwt_status AS SELECT 1; ALTER EXTENSION jwt ADD VIEW evil.jwt_status');
is(cycle($in_public, 'boss'), $cycle, 'tables of these names that are members are not believed');
must($in_public, 'boss', 'ALTER EXTENSION jwt DROP TABLE evil.jwt_key; ALTER EXTENSION jwt DROP VIEW evil.jwt_status; DROP TABLE evil.jwt_key; DROP VIEW evil.jwt_status');
# temporary tables, which are first in search_path
must($in_public, 'boss', 'CREATE TEMP TABLE jwt_key (jwk int); SET search_path = public, pg_temp');
is(cycle($in_public, 'boss'), $cycle, 'nor are temporary ones');
must($in_public, 'boss', 'DROP TABLE pg_temp.jwt_key; RESET search_path');
forget_sessions();

#
# The schema is replaced by a look-alike while other sessions verify and write
#

{
	my $db = new_database();
	must($db, $bootstrap, 'CREATE SCHEMA auth AUTHORIZATION third; GRANT ALL ON SCHEMA auth TO boss; CREATE EXTENSION jwt SCHEMA auth; GRANT USAGE ON SCHEMA auth TO PUBLIC; GRANT CREATE ON DATABASE ' . $db . ' TO third');
	my $a = token('alice', jti => 't1');
	# functions that are bound at creation and not by later names
	must($db, $bootstrap, "CREATE FUNCTION public.verdict() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT coalesce((auth.jwt_inspect('$a'::text)).sqlstate, 'valid'); END; "
		  . "CREATE FUNCTION public.trust() RETURNS void LANGUAGE sql BEGIN ATOMIC SELECT auth.jwt_add_issuer('$issuer', '{api}', '{HS256}'), auth.jwt_add_secret('$issuer', '\\x$hex', 'HS256', 'k1'); END; "
		  . "CREATE FUNCTION public.revoke() RETURNS void LANGUAGE sql BEGIN ATOMIC SELECT auth.jwt_revoke_id('$issuer', 't1', 'infinity'); END; "
		  . "CREATE FUNCTION public.distrust() RETURNS void LANGUAGE sql BEGIN ATOMIC DELETE FROM auth.jwt_issuer; DELETE FROM auth.jwt_denylist; END; "
		  . "CREATE FUNCTION public.keys() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM auth.jwt_key; END");
	my $lookalike = "CREATE SCHEMA auth; GRANT ALL ON SCHEMA auth TO PUBLIC; $clones{jwt}; $evil{jwt}; CREATE FUNCTION auth.jwt_issuer_deleted(issuer text) RETURNS void LANGUAGE plpgsql AS \$\$ $escalate \$\$";
	my @said;
	for my $user ('boss', 'super2')
	{
		for (1 .. 5)
		{
			as($db, $user, 'SELECT FROM trust()');
			my $said = as($db, 'other', 'SELECT verdict()');
			must($db, 'third', "ALTER SCHEMA auth RENAME TO old; $lookalike");
			$said .= ' ' . as($db, 'other', 'SELECT verdict()') . as($db, $user, ' SELECT FROM revoke()') . ' ' . as($db, 'other', 'SELECT verdict()') . as($db, $user, ' SELECT FROM distrust()')
			  . ' ' . as($db, $user, 'SELECT keys()') . ' ' . as($db, 'other', 'SELECT verdict()');
			must($db, 'third', 'DROP SCHEMA auth CASCADE; ALTER SCHEMA old RENAME TO auth');
			push @said, $said . ' ' . as($db, 'other', 'SELECT verdict()');
		}
	}
	is(join("\n", @said), join("\n", ('valid valid 28J11 0 28J03 28J03') x 10), 'a look-alike is read and written by nobody');
	nobody_is_more('a look-alike');
	is(try_as($db, 'third', "DROP TABLE auth.$_ CASCADE"), '2BP01', "the owner of the schema does not drop $_") for qw(jwt_key jwt_denylist);
	is(try_as($db, 'third', 'DROP TYPE auth.jwt_trust_marker CASCADE'), '2BP01', 'nor a marker');
	is(as($db, 'third', 'SELECT FROM auth.jwt_key'), '42501', 'nor read keys');
	forget_sessions();
}

#
# Indexes that are missing or wrong
#

{
	my $db = new_database();
	must($db, $bootstrap, 'CREATE EXTENSION jwt; GRANT CREATE ON SCHEMA public TO boss');
	must($db, $bootstrap, "SELECT jwt_add_issuer('$issuer', '{api}', '{HS256}'), jwt_add_secret('$issuer', '\\x$hex', 'HS256', 'k1')");
	# enough rows for the use of an index
	must($db, $bootstrap, "INSERT INTO jwt_key (issuer, kid, alg, jwk) SELECT '$issuer', 'n' || n, 'HS256', jsonb_build_object('kty', 'oct', 'k', translate(encode(sha256(n::text::bytea), 'base64'), '+/=', '-_')) FROM generate_series(1, 1000) n");
	must($db, $bootstrap, "INSERT INTO jwt_denylist (issuer, kind, value) SELECT '$issuer', 'jti', 'n' || n FROM generate_series(1, 2000) n");
	must($db, $bootstrap, "INSERT INTO jwt_denylist (issuer, kind, value, issued_before) VALUES ('$issuer', 'sid', 's1', NULL), ('$issuer', 'sub', 'bob', now()), ('$issuer', 'jti', 't1', NULL)");
	my @tokens = map { token(@$_) } [ 'alice', jti => 'a', sid => 'a' ], [ 'alice', jti => 't1' ], [ 'alice', sid => 's1' ], [ 'bob', iat => time() - 60 ], [ 'alice', kid => 'none' ], [ 'alice', kid => 'n7' ], [ 'alice', jti => 'n1999' ];
	my $verdicts = 'SELECT string_agg(coalesce(sqlstate, $$valid$$), $$ $$ ORDER BY n) FROM (VALUES ' . join(', ', map { "($_, '$tokens[$_]')" } 0 .. $#tokens) . ') v (n, token), jwt_inspect(token)';
	my $expected = 'valid 28J11 28J11 28J11 28J03 28J04 28J11';
	my $missing = q{SELECT count(*) FROM jwt_status, unnest(problems) p WHERE p LIKE 'An index is missing%'};
	is(as($db, 'other', $verdicts), $expected, 'verdicts with every index');
	is(must($db, 'boss', $missing), '0', 'of which none is missing');

	my @ours = ([ 'jwt_denylist', 'jwt_denylist_value_kind_issuer_idx', 'value, kind, issuer' ], [ 'jwt_denylist', 'jwt_denylist_issuer_kind_idx', 'issuer, kind' ], [ 'jwt_denylist', 'jwt_denylist_expires_at_idx', 'expires_at' ], [ 'jwt_key', 'jwt_key_issuer_kid_idx', 'issuer, kid' ], [ 'jwt_key', 'jwt_key_kid_idx', 'kid' ], [ 'jwt_key', 'jwt_key_alg_issuer_idx', 'alg, issuer' ]);
	my $make = sub { my ($how) = @_; join('; ', map { my ($table, $name, $columns) = @$_; $how =~ s/%t/$table/gr =~ s/%n/$name/gr =~ s/%c/$columns/gr =~ s/%f/(split m{, }, $columns)[0]/ger =~ s/%e/join(', ', map { $_ eq 'expires_at' ? "(expires_at - expires_at)" : "(lower($_))" } split m{, }, $columns)/ger
		=~ s/%l/join(', ', map { $_ eq 'expires_at' ? $_ : "$_ COLLATE \"POSIX\"" } split m{, }, $columns)/ger =~ s/%p/join(', ', map { $_ eq 'expires_at' ? $_ : "$_ text_pattern_ops" } split m{, }, $columns)/ger } @ours) };
	my $drop = $make->('DROP INDEX IF EXISTS %n');
	for my $case (
		[ 'dropped', '', 6 ],
		[ 'partial', 'CREATE INDEX %n ON %t (%c) WHERE %f IS NULL', 6 ],
		[ 'of expressions', 'CREATE INDEX %n ON %t (%e)', 6 ],
		[ 'of another collation', 'CREATE INDEX %n ON %t (%l)', 5 ],
		[ 'in the same order by another operator class', 'CREATE INDEX %n ON %t (%p)', 0 ],
		[ 'of the first column only', 'CREATE INDEX %n ON %t (%f)', 4 ],
		[ 'hashed', 'CREATE INDEX %n ON %t USING hash (%f)', 6 ],
		[ 'BRIN', 'CREATE INDEX %n ON %t USING brin (%c)', 6 ],
		[ 'not valid', 'CREATE INDEX %n ON %t (%c); UPDATE pg_index SET indisvalid = false WHERE indexrelid = \'%n\'::regclass', 6 ],
		[ 'not ready', 'CREATE INDEX %n ON %t (%c); UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = \'%n\'::regclass', 6 ],
		[ 'with other columns besides', 'CREATE INDEX %n ON %t (%c) INCLUDE (id)', 0 ],
		[ 'as they were', 'CREATE INDEX %n ON %t (%c)', 0 ],
	  )
	{
		my ($name, $how, $n) = @$case;
		must($db, $bootstrap, "BEGIN; $drop; " . $make->($how) . '; COMMIT');
		is(as($db, 'other', $verdicts), $expected, "indexes $name: the same verdicts");
		is(must($db, 'boss', $missing), $n, "indexes $name: jwt_status says so");
		must($db, 'boss', "SELECT jwt_revoke_id('$issuer', 'a', 'infinity')");
		is(as($db, 'other', $verdicts), $expected =~ s/valid/28J11/r, "indexes $name: what is revoked is refused");
		must($db, 'boss', "SELECT jwt_unrevoke_id('$issuer', 'a')");
	}
	forget_sessions();
}

#
# Tables that a superuser has altered give an error, not a crash
#

my $with_data = new_database();
must($with_data, $bootstrap, "CREATE EXTENSION jwt; SELECT jwt_add_issuer('$issuer', '{api}', '{HS256}'), jwt_add_secret('$issuer', '\\x$hex', 'HS256', 'k1')");
forget_sessions();
for my $case (
	[ 'ALTER TABLE jwt_key ADD COLUMN note text', 'valid' ],
	[ 'ALTER TABLE jwt_denylist ADD COLUMN note text, ADD COLUMN twice text GENERATED ALWAYS AS (value || value) STORED', 'valid' ],
	[ 'ALTER TABLE jwt_key RENAME COLUMN kid TO name', 'valid' ],
	[ 'ALTER TABLE jwt_denylist ENABLE ROW LEVEL SECURITY; ALTER TABLE jwt_denylist FORCE ROW LEVEL SECURITY', 'valid' ],
	[ 'CREATE TABLE child () INHERITS (jwt_denylist); ' . "INSERT INTO child (issuer, kind, value) VALUES ('$issuer', 'sub', 'alice')", 'valid' ],
	[ 'ALTER TABLE jwt_key DROP CONSTRAINT jwt_key_pkey', 'valid' ],
	[ 'ALTER TABLE jwt_denylist ALTER COLUMN reason TYPE varchar(20)', '55000' ],
	[ 'ALTER TABLE jwt_denylist DROP COLUMN reason', '55000' ],
	[ 'ALTER TABLE jwt_denylist DROP COLUMN reason; ALTER TABLE jwt_denylist ADD COLUMN reason text', '55000' ],
	[ 'ALTER TABLE jwt_issuer ALTER COLUMN max_age TYPE text', '55000' ],
	[ 'ALTER TABLE jwt_issuer ALTER COLUMN audience TYPE varchar[]', '55000' ],
	[ 'ALTER TABLE jwt_issuer ALTER COLUMN leeway DROP DEFAULT, ALTER COLUMN leeway TYPE float8 USING 1', '55000' ],
	[ 'ALTER TABLE jwt_issuer DROP COLUMN session_lifetime', '55000' ],
	[ 'ALTER TABLE jwt_key RENAME TO old_key', '55000' ],
	[ 'ALTER TABLE jwt_key OWNER TO boss', '55000' ],
	[ 'ALTER TABLE jwt_denylist RENAME TO old_denylist; CREATE TABLE jwt_denylist (reason text, id uuid, issuer text, kind text, value text, issued_before timestamptz, expires_at timestamptz, revoked_by text, revoked_at timestamptz); ALTER EXTENSION jwt ADD TABLE jwt_denylist', '55000' ],
  )
{
	my ($ddl, $should) = @$case;
	my $db = new_database($with_data);
	my $a = token('alice', jti => 't1');
	# sessions with a warm cache raise errors, too
	my $verify = "SELECT CASE WHEN jwt_verify('$a') IS NOT NULL THEN 'valid' END";
	my $first = as($db, 'other', $verify);
	must($db, 'boss', 'SELECT count(*) FROM jwt_status');
	must($db, $bootstrap, "BEGIN; $ddl; COMMIT");
	is("$first " . as($db, 'other', $verify), "valid $should", "$ddl: a session that has verified");
	is(as($db, 'third', $verify), $should, "$ddl: one that has not");
	my $revoked = $should eq 'valid' ? '' : '55000';
	like(as($db, $bootstrap, "SELECT FROM jwt_revoke_subject('$issuer', 'carol')"), $ddl =~ /jwt_key/ && $revoked ? qr/^(55000|)$/ : qr/^$revoked$/, "$ddl: what writes");
	like(as($db, $bootstrap, 'SELECT count(*) > 0 FROM jwt_status'), $should eq 'valid' ? qr/^t$/ : qr/^(55000|t)$/, "$ddl: jwt_status");
	is(as($db, 'other', 'SELECT 1'), '1', "$ddl: nobody has crashed");
	forget_sessions();
	$node->safe_psql('postgres', "DROP DATABASE $db");
}

nobody_is_more('after all of it');
$node->stop;
unlike(slurp_file($node->logfile), qr/was terminated by signal|PANIC|TRAP/, 'no server process has crashed');

done_testing();
