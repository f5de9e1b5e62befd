# An SQL user without privileges tries to act as another user, with every setting,
# function and search_path that they can change. They see no row of another user. Then
# the ways to put a token into a session, and the log.
use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256);
use FindBin;
use lib $FindBin::RealBin;
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "log_min_error_statement = panic\nlog_statement = none");
$node->start;
setup_trust($node);

# Mallory may connect, create schemas, and create objects in public and temp. Since
# PostgreSQL 15 that is more than the default.
$node->safe_psql('postgres', q{
	CREATE ROLE boss SUPERUSER;
	CREATE ROLE alice LOGIN;
	CREATE ROLE mallory LOGIN;
	GRANT CREATE, TEMP ON DATABASE postgres TO mallory;
	GRANT CREATE ON SCHEMA public TO mallory;
	CREATE SCHEMA app;
	GRANT USAGE ON SCHEMA app TO PUBLIC;
	CREATE TABLE app.note (id int PRIMARY KEY, owner text NOT NULL, body text NOT NULL);
	INSERT INTO app.note VALUES (1, 'alice', 'secret of alice'), (2, 'bob', 'secret of bob'), (3, 'mallory', 'own words');
	INSERT INTO app.note SELECT i, 'alice', 'secret of alice' FROM generate_series(4, 1000) i;
	ANALYZE app.note;
	ALTER TABLE app.note ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON app.note USING (owner = jwt_subject());
	-- the result of the policy's function for its caller
	CREATE VIEW app.whoami AS SELECT coalesce(jwt_subject(), 'nobody') AS who, coalesce(jwt_claims(), '{}') AS claims;
	GRANT SELECT, INSERT, UPDATE, DELETE ON app.note TO mallory, alice;
	GRANT SELECT ON app.whoami TO mallory, alice;
});

sub base64url
{
	return JwtTest::base64url(shift);
}

# A token with alice as subject, and a chosen header and secret.
sub forge
{
	my ($header, $secret) = @_;
	my $exp = time() + 3600;
	my $input = base64url($header) . '.'
	  . base64url(qq({"iss":"https://idp.example","aud":"api","sub":"alice","role":"boss","exp":$exp}));
	return "$input." . (defined $secret ? base64url(hmac_sha256($input, $secret)) : '');
}

my $alice = token('alice');
my $mine = token('mallory');
my @alice = split(/\./, $alice);
my @mine = split(/\./, $mine);
my $key = 'the own key of somebody who has none';
my $jwk = '{"kty":"oct","k":"' . base64url($key) . '"}';
my $self_signed = forge('{"alg":"HS256","kid":"k1"}', $key);

# Run a session as mallory. Returns standard output and standard error.
sub mallory
{
	my ($sql, $options, $user) = @_;
	my ($out, $err);
	my $connstr = $node->connstr('postgres') . ' user=' . ($user // 'mallory');
	$connstr .= " options='$options'" if $options;
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $connstr ],
		'<', \$sql, '>', \$out, '2>', \$err, IPC::Run::timeout(60));
	return ($out, $err);
}

# The rows that are visible afterwards.
my $look = q{
	;SELECT pg_catalog.concat('rows=', pg_catalog.count(*), ' ', pg_catalog.min(owner), ' ', pg_catalog.min(body)) FROM app.note;
	SELECT pg_catalog.concat('who=', who, ' ', claims) FROM app.whoami;
};

# After an attempt there is no current subject, or every query is refused, and the
# output shows no row of another user.
sub attempt
{
	my ($name, $sql, $options) = @_;
	my ($out, $err) = mallory($sql . $look, $options);
	my $rows = join('', $out =~ /^rows=(.*)$/mg);
	my $who = join('', $out =~ /^who=(.*)$/mg);
	my $none = ($rows =~ /^0\s*$/ || ($rows eq '' && $err =~ /28J\d\d|42501|25P02/))
	  && ($who =~ /^nobody \{\}$/ || ($who eq '' && $err =~ /28J\d\d|42501|25P02/));
	my $leak = "$out$err" =~ /secret of|server closed the connection/;
	ok($none && !$leak, $name) or diag "$out$err";
	return ($out, $err);
}

