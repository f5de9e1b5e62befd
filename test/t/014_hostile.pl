# The owner of a database, or the publisher of a key set, cannot make the workers of
# jwt_jwks run code, crash, stay connected, or stop serving others.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => 'there is no node' unless grep { -x "$_/node" } split(/:/, $ENV{PATH});

my $dir = make_fixtures();
my %port = start_peer('endpoint', $dir);
my $uri = "https://localhost:$port{good}/set";
append_to_file("$dir/one", '{"keys":[' . slurp_file("$dir/k1.jwk") . ']}');
append_to_file("$dir/two", '{"keys":[' . slurp_file("$dir/k2.jwk") . ']}');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
preload_fetcher($node, $dir, 'jwt_jwks.timeout = 2000', 'jwt_jwks.cooldown = 1000', 'log_min_messages = debug1');
$node->start;
my $sources = q{INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://set.example', '{api}', '{ES256}');
	INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://set.example', '} . $uri . q{/one')};
my $due = due();
my $state = state();
my $workers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker'};
sub sql { my ($db, $sql, $user) = @_; return $node->safe_psql($db, $sql, extra_params => $user ? [ '-U', $user ] : []) }
sub fails { my ($db, $sql, $user) = @_; my ($rc, $o, $e) = $node->psql($db, $sql, extra_params => $user ? [ '-U', $user ] : []); return $rc == 0 ? 'accepted' : $e }
sub su { return $node->safe_psql('postgres', shift) }
sub database { my ($name, $owner) = @_; su("CREATE ROLE $owner LOGIN"); su("CREATE DATABASE $name OWNER $owner"); return }
# This database must be served during all that happens in the others.
my $served = sub {
	my $what = shift;
	my $before = su("SELECT clock_timestamp(); $due");
	my $start = time();
	ok($node->poll_query_until('postgres', "SELECT last_success > '$before' FROM jwt_jwks_state"), sprintf('%s: another database is served (%.1f s)', $what, time() - $start));
};
su("CREATE EXTENSION jwt; $sources");
$served->('at first');

# A function that the owner has added to the extension is not called.
database('added', 'adder');
sql('added', q{CREATE EXTENSION jwt; CREATE TABLE ran (what text);
	CREATE FUNCTION jwt_prune_revocations(bigint) RETURNS bigint LANGUAGE sql AS $$ INSERT INTO public.ran VALUES ('prune'); SELECT 10000::bigint $$;
	CREATE FUNCTION jwt_import_counts(text, varchar) RETURNS int[] LANGUAGE sql AS $$ INSERT INTO public.ran VALUES ('import'); SELECT '{1,1,1,1,1}'::int[] $$;
	ALTER EXTENSION jwt ADD FUNCTION jwt_prune_revocations(bigint); ALTER EXTENSION jwt ADD FUNCTION jwt_import_counts(text, varchar)}, 'adder');
sql('added', $sources, 'adder');
ok($node->poll_query_until('added', 'SELECT last_success IS NOT NULL FROM jwt_jwks_state'), 'a database with functions that were added');
ok($node->poll_query_until('added', "$workers AND datname = 'added'", '0'), 'its worker ends');
is(sql('added', 'SELECT count(*) FROM ran'), '0', 'and has not called them');
$served->('with it');

# The settings of the database change neither the meaning of statements nor end them.
sql('added', q{CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO PUBLIC; GRANT INSERT ON ran TO PUBLIC;
	CREATE FUNCTION trap.concat_ws(text, VARIADIC anyarray) RETURNS text LANGUAGE sql AS $$ INSERT INTO public.ran VALUES ('concat_ws'); SELECT 'x'::text $$;
	CREATE FUNCTION trap.octet_length(text) RETURNS int LANGUAGE sql AS $$ INSERT INTO public.ran VALUES ('octet_length'); SELECT 1 $$;
	CREATE FUNCTION trap.statement_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ INSERT INTO public.ran VALUES ('time'); SELECT now() $$;
	CREATE FUNCTION trap.equal(text, text) RETURNS boolean LANGUAGE sql AS $$ INSERT INTO public.ran VALUES ('='); SELECT $1 OPERATOR(pg_catalog.=) $2 $$;
	CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.equal)} . join('', map { "; ALTER DATABASE added SET $_" }
	  'search_path = trap, pg_catalog', 'role = adder', 'statement_timeout = 1', 'lock_timeout = 1', 'idle_in_transaction_session_timeout = 1', 'exit_on_error = on', 'row_security = off',
	  'default_transaction_read_only = on', 'default_transaction_isolation = serializable', 'standard_conforming_strings = off', 'transform_null_equals = on',
	  'quote_all_identifiers = on', 'client_encoding = SJIS', 'jit_above_cost = 0', "intervalstyle = 'sql_standard'", "datestyle = 'German'"), 'adder');
{
	# our own sessions have none of them
	local $ENV{PGOPTIONS} = join(' ', map { "-c $_" } 'search_path=public', 'statement_timeout=0', 'lock_timeout=0', 'idle_in_transaction_session_timeout=0', 'exit_on_error=off', 'row_security=on',
		'default_transaction_read_only=off', 'standard_conforming_strings=on', 'client_encoding=UTF8');
	sql('added', "UPDATE jwt_jwks_source SET uri = '$uri/two'", 'adder');
	ok($node->poll_query_until('added', q{SELECT last_success IS NOT NULL AND uri LIKE '%/two' AND last_change = last_success FROM jwt_jwks_state}), 'a database with settings of its owner\'s');
	is(sql('added', 'SELECT count(*) FROM ran'), '0', 'has no function of theirs called');
}
$served->('with these');

# An invalid row is read as a valid one, or raises an error, and never causes a crash.
su(q{UPDATE jwt_jwks_source SET refresh_interval = NULL, grace = NULL;
	UPDATE jwt_jwks_state SET uri = NULL, etag = NULL, etag_state = NULL, last_attempt = NULL, last_success = NULL, last_change = NULL, next_attempt = NULL, failures = NULL;
	UPDATE jwt_jwks_source SET grace = grace});
ok($node->poll_query_until('postgres', "SELECT last_success = last_attempt AND failures = 0 AND next_attempt - last_attempt BETWEEN interval '53 min' AND interval '61 min' FROM $state"), 'a row of nulls is fetched each hour');
for my $case ([ '-1 year', 54, 61 ], [ '0', 54, 61 ], [ '59 s', 54, 61 ], [ '2 minutes', 108, 121 ], [ '100 years', 2332800, 2592001 ])
{
	my ($interval, $least, $most) = @$case;
	my $now = su("SELECT clock_timestamp(); UPDATE jwt_jwks_source SET refresh_interval = '$interval'; $due");
	ok($node->poll_query_until('postgres', "SELECT last_success = last_attempt AND last_attempt > '$now' FROM $state"), "a refresh_interval of $interval");
	is(su("SELECT extract(epoch FROM next_attempt - last_attempt) BETWEEN $least AND $most FROM $state"), 't', "  is one of $most s at most");
}
su('UPDATE jwt_jwks_source SET refresh_interval = DEFAULT');
# Only a superuser can create such a row.
su('ALTER TABLE jwt_jwks_state ALTER last_success TYPE text');
my $log = -s $node->logfile;
su($due);
ok(logged($node, qr/ERROR:  column 8 of jwt_jwks_source is of another type/, $log), 'a column of another type');
su('ALTER TABLE jwt_jwks_state ALTER last_success TYPE timestamptz USING last_success::timestamptz');
su($due);
ok($node->poll_query_until('postgres', 'SELECT last_success = last_attempt FROM jwt_jwks_state'), 'a column of the right type again');