# With mallory's own token, mallory's rows are visible. So the check can see rows.
my ($out, $err) = mallory("SET jwt.token = '$mine' $look");
like($out, qr/^rows=1 mallory own words$/m, 'with their own token, mallory sees their own row');
like($out, qr/^who=mallory \{.*"sub": "mallory"/m, 'and is mallory');
($out) = mallory("SET jwt.token = '$alice' $look", undef, 'alice');
like($out, qr/^rows=998 alice secret of alice$/m, 'with hers, alice sees hers');
attempt('without a token', 'SELECT 1');

# Tokens that mallory can make.
my %forged = (
	'garbage' => 'garbage',
	'dots' => '..',
	'claims in clear' => '{"sub":"alice"}',
	'alg none' => forge('{"alg":"none"}'),
	'alg none and a kid' => forge('{"alg":"none","kid":"k1"}'),
	'alg None' => forge('{"alg":"None","kid":"k1"}', $key),
	'alg empty' => forge('{"alg":"","kid":"k1"}', ''),
	'self-signed' => $self_signed,
	'self-signed without a kid' => forge('{"alg":"HS256"}', $key),
	'signed with the empty key' => forge('{"alg":"HS256","kid":"k1"}', ''),
	'own key in the header' => forge(qq({"alg":"HS256","jwk":$jwk}), $key),
	'own key by address' => forge('{"alg":"HS256","kid":"k1","jku":"https://mallory.example/keys"}', $key),
	'kid of SQL' => forge(q({"alg":"HS256","kid":"x' OR true --"}), $key),
	'another alg' => forge('{"alg":"HS512","kid":"k1"}', $key),
	'an asymmetric alg' => forge('{"alg":"RS256","kid":"k1"}', $key),
	'two algs' => forge('{"alg":"none","alg":"HS256","kid":"k1"}', $key),
	'crit' => forge('{"alg":"HS256","kid":"k1","crit":["b64"],"b64":false}', $key),
	'no signature' => "$alice[0].$alice[1].",
	'the signature of another token' => "$alice[0].$alice[1].$mine[2]",
	'the signature of another token, cut' => "$alice[0].$alice[1]." . substr($mine[2], 0, 20),
	'two tokens' => "$mine,$alice[0].$alice[1].$mine[2]",
	'four segments' => "$mine.$alice[1]",
);
for my $name (sort keys %forged)
{
	attempt("a forged token: $name", "SET jwt.token = '$forged{$name}'");
	attempt("the same by jwt_authenticate: $name", "SELECT jwt_authenticate('$forged{$name}', false)");
}
attempt('a forged token after a good one, which is cached',
	"SELECT jwt_verify('$mine') IS NOT NULL; SET jwt.token = '$mine'; SELECT who FROM app.whoami; SET jwt.token = '$forged{'the signature of another token'}'");
attempt('a token that was good in a transaction',
	"BEGIN; SELECT jwt_authenticate('$mine') ->> 'sub'; COMMIT");
attempt('a token that was good before ROLLBACK TO',
	"BEGIN; SAVEPOINT s; SELECT jwt_authenticate('$mine') ->> 'sub'; ROLLBACK TO s; COMMIT");
attempt('verification under an own key',
	"SELECT convert_from(jws_verify('$self_signed', '$jwk', 'HS256'), 'UTF8') LIKE '%alice%'; SELECT jwt_unverified_claims('$self_signed') ->> 'sub'");

# Settings.
for my $set (
	q{"request.jwt.claims" = '{"sub":"alice"}'}, q{"request.jwt.claim.sub" = 'alice'}, q{"jwt.claims" = '{"sub":"alice"}'},
	q{"jwt.claims.sub" = 'alice'}, q{"jwt.subject" = 'alice'}, q{"jwt.key" = 'x'}, q{jwt.max_token_size = 1000000}, q{jwt.cache_size = 0},
	q{jwt.key_cache_size = 64}, q{session_replication_role = replica}, q{row_security = off}, q{ROLE alice}, q{ROLE boss},
	q{SESSION AUTHORIZATION boss}, q{session_preload_libraries = 'x'}, q{local_preload_libraries = 'x'},
	q{dynamic_library_path = '/tmp'}, q{standard_conforming_strings = off}, q{client_encoding = 'SQL_ASCII'}, q{DateStyle = 'SQL, DMY'},
	q{TimeZone = 'Pacific/Kiritimati'}, q{search_path = ''}, q{default_transaction_read_only = on}, q{transform_null_equals = on},
	q{allow_system_table_mods = on}, q{check_function_bodies = off}, q{plan_cache_mode = force_generic_plan}, q{constraint_exclusion = on})
{
	# the role alice is not the subject alice
	attempt("SET $set", "SET $set");
	attempt("SET $set, and a forged token", "SET $set; SET jwt.token = '$self_signed'");
}

# Objects with names that the extension has or uses, first in search_path.
my $path = 'SET search_path = mallory, pg_temp, public, pg_catalog';
my $lookalikes = q{
	CREATE SCHEMA IF NOT EXISTS mallory;
	SET search_path = mallory, pg_temp, public, pg_catalog;
	CREATE TYPE mallory.text AS (x int);
	CREATE DOMAIN mallory.jsonb AS pg_catalog.jsonb;
	CREATE FUNCTION mallory.jwt_subject() RETURNS pg_catalog.text LANGUAGE sql AS $$ SELECT 'alice'::pg_catalog.text $$;
	CREATE FUNCTION mallory.jwt_claims() RETURNS pg_catalog.jsonb LANGUAGE sql AS $$ SELECT '{"sub":"alice"}'::pg_catalog.jsonb $$;
	CREATE FUNCTION mallory.jwt_verify(token pg_catalog.text) RETURNS pg_catalog.jsonb LANGUAGE sql AS $$ SELECT '{"sub":"alice"}'::pg_catalog.jsonb $$;
	CREATE FUNCTION mallory.jwt_authenticate(token pg_catalog.text) RETURNS pg_catalog.jsonb LANGUAGE sql AS $$ SELECT '{"sub":"alice"}'::pg_catalog.jsonb $$;
	CREATE FUNCTION mallory.yes(pg_catalog.text, pg_catalog.text) RETURNS bool LANGUAGE sql AS 'SELECT true';
	CREATE FUNCTION mallory.yes(pg_catalog.uuid, pg_catalog.uuid) RETURNS bool LANGUAGE sql AS 'SELECT true';
	CREATE FUNCTION mallory.texteq(pg_catalog.text, pg_catalog.text) RETURNS bool LANGUAGE sql AS 'SELECT true';
	CREATE FUNCTION mallory.current_setting(pg_catalog.text) RETURNS pg_catalog.text LANGUAGE sql AS 'SELECT ''alice''::pg_catalog.text';
	CREATE FUNCTION mallory.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT '2000-01-01'::timestamptz $$;
	CREATE OPERATOR mallory.= (LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text, FUNCTION = mallory.yes);
	CREATE OPERATOR mallory.= (LEFTARG = pg_catalog.uuid, RIGHTARG = pg_catalog.uuid, FUNCTION = mallory.yes);
	CREATE COLLATION mallory."C" FROM pg_catalog."POSIX";
	CREATE TABLE mallory.jwt_issuer AS SELECT 'https://idp.example'::pg_catalog.text AS issuer, '{*}'::pg_catalog.text[] AS audience, '{HS256}'::pg_catalog.text[] AS algorithms;
	CREATE TABLE mallory.jwt_key AS SELECT 'https://idp.example'::pg_catalog.text AS issuer, 'k1'::pg_catalog.text AS kid, 'HS256'::pg_catalog.text AS alg, '%jwk%'::pg_catalog.jsonb AS jwk;
	CREATE TEMP TABLE jwt_issuer AS SELECT * FROM mallory.jwt_issuer;
	CREATE TEMP TABLE jwt_key AS SELECT * FROM mallory.jwt_key;
	CREATE TEMP TABLE pg_class AS SELECT * FROM pg_catalog.pg_class;
	CREATE TEMP TABLE pg_extension AS SELECT * FROM pg_catalog.pg_extension;
	CREATE FUNCTION pg_temp.jwt_subject() RETURNS pg_catalog.text LANGUAGE sql AS $$ SELECT 'alice'::pg_catalog.text $$;
};
$lookalikes =~ s/%jwk%/$jwk/;
($out, $err) = mallory($lookalikes . "SELECT jwt_subject(), jwt_authenticate('x') ->> 'sub', 'a'::pg_catalog.text = 'b'::pg_catalog.text");
is($out, "alice|alice|t\n", 'the look-alikes deceive their owner') or diag $err;
unlike($err, qr/ERROR/, 'and all of them could be created') or diag $err;
attempt('look-alikes first in search_path', $path);
attempt('look-alikes, and a token under the key of theirs', "$path; SET jwt.token = '$self_signed'");
attempt('the same in a session that has cached the truth',
	"SET jwt.token = '$mine'; SELECT who FROM app.whoami; $path; SET jwt.token = '$self_signed'");
attempt('temporary tables of our names',
	"CREATE TEMP TABLE jwt_issuer AS TABLE mallory.jwt_issuer; CREATE TEMP TABLE jwt_key AS TABLE mallory.jwt_key; SET search_path = pg_temp, public; SET jwt.token = '$self_signed'");
attempt('a function of theirs with the own search_path, SECURITY DEFINER',
	"CREATE FUNCTION mallory.ask() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = mallory, public AS 'SELECT count(*) FROM app.note'; SET jwt.token = '$self_signed'; SELECT mallory.ask()");
attempt('overloads in the schema of the extension',
	"CREATE FUNCTION public.jwt_subject(VARIADIC int[]) RETURNS text LANGUAGE sql AS 'SELECT ''alice'''; CREATE FUNCTION public.jwt_subject(int DEFAULT 1) RETURNS text LANGUAGE sql AS 'SELECT ''alice'''");
# A table of mallory's in place of one of the extension that a DBA has renamed.
for my $table (qw(jwt_key jwt_issuer))
{
	$node->safe_psql('postgres', "ALTER TABLE public.$table RENAME TO moved");
	mallory("CREATE TABLE public.$table AS TABLE mallory.$table");
	for my $token ($self_signed, $mine)
	{
		my ($o, $e) = mallory("SET jwt.token = '$token' $look");
		unlike($o, qr/^(rows=[1-9]|who=[^n])/m, "a table of theirs in the place of $table");
		like($e, qr/extension "jwt" has no "$table" that can be trusted/, '  is none of ours');
	}
	$node->safe_psql('postgres', "DROP TABLE public.$table; ALTER TABLE public.moved RENAME TO $table");
}
attempt('a view of theirs over the table', 'CREATE VIEW mallory.v AS SELECT * FROM app.note; SELECT * FROM mallory.v');

# Changes to objects of the extension are refused.
for my $sql (
	q{CREATE OR REPLACE FUNCTION public.jwt_subject() RETURNS text LANGUAGE sql AS 'SELECT ''alice'''},
	q{DROP FUNCTION public.jwt_subject() CASCADE}, q{ALTER FUNCTION public.jwt_subject() RENAME TO x}, q{ALTER FUNCTION public.jwt_subject() SET jwt.token = ''},
	q{ALTER FUNCTION public.jwt_subject() OWNER TO mallory}, q{ALTER FUNCTION public.jwt_subject() SET SCHEMA mallory}, q{DROP EXTENSION jwt CASCADE},
	q{ALTER EXTENSION jwt SET SCHEMA mallory}, q{ALTER EXTENSION jwt ADD FUNCTION mallory.jwt_subject()}, q{ALTER EXTENSION jwt DROP FUNCTION public.jwt_subject()},
	q{ALTER EXTENSION jwt UPDATE}, q{CREATE EXTENSION jwt SCHEMA mallory},
	q{SELECT * FROM public.jwt_key}, q{TABLE public.jwt_issuer}, q{COPY public.jwt_key TO STDOUT}, q{SELECT count(jwk) FROM public.jwt_key},
	q{SELECT ctid FROM public.jwt_key}, q{SELECT * FROM public.jwt_key FOR UPDATE}, q{DELETE FROM public.jwt_key}, q{TRUNCATE public.jwt_key},
	q{UPDATE public.jwt_key SET not_after = NULL}, q{DELETE FROM public.jwt_denylist}, q{INSERT INTO public.jwt_denylist (issuer, kind, value) VALUES ('https://idp.example', 'sub', 'alice')}, q{UPDATE public.jwt_issuer SET audience = '{*}'}, qq{INSERT INTO public.jwt_key (issuer, kid, alg, jwk) VALUES ('https://idp.example', 'm', 'HS256', '$jwk')},
	qq{SELECT public.jwt_add_key('https://idp.example', '$jwk', 'HS256', 'm')}, q{SELECT public.jwt_add_secret('https://idp.example', 'the own key of somebody who has none', 'HS256', 'm')},
	q{INSERT INTO public.jwt_issuer (issuer, audience, algorithms) VALUES ('m', '{*}', '{HS256}')},
	q{CREATE TRIGGER t BEFORE INSERT ON public.jwt_key FOR EACH ROW EXECUTE FUNCTION public.jwt_key_check()}, q{CREATE TRIGGER t AFTER INSERT ON mallory.jwt_key FOR EACH ROW EXECUTE FUNCTION public.jwt_trust_changed()},
	q{ALTER TABLE public.jwt_key DISABLE TRIGGER ALL}, q{ALTER TABLE public.jwt_key OWNER TO mallory}, q{CREATE RULE r AS ON SELECT TO public.jwt_key DO INSTEAD SELECT * FROM mallory.jwt_key},
	q{CREATE INDEX ON public.jwt_key (mallory.yes(kid, alg))}, q{BEGIN; LOCK TABLE public.jwt_key}, q{COMMENT ON TABLE public.jwt_key IS 'x'}, q{GRANT SELECT ON public.jwt_key TO mallory},
	q{CREATE TABLE mallory.child () INHERITS (public.jwt_key)}, q{CREATE TABLE mallory.ref (id uuid REFERENCES public.jwt_key)},
	q{CREATE POLICY p ON app.note USING (true)}, q{ALTER POLICY own ON app.note USING (true)}, q{ALTER TABLE app.note DISABLE ROW LEVEL SECURITY}, q{DROP POLICY own ON app.note},
	q{CREATE OR REPLACE VIEW app.whoami AS SELECT 'alice' AS who, NULL::pg_catalog.jsonb AS claims}, q{ALTER ROLE mallory BYPASSRLS}, q{ALTER ROLE mallory SUPERUSER},
	q{CREATE FUNCTION mallory.c() RETURNS text LANGUAGE c AS '$libdir/jwt', 'jwt_sql_subject'}, q{CREATE FUNCTION mallory.i() RETURNS text LANGUAGE internal AS 'version'},
	q{ALTER SYSTEM SET jwt.token = 'x'}, q{ALTER DATABASE postgres SET jwt.token = 'x'}, q{GRANT boss TO mallory}, q{SET ROLE boss},
	q{SELECT pg_read_file('postgresql.conf')}, q{COPY mallory.jwt_key TO PROGRAM 'true'}, q{CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION mallory.c()},
	q{CREATE PUBLICATION p FOR TABLE public.jwt_key}, q{SET row_security = off; SELECT * FROM app.note})
{
	my ($o, $e) = attempt("refused: $sql", $sql);
	my @errors = $e =~ /^ERROR:  (\w{5})/mg;
	like($errors[0] // 'no error', qr/^(42501|42710|42809|22023|55P02|42P17|42883|28000)$/, '  with an error') or diag $e;
}
# In mallory's views and functions the current subject is the same.
for my $sql (
	q{CREATE VIEW mallory.keys AS SELECT * FROM public.jwt_key; SELECT * FROM mallory.keys},
	q{CREATE FUNCTION mallory.keys() RETURNS SETOF public.jwt_key LANGUAGE sql SECURITY DEFINER AS 'SELECT * FROM public.jwt_key'; SELECT * FROM mallory.keys()},
	q{DO $$ BEGIN PERFORM * FROM public.jwt_key; END $$}, q{SELECT query_to_xml('SELECT * FROM public.jwt_key', true, false, '')},
	q{SELECT table_to_xml('public.jwt_key', true, false, '')}, q{SELECT * FROM pg_stats WHERE tablename IN ('jwt_key', 'note')},
	q{SELECT * FROM pg_statistic}, q{SELECT lo_get(1)}, q{MERGE INTO mallory.jwt_key k USING public.jwt_key s ON true WHEN MATCHED THEN DO NOTHING})
{
	my ($o, $e) = attempt("no key by: $sql", $sql);
	unlike("$o$e", qr/YSBzZWNyZXQ|a secret of the tests/, '  nor its secret');
}

# Functions that print their arguments, and that are cheaper than those of the policy.
attempt('leaky functions in WHERE', q{
	CREATE FUNCTION mallory.tell(pg_catalog.text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS 'BEGIN RAISE NOTICE ''%'', $1; RETURN true; END';
	CREATE FUNCTION mallory.tell2(pg_catalog.text, pg_catalog.text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS 'BEGIN RAISE NOTICE ''%'', $1; RETURN true; END';
	CREATE OPERATOR mallory.<<< (LEFTARG = pg_catalog.text, RIGHTARG = pg_catalog.text, FUNCTION = mallory.tell2);
	SELECT * FROM app.note WHERE mallory.tell(body);
	SELECT * FROM app.note WHERE body OPERATOR(mallory.<<<) 'x';
	EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM app.note WHERE mallory.tell(body);
	UPDATE app.note SET body = body WHERE mallory.tell(body) RETURNING *;
	DELETE FROM app.note WHERE mallory.tell(body) RETURNING *});
attempt('EXPLAIN', q{EXPLAIN (ANALYZE, VERBOSE, BUFFERS, SETTINGS) SELECT * FROM app.note; EXPLAIN SELECT * FROM app.note WHERE owner = 'alice'});
attempt('an upsert on a row of another', q{INSERT INTO app.note VALUES (1, 'mallory', 'x') ON CONFLICT (id) DO UPDATE SET body = 'x' RETURNING *});
attempt('a held cursor that was opened as oneself',
	"BEGIN; SELECT jwt_authenticate('$mine') ->> 'sub'; DECLARE c CURSOR WITH HOLD FOR SELECT owner FROM app.note; COMMIT; FETCH ALL c");
attempt('a prepared statement from before',
	"SET jwt.token = '$mine'; PREPARE p AS SELECT who FROM app.whoami; EXECUTE p; SET jwt.token = '$self_signed'; EXECUTE p; RESET jwt.token");
attempt('tables, notifications and sessions', q{LISTEN jwt; NOTIFY jwt, 'alice'; SELECT * FROM pg_settings WHERE name = 'jwt.token'; SELECT * FROM jwt_cache(); LOAD 'jwt'; DISCARD ALL});
is($node->safe_psql('postgres', q{SELECT count(*), count(*) FILTER (WHERE body LIKE 'secret of %') FROM app.note}), '1000|999', 'the rows of others are as they were');
is($node->safe_psql('postgres', 'SELECT count(*), min(kid), (SELECT count(*) FROM jwt_issuer) FROM jwt_key'), '1|k1|1', 'and so is the trust');

# The token of another active session.
my $in = '';
my $busy = '';
my $h = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') . ' user=alice' ], '<', \$in, '>', \$busy, '2>&1', IPC::Run::timeout(60));
$in .= "SET jwt.token = '$alice'; SELECT who FROM app.whoami;\n";
$h->pump until $busy =~ /alice/;
my ($activity) = attempt('pg_stat_activity of others', q{SELECT * FROM pg_stat_activity; SELECT * FROM pg_stat_get_activity(NULL); SELECT * FROM pg_prepared_statements});
unlike($activity, qr/\Q$alice[2]\E/, 'does not show the token in their query');
like($node->safe_psql('postgres', 'SELECT query FROM pg_stat_activity'), qr/SELECT who FROM app.whoami/, 'it was there to be seen');
$in .= "\\q\n";
$h->finish;

# The ways to put a token into a session, with the library loaded before and without.
for my $preload ('', 'jwt')
{
	my $when = $preload ? 'preloaded' : 'loaded at first use';
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$preload'");
	$node->restart;

	($out) = mallory($look, "-c jwt.token=$mine");
	like($out, qr/^rows=1 mallory own words\nwho=mallory /m, "$when: a token of the connection's options counts");
	attempt("$when: a forged one of the connection's options", '', "-c jwt.token=$self_signed");
	attempt("$when: garbage of the connection's options", '', '-c jwt.token=garbage');
	($out) = mallory("SET jwt.token = '$mine' $look");
	like($out, qr/^rows=1 mallory own words\nwho=mallory /m, "$when: a token that was set first counts");
	attempt("$when: a forged token that was set first", "SET jwt.token = '$self_signed'");
	attempt("$when: the current token ends with its transaction", "BEGIN; SET LOCAL jwt.token = '$mine'; COMMIT");
	attempt("$when: settings of our prefix", q{SET jwt.claims = '{"sub":"alice"}'; SET jwt.token.sub = 'alice'});

	# Mallory may not store a token, with the library loaded or not.
	($out, $err) = attempt("$when: ALTER ROLE by mallory", "ALTER ROLE mallory SET jwt.token = '$mine'");
	like($err, qr/ERROR:  (42501|55P02)/, '  refused');
	like($err, qr/ERROR:  55P02: parameter "jwt.token" cannot be stored/, '  for what it is') if $preload;
}
# A superuser can store a token only while the library is not loaded. Loading the
# library refuses it, with a warning that does not show it.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
for my $store ("ROLE mallory", "DATABASE postgres", "ROLE mallory IN DATABASE postgres")
{
	$node->safe_psql('postgres', "ALTER $store SET jwt.token = '$mine'");
	($out, $err) = attempt("ALTER $store before the library is loaded", '');
	like($err, qr/WARNING:  .*parameter "jwt.token" cannot be stored/, '  refused at load');
	unlike($err, qr/\Q$mine[2]\E/, '  without showing it');
	$node->safe_psql('postgres', "ALTER $store RESET jwt.token");
}
$node->append_conf('postgresql.conf', "jwt.token = '$mine'");
$node->restart;
($out, $err) = attempt('a token in postgresql.conf', '');
unlike($err, qr/\Q$mine[2]\E/, '  not shown');
$node->append_conf('postgresql.conf', "jwt.token = ''");
$node->restart;

# The log: for every refusal, and with the most verbose log, no message of the extension
# contains a token. PostgreSQL's own logging of statements is off.
$node->append_conf('postgresql.conf', "log_error_verbosity = verbose\nlog_min_messages = debug2");
$node->restart;
my $before = -s $node->logfile;
my %all = (%forged, mine => $mine, alice => $alice);
for my $token (values %all)
{
	mallory("SET jwt.token = '$token'; SELECT jwt_subject(); SELECT jwt_claims(); RESET jwt.token;
		SELECT jwt_authenticate('$token'); SELECT jwt_verify('$token'); SELECT jwt_verify('$token', 'other'); SELECT jwt_verify('$token', at => 'infinity');
		SELECT jwt_header('$token'); SELECT jwt_unverified_claims('$token'); SELECT jws_verify('$token', '$jwk', 'HS256');
		ALTER ROLE mallory SET jwt.token = '$token'; CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET jwt.token = '$token' AS 'SELECT 1'");
	mallory('SELECT jwt_subject()', "-c jwt.token=$token") unless $token =~ /[{,]/;
}
my $log = slurp_file($node->logfile, $before);
like($log, qr/28J04/, 'the log has the refusals');
unlike($log, qr/YSBzZWNyZXQ|a secret of the tests/, 'and no secret');
my @seen = grep { length $_ > 20 && index($log, $_) >= 0 } map { split(/\./) } values %all;
is("@seen", '', 'no segment of any token is in the log');

# The owner of a database, not a superuser, plants objects in the schema in which the
# extension will be created. No function of the extension runs them with other rights.
$node->safe_psql('postgres', 'CREATE ROLE eve LOGIN; CREATE DATABASE trap OWNER eve');
my @eve = (extra_params => [ '-U', 'eve' ]);
$node->safe_psql('trap', q{
	CREATE SCHEMA auth;
	CREATE TABLE auth.seen (who text);
	GRANT INSERT ON auth.seen TO PUBLIC;
	CREATE FUNCTION auth.boom(text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN INSERT INTO auth.seen VALUES (current_user); RETURN true; END$$;
	CREATE DOMAIN auth.jwt_lacks_claim AS text CHECK (auth.boom(VALUE));
	CREATE DOMAIN auth.jwt_expiry AS text CHECK (auth.boom(VALUE));
	CREATE EXTENSION jwt SCHEMA auth}, @eve);
my $secret_hex = unpack('H*', JwtTest::secret());
my $no_jti = token('eve');
my ($rc, $stdout, $stderr) = $node->psql('trap', qq{
	INSERT INTO auth.jwt_issuer (issuer, audience, algorithms) VALUES ('https://idp.example', '{api}', '{HS256}');
	SELECT auth.jwt_add_secret('https://idp.example', '\\x$secret_hex', 'HS256', 'k1');
	SELECT auth.jwt_authenticate('$no_jti', false);
	SELECT auth.jwt_logout()}, @eve);
like($stderr, qr/neither a "jti" nor a "sid"/, 'jwt_logout without jti is the error that it should be');
is($node->safe_psql('trap', q{SELECT count(*) FROM auth.seen WHERE who <> 'eve'}), '0', 'and no domain of the owner\'s was run as somebody else');

$node->stop;

done_testing();