# An extension in the schema of another role is served. Replacing the schema at any time
# has no effect.
database('lodged', 'landlord');
su('CREATE ROLE lodger LOGIN');
sql('lodged', 'CREATE SCHEMA house AUTHORIZATION lodger; GRANT CREATE ON DATABASE lodged TO lodger');
sql('lodged', 'GRANT ALL ON SCHEMA house TO landlord', 'lodger');
sql('lodged', "CREATE EXTENSION jwt SCHEMA house; SET search_path = house; $sources;
	GRANT SELECT ON ALL TABLES IN SCHEMA house TO lodger", 'landlord');
ok($node->poll_query_until('lodged', 'SELECT last_success IS NOT NULL FROM house.jwt_jwks_state'), 'an extension in another\'s schema is served');
database('lodged_2', 'landlady');
sql('lodged_2', "CREATE EXTENSION jwt; $sources");
ok($node->poll_query_until('lodged_2', 'SELECT last_success IS NOT NULL FROM jwt_jwks_state'), 'and a superuser\'s in somebody\'s database');
sql('lodged', q{CREATE SCHEMA trap; CREATE TABLE trap.ran (who text DEFAULT current_user, what text); GRANT ALL ON trap.ran TO PUBLIC; GRANT USAGE ON SCHEMA trap TO PUBLIC;
	SET search_path = trap;
	CREATE FUNCTION run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO trap.ran (what) VALUES ('trigger'); RETURN NEW; END $$;
	CREATE FUNCTION run(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN INSERT INTO trap.ran (what) VALUES ('view'); RETURN $1; END $$;
	CREATE TABLE jwt_jwks_source AS TABLE house.jwt_jwks_source; CREATE TABLE jwt_jwks_state AS TABLE house.jwt_jwks_state;
	UPDATE jwt_jwks_state SET next_attempt = NULL; ALTER TABLE jwt_jwks_state ADD UNIQUE (issuer);
	CREATE VIEW jwt_issuer AS SELECT run(issuer) AS issuer, algorithms FROM house.jwt_issuer; CREATE TABLE jwt_key AS TABLE house.jwt_key; CREATE TABLE jwt_denylist AS TABLE house.jwt_denylist;
	CREATE TRIGGER run BEFORE INSERT OR UPDATE ON jwt_jwks_state FOR EACH ROW EXECUTE FUNCTION run();
	GRANT ALL ON ALL TABLES IN SCHEMA trap TO PUBLIC}, 'lodger');
sql('lodged', q{CREATE FUNCTION public.refresh() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT unchanged FROM house.jwt_refresh_jwks('https://set.example'); END;
	CREATE FUNCTION public.done() RETURNS timestamptz LANGUAGE sql BEGIN ATOMIC SELECT last_success FROM house.jwt_jwks_state; END});
append_to_file("$dir/rename", join('', map { "BEGIN;\nALTER SCHEMA $_->[0];\nALTER SCHEMA $_->[1];\nCOMMIT;\n\\sleep 300 us\n" }
	[ 'house RENAME TO home', 'trap RENAME TO house' ], [ 'house RENAME TO trap', 'home RENAME TO house' ]));
append_to_file("$dir/refresh", "SELECT refresh();\n" x 10000);
$log = -s $node->logfile;
my $renames = IPC::Run::start([ 'pgbench', '-n', '-t', 1000, '-f', "$dir/rename", $node->connstr('lodged') . ' user=lodger' ], '>', \my $renamed, '2>', \my $rename_errors);
my @refreshes = map { IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('lodged'), '-f', "$dir/$_" ], '>', \my $done, '2>', \my $errors) } qw(refresh refresh);
is($renames->finish ? '' : $rename_errors, '', 'a thousand times another schema is put in its place');
$_->kill_kill for @refreshes;
my $fell = () = substr(slurp_file($node->logfile), $log) =~ /the schema of extension "jwt" has been changed/g;
note "$fell times a worker has noticed before it went there";
is(sql('lodged', q{SELECT string_agg(DISTINCT who || ' ' || what, ', ') FROM trap.ran}), '', 'and no worker has been there');
my $done = sql('lodged', 'SELECT done()');
sql('lodged', "SET search_path = house; $due");
ok($node->poll_query_until('lodged', "SELECT done() > '$done'"), 'it is served');
sql('lodged', 'ALTER SCHEMA house RENAME TO home', 'lodger');
$done = sql('lodged', 'SELECT done()');
sql('lodged', "SET search_path = home; $due");
ok($node->poll_query_until('lodged', "SELECT done() > '$done'"), 'under its new name, too');

# A lock on a database or a row does not delay others.
database('renamed', 'renamer');
sql('renamed', "CREATE EXTENSION jwt; $sources", 'renamer');
ok($node->poll_query_until('renamed', 'SELECT last_success IS NOT NULL FROM jwt_jwks_state'), 'a database is served');
su('ALTER ROLE renamer CREATEDB');
my $renaming = open_session($node->connstr('postgres') . ' user=renamer');
sql('renamed', $due, 'renamer');
ok($node->poll_query_until('renamed', $workers, '0'), 'no worker is there');
$renaming->('BEGIN; ALTER DATABASE renamed RENAME TO "Renamed-2"');
# names are not folded; some need double quotes
reload($node, q{SET jwt_jwks.databases = 'postgres, "renamed", Renamed-2'});
$served->('while one is being renamed');
$renaming->('COMMIT');
$renaming->();
# a reload reads the list of databases again
reload($node);
$served->('when it has been');
sql('Renamed-2', $due, 'renamer');
ok($node->poll_query_until('Renamed-2', 'SELECT last_success = last_attempt AND next_attempt > now() FROM jwt_jwks_state'), 'which is served under its new name');
# also if names differ only in case
reload($node, q{SET jwt_jwks.databases = 'postgres, renamed-2, "RENAMED-2"'});
# twice, because the launcher may have started the first worker before it read the
# settings
$served->('when it alone is to be') for 1, 2;
sql('Renamed-2', "UPDATE jwt_jwks_source SET uri = '$uri/two'", 'renamer');
$served->('while another that is not wants to be');
is(sql('Renamed-2', q{SELECT uri LIKE '%/one' FROM jwt_jwks_state}), 't', 'and the others are not');
# a name with a double quote
sql('postgres', 'ALTER DATABASE "Renamed-2" RENAME TO "Re""named, 2"');
reload($node, q{SET jwt_jwks.databases = 'postgres, "Re""named, 2"'});
ok($node->poll_query_until('Re"named, 2', q{SELECT uri LIKE '%/two' AND last_success = last_attempt FROM jwt_jwks_state}), 'until it is listed in quotes');
reload($node, 'RESET jwt_jwks.databases');

su("INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://locked.example', '{api}', '{ES256}');
	INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://locked.example', '$uri/one')");
my $last = q{SELECT last_success FROM jwt_jwks_state WHERE issuer = 'https://set.example'};
ok($node->poll_query_until('postgres', 'SELECT count(*) = 2 AND bool_and(last_success = last_attempt) FROM jwt_jwks_state'), 'two sources');
my $locking = open_session($node->connstr('postgres'));
su($due);
ok($node->poll_query_until('postgres', 'SELECT bool_and(next_attempt > now()) FROM jwt_jwks_state'), 'are fetched');
ok($node->poll_query_until('postgres', $workers, '0'), 'and no worker is there');
$locking->(q{BEGIN; UPDATE jwt_jwks_state SET next_attempt = now() WHERE issuer = 'https://locked.example'});
my $before = su($last);
my $forged = MIME::Base64::encode_base64url('{"alg":"ES256","kid":"nobody"}') . '.e30.AAAA';
my ($start, $starts) = (time(), 0);
$log = -s $node->logfile;
ok(wait_until(sub {
	su("SELECT sqlstate FROM jwt_inspect('$forged')");
	$starts = () = substr(slurp_file($node->logfile), $log) =~ /starting background worker process "jwt_jwks worker"/g;
	return $starts >= 3 && su($last) ne $before;
}), 'while a row is locked, tokens have the other fetched by workers');
my $took = time() - $start;
# a busy machine takes longer, so more starts are allowed
cmp_ok($starts, '<=', 2 + $took, sprintf('of which few are started: %d in %.1f s', $starts, $took));
$locking->('ROLLBACK');
$locking->();
su(q{DELETE FROM jwt_issuer WHERE issuer = 'https://locked.example'});

# Key sets that take long to check, from a hostile issuer.
my $large = `/usr/bin/python3 -c 'import base64, json, random
random.seed(1)
print(json.dumps({"keys": [{"kty": "RSA", "kid": str(i), "alg": "RS256", "e": "AQAB", "n": base64.urlsafe_b64encode(
    (random.getrandbits(8192) | 1 | 1 << 8191).to_bytes(1024, "big")).rstrip(b"=").decode()} for i in range(600)]}))'`;
append_to_file("$dir/large", $large);
su("INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://large.example', '{api}', '{RS256}');
	BEGIN; INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://large.example', '$uri/large'); " . park(q{issuer = 'https://large.example'}) . '; COMMIT');
like(fails('postgres', q{SET statement_timeout = '3min'; SELECT jwt_refresh_jwks('https://large.example')}), qr/could not be imported/, 'a set that takes long is not checked to its end');
ok(logged($node, qr/To check the first \d+ of its 600 keys has taken more than/, 0), 'as the log tells');
su(q{DELETE FROM jwt_issuer WHERE issuer = 'https://large.example'});
# Key sets that change all the time leave a limited number of keys.
my $churn = q{SELECT jwt_import_jwks('https://set.example', (SELECT jsonb_build_object('keys', jsonb_agg('} . slurp_file("$dir/k1.jwk") . q{'::jsonb
	|| jsonb_build_object('kid', 'c%d-' || i)))::text FROM generate_series(1, 900) i))};
su(park());
su(sprintf($churn, $_)) for 1 .. 4;
cmp_ok(su('SELECT count(*) FROM jwt_key'), '<=', 1000 + 2 * 900, 'keys that are retired over and over are forgotten');
is(su(q{SELECT count(*) FROM jwt_key_status WHERE verifies}), '900', 'but those that verify');

# Plain http is allowed to a listed host, and not to one that only "*" allows.
reload($node, 'SET jwt_jwks.allow_http_to_loopback = on', q{SET jwt_jwks.allowed_hosts = '*:*'});
su("UPDATE jwt_jwks_source SET uri = 'http://localhost:$port{plain}/set/one'");
like(fails('postgres', q{SELECT jwt_refresh_jwks('https://set.example')}), qr/not one of those in jwt_jwks.allowed_hosts/, 'plain http where "*" allows it');
reload($node, q{SET jwt_jwks.allowed_hosts = 'localhost:*'});
like(su(q{SELECT added + changed + unchanged FROM jwt_refresh_jwks('https://set.example')}), qr/^1$/, 'plain http where the host is named');

$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|segfault|terminated by signal 11/, 'nobody crashed');
done_testing();
