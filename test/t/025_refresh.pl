# Refresh tokens on a whole server: many clients at once, rollbacks, the log, a line of the
# key file that is gone, a standby, other encodings, and mutated tokens.
# JWT_MUTATED_TOKENS is the number of mutated tokens.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use JSON::PP qw(decode_json);
use JwtTest;
use MIME::Base64 qw(decode_base64url);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $k1   = key_line('k1');
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
my $file = put_keys($node, $k1);
$node->append_conf('postgresql.conf', "jwt_auth.key_file = '$file'\nlog_statement = none\nmax_connections = 80\nlog_min_messages = log\nlog_min_error_statement = log");
$node->start;
setup_issuing($node, 'postgres', q{grace = '0'});

sub sql { return $node->safe_psql('postgres', shift) }

age_server($node);

# All tokens that were given out. None may be in the log.
my @given;
sub answer
{
	my ($json) = @_;
	my $answer = decode_json($json);
	push @given, grep { defined } @$answer{qw(access_token refresh_token)};
	return $answer;
}
sub start   { return answer(sql(sprintf(q{SELECT jwt_start_session('https://login.example', '%s', '%s')}, shift, shift // '{}')))->{refresh_token} }
sub refresh { return answer(sql("SELECT jwt_refresh('$_[0]')")) }
sub row     { return sql(qq{SELECT counter, coalesce(ended_why, 'alive') FROM jwt_session WHERE sid = '} . refresh_sid($_[0]) . q{'}) }

# 50 clients redeem one token at once: one successor, and nobody is logged out.
sub bench
{
	my ($script, @options) = @_;
	my $path = PostgreSQL::Test::Utils::tempdir() . '/script';
	append_to_file($path, $script);
	return IPC::Run::start([ 'pgbench', '-n', '-f', $path, @options, '-d', $node->connstr('postgres') ], '<', \undef, '>', \my $out, '2>&1', IPC::Run::timeout(300));
}
sql(q{CREATE TABLE answer (at timestamptz DEFAULT clock_timestamp(), answer jsonb)});
my $token = start('alice');
my $offset = -s $node->logfile;
sql(q{UPDATE jwt_token_policy SET grace = '1 minute'; UPDATE jwt_session SET rotated_at = now() - interval '1 hour'});
my $gate = open_session($node->connstr('postgres'));
$gate->('SELECT pg_advisory_lock(1)');
my $clients = bench("SELECT pg_advisory_lock_shared(1);\nINSERT INTO answer (answer) SELECT jwt_refresh('$token');\n", '-c', 50, '-t', 1);
ok($node->poll_query_until('postgres', q{SELECT count(*) = 50 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}), '50 clients wait');
$gate->('SELECT pg_advisory_unlock(1)');
$clients->finish;
is(sql(q{SELECT count(*), count(DISTINCT answer ->> 'refresh_token'), count(DISTINCT answer ->> 'access_token'), count(answer ->> 'error') FROM answer}), '50|1|50|0', 'each has the one successor');
is(sql('SELECT counter, repeats, ended_why IS NULL FROM jwt_session'), '1|49|t', 'the row was rotated once');
my $log = substr(slurp_file($node->logfile), $offset);
is(join(' ', $log =~ /was given again (\d+) times/g), '4 8 16 32', 'the log says that, and not each time');

# The same with a large row, each new version of which is on another page.
sql(q{DELETE FROM jwt_session; ALTER TABLE jwt_session ALTER claims SET STORAGE PLAIN});
$token = start('alice', '{"x": "' . ('x' x 3500) . '"}');
bench("SELECT 1 / (jwt_refresh('$token') ? 'refresh_token')::int;\n", '-c', 16, '-t', 400)->finish;
is(sql('SELECT repeats, ended_why IS NULL FROM jwt_session'), '6400|t', 'nobody is refused while the row moves');
$node->safe_psql('postgres', q{DELETE FROM jwt_session; ALTER TABLE jwt_session ALTER claims SET STORAGE EXTENDED});
sql(q{UPDATE jwt_token_policy SET grace = '0'});

# A rollback after tokens were issued, or after a session has ended, is logged.
sub rolled_back
{
	my ($sql) = @_;
	my $from = -s $node->logfile;
	$node->psql('postgres', $sql);
	sql('SELECT');
	my $sid = refresh_sid($token);
	return join(', ', map { s/\Q$sid\E/S/r } substr(slurp_file($node->logfile), $from) =~ /LOG:  (a transaction that .*)/g);
}
$token = start('bob');
my $issued = 'a transaction that issued tokens of session S was rolled back';
my $call   = "SELECT jwt_refresh('$token')";
is(rolled_back("BEGIN; $call; COMMIT"), '', 'a commit is not logged');
$token = start('bob');
$call  = "SELECT jwt_refresh('$token')";
is(rolled_back("BEGIN; $call; ROLLBACK"), $issued, 'a rollback is');
is(rolled_back("$call; SELECT 1/0"), '', 'an error in another statement has no effect');
$token = start('bob');
$call  = "SELECT jwt_refresh('$token')";
is(rolled_back("BEGIN; $call; SELECT 1/0; COMMIT"), $issued, 'but in the same transaction');
is(rolled_back("BEGIN; SAVEPOINT s; $call; ROLLBACK TO s; COMMIT"), $issued, 'a rollback to a savepoint');
is(rolled_back("BEGIN; SAVEPOINT s; $call; RELEASE s; SAVEPOINT s; ROLLBACK TO s; ROLLBACK"), $issued, 'a released savepoint, in a transaction that is rolled back');
is(rolled_back("BEGIN; SAVEPOINT s; SAVEPOINT r; $call; RELEASE r; ROLLBACK TO s; COMMIT"), $issued, 'or in a savepoint that is');
is(rolled_back("BEGIN; SAVEPOINT s; SAVEPOINT r; SAVEPOINT q; ROLLBACK TO r; RELEASE s; COMMIT"), '', 'savepoints without a session');
is(rolled_back("DO \$\$ BEGIN PERFORM jwt_refresh('$token'); RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN END \$\$"), $issued, 'an exception that is caught');
is(rolled_back("DO \$\$ BEGIN FOR i IN 1..100 LOOP PERFORM jwt_refresh_session('$token'); END LOOP; RAISE division_by_zero; END \$\$"), '', 'jwt_refresh_session() issues nothing');
is(rolled_back("BEGIN; SELECT jwt_end_session('" . refresh_sid($token) . "'); ROLLBACK"), 'a transaction that ended session S was rolled back', 'the end of a session');
is(rolled_back("SELECT jwt_start_session('https://login.example', 'x', '{\"at_hash\": 1}')"), '', 'a login that fails');
is(rolled_back("SELECT jwt_refresh_with('$token', '{\"at_hash\": 1}')"), '', 'claims that cannot be signed');
is(row($token), '0|alive', 'all of that has no effect');
sql(q{SELECT jwt_start_session('https://login.example', 'many') FROM generate_series(1, 25)});
like(rolled_back(q{BEGIN; SELECT jwt_end_sessions('https://login.example', 'many'); ROLLBACK}),
	qr/\A(a transaction that ended session [0-9a-f-]{36} was rolled back, ){10}a transaction that ended 15 more sessions was rolled back\z/, 'many sessions are not all named');
my $lost = open_session($node->connstr('postgres'));
$offset = -s $node->logfile;
my $pid = $lost->('SELECT pg_backend_pid()');
$lost->("BEGIN; SELECT jwt_refresh('$token') IS NOT NULL");
sql("SELECT pg_terminate_backend($pid)");
ok(logged($node, qr/tokens of session [0-9a-f-]{36} was rolled back/, $offset), 'a connection that is lost');

# Reasons are in the log.
my $other = start('carol');
$offset = -s $node->logfile;
sql("SELECT jwt_refresh('$other', 'app')");
sql(q{UPDATE jwt_session SET expires_at = now() WHERE sub = 'carol'});
refresh($other);
sql(q{UPDATE jwt_session SET expires_at = 'infinity', rotated_at = now() - interval '8 days' WHERE sub = 'carol'});
refresh($other);
sql(q{UPDATE jwt_session SET rotated_at = now() WHERE sub = 'carol'; SELECT jwt_revoke_session('https://login.example', sid::text) FROM jwt_session WHERE sub = 'carol'});
refresh($other);
sql('DELETE FROM jwt_denylist; UPDATE jwt_session SET counter = 5');
refresh($other);
refresh($other);
$log = substr(slurp_file($node->logfile), $offset);
my $sid = refresh_sid($other);
is_deeply([ $log =~ /LOG:  a refresh token of session $sid was refused: (.*)/g ], [ 'it belongs to another client', 'it has expired', 'it was idle for too long',
	'it, its subject or its issuer is in jwt_denylist', 'a refresh token was used again, or the database was restored' ], 'the reasons for a genuine token');
$other = start('carol');
my $next = refresh($other)->{refresh_token};
sql(q{UPDATE jwt_session SET counter = 0 WHERE sub = 'carol'});
$offset = -s $node->logfile;
is(refresh($next)->{refresh_token}, $next, 'a rotation was lost');
like(substr(slurp_file($node->logfile), $offset), qr/LOG:  a rotation of session \Q@{[refresh_sid($next)]}\E was lost/, 'which is logged');

# A new first line of the key file protects new refresh tokens, and old ones stay good.
# When the old line is gone, tokens that need it are refused with a line in the log, and
# all others stay good.
sub key_name { my ($name) = unpack('xC/a', decode_base64url($_[0])); return $name }
my $k2 = key_line('k2');
my ($old, $new) = (start('dave'), start('erin'));
put_keys($node, $k2, $k1);
$new = refresh($new)->{refresh_token};
is(key_name($old) . key_name($new), 'k1k2', 'a refresh changes to the new line');
sql(q{SELECT jwt_rotate_signing_key('https://login.example'); UPDATE jwt_signing_key SET activate_at = created_at});
my $access = answer(sql("SELECT jwt_start_session('https://login.example', 'frank')"))->{access_token};
put_keys($node, $k2);
$offset = -s $node->logfile;
is(refresh($old)->{error}, 'invalid_grant', 'the line is gone');
like(substr(slurp_file($node->logfile), $offset), qr/LOG:  a refresh token of session \Q@{[refresh_sid($old)]}\E was refused: key "k1" is not in the key file, or not for this database$/m, 'which is logged');
$new = refresh($new)->{refresh_token};
ok(defined $new, 'a token of the other line is good');
is(sql(qq{SELECT jwt_verify('$access') ->> 'sub'}), 'frank', 'verification needs no line');
put_keys($node, "# none\n");
for my $call ("SELECT jwt_refresh('$new')", q{SELECT jwt_start_session('https://login.example', 'x')}, "SELECT jwt_refresh_session('$new')", 'SELECT jwt_refresh(' . "'" . $new =~ s/.\z/A/r . "')")
{
	my (undef, undef, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\n$call");
	like($stderr, qr/ERROR:  55000: the key file has no key for this database/, 'without any line there is an error, which ends no session');
}
put_keys($node, $k2, $k1);
ok(defined refresh($_)->{refresh_token}, 'the lines are back') for $old, $new;

# Refreshing is refused in parallel workers.
sql(q{CREATE FUNCTION unsafe(text) RETURNS jsonb LANGUAGE sql PARALLEL SAFE AS 'SELECT jwt_refresh($1)';
	ALTER FUNCTION unsafe(text) VOLATILE COST 1000;
	CREATE TABLE big AS SELECT i FROM generate_series(1, 20000) i; ANALYZE big; ALTER TABLE big SET (parallel_workers = 2)});
my $parallel = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;';
unlike(sql(qq{$parallel EXPLAIN SELECT jwt_refresh(i::text) FROM big WHERE i > 19990}), qr/Gather/, 'jwt_refresh() keeps a query from being parallel');
my (undef, undef, $stderr) = $node->psql('postgres', qq{$parallel SELECT count(*) FROM big WHERE i > 19990 AND unsafe(i::text) IS NULL});
like($stderr, qr/cannot execute jwt_refresh\(\) during a parallel operation/, 'and fails in a parallel worker');

# A standby redeems no token, good or bad, and jwt_refresh_session() works there.
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
my $live = start('grace');
$node->wait_for_catchup($standby);
for my $any ($live, 'x')
{
	(undef, undef, $stderr) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT jwt_refresh('$any')");
	like($stderr, qr/ERROR:  25006: cannot execute jwt_refresh\(\) in a read-only transaction/, 'not on a standby');
}
is($standby->safe_psql('postgres', "SELECT sub FROM jwt_refresh_session('$live')"), 'grace', 'jwt_refresh_session() only reads');
$standby->stop;

# Other encodings: claims are in UTF-8, whatever the database has.
for my $case ([ 'LATIN1', 'e4', 'c3a4' ], [ 'EUC_JP', 'c6fc', 'e697a5' ], [ 'SQL_ASCII', 'c3a4', 'c3a4' ])
{
	my ($encoding, $in, $out) = @$case;
	my $db = lc "in_$encoding";
	sql("CREATE DATABASE $db ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	setup_issuing($node, $db, q{grace = '0'});
	$node->safe_psql($db, qq{CREATE TABLE t AS SELECT jwt_start_session('https://login.example', convert_from('\\x$in', '$encoding')) AS a});
	my $payload = $node->safe_psql($db, q{SELECT translate(split_part(jwt_refresh(a ->> 'refresh_token') ->> 'access_token', '.', 2), '-_', '+/') FROM t});
	like(decode_base64url($payload), qr/"sub":"@{[pack('H*', $out)]}"/, "a subject in $encoding");
	is($node->safe_psql($db, 'SELECT counter FROM jwt_session'), 1, 'its session is refreshed');
	# the private key of RFC 7515, appendix A.3
	my $jwk = unpack('H*', '{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",'
			. '"d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI","kid":"' . pack('H*', $in) . '"}');
	is($node->safe_psql($db, qq{SELECT encode(convert_to(jwt_import_signing_key('https://login.example', convert_from('\\x$jwk', '$encoding'), activate_at => now()), '$encoding'), 'hex')}), $in, "a kid in $encoding");
	is($node->safe_psql($db, qq{SELECT encode(convert_to(jwt_header(t) ->> 'kid', '$encoding'), 'hex'), jwt_verify(t) ->> 'sub' FROM jwt_sign('{"sub":"bob"}') t}), "$in|bob", 'it signs');
}

# A mutated refresh token is never good. It leaves no row, no lock and no transaction ID.
my $n = $ENV{JWT_MUTATED_TOKENS} // 20000;
my $target = start('heidi');
sql(q{
	CREATE FUNCTION mutant(token text, i int) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		alphabet constant text := 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
		n constant int := length(token);
		p int := 1 + floor(random() * n);
		c text := substr(alphabet, 1 + floor(random() * 64)::int, 1);
	BEGIN
		RETURN CASE i % 8
			WHEN 0 THEN overlay(token placing c from p for 1)
			WHEN 1 THEN overlay(overlay(token placing c from p for 1) placing c from 1 + floor(random() * n)::int for 1)
			WHEN 2 THEN overlay(token placing substr(alphabet, 1 + i / 8 % 64, 1) from n for 1)	-- the unused bits
			WHEN 3 THEN overlay(token placing c from p for 0)
			WHEN 4 THEN overlay(token placing '' from p for 1)
			WHEN 5 THEN substr(token, 1, p - 1) || substr(token, p + 1, 1) || substr(token, p, 1) || substr(token, p + 2)
			WHEN 6 THEN overlay(token placing chr(1 + floor(random() * 127)::int) from p for 1)
			-- another counter, or another sid
			WHEN 7 THEN overlay(token placing substr(md5(random()::text), 1, 6) from 6 + floor(random() * 28)::int for 6) END;
	END $$;
	CREATE TABLE tried (error text, n bigint)});
my $before = sql(q{SELECT ctid, xmin, counter FROM jwt_session WHERE sub = 'heidi'});
$offset = -s $node->logfile;
my $began = time();
for (my $done = 0; $done < $n; $done += 20000)
{
	my $count = $n - $done < 20000 ? $n - $done : 20000;
	my $got = sql(qq{BEGIN;
		SELECT coalesce(a ->> 'error', 'redeemed'), count(*) FROM (SELECT mutant('$target', i) FROM generate_series(1, $count) i) m (t), jwt_refresh(t) a
		WHERE t <> '$target' GROUP BY 1 ORDER BY 1;
		SELECT pg_current_xact_id_if_assigned() IS NULL, (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'jwt_session'::regclass);
		COMMIT});
	like($got, qr/\Ainvalid_grant\|\d+\ninvalid_request\|\d+\nt\|0\z/, "$count mutated tokens: none is redeemed, and none leaves a trace");
}
is(sql(q{SELECT ctid, xmin, counter FROM jwt_session WHERE sub = 'heidi'}), $before, 'the session is untouched');
$log = substr(slurp_file($node->logfile), $offset);
my $missing = $log =~ s/^.*LOG:  a refresh token of session [0-9a-f-]{36} was refused: key "[A-Za-z0-9_-]{1,32}" is not in the key file, or not for this database\n//mg;
unlike($log, qr/refresh token|ERROR|session/, 'the log names only keys that are missing');
# each 20000 tokens have a session of their own
cmp_ok($missing, '<=', ($n + 19999) / 20000 + (time() - $began) / 60, 'once a minute for each session');
ok(defined refresh($target)->{refresh_token}, 'the token itself is good');

# Forged ones of the right form, of a live session, one that has ended, and of none, do not even
# leave a line in the log.
my $over = start('ivan');
sql("SELECT jwt_end_session('" . refresh_sid($over) . "')");
my %sids = (live => refresh_sid($target), ended => refresh_sid($over));
$before = sql(q{SELECT count(*), max(xmin::text::bigint), sum(counter) FROM jwt_session});
my $memory = open_session($node->connstr('postgres'));
my $forgery = sub {
	my ($count) = @_;
	return qq{SELECT count(*), pg_current_xact_id_if_assigned() IS NULL, (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'jwt_session'::regclass)
		FROM generate_series(1, $count) i, LATERAL (SELECT CASE i % 3 WHEN 0 THEN '$sids{live}'::uuid WHEN 1 THEN '$sids{ended}' ELSE gen_random_uuid() END) s (sid),
		LATERAL (SELECT translate(encode('\\x0102' || convert_to('k' || i % 2 + 1, 'UTF8') || uuid_send(sid) || int8send(i / 6 % 4) || sha256(i::text::bytea), 'base64'), E'+/=\n', '-_')) f (forged)
		WHERE jwt_refresh(forged) ->> 'error' = 'invalid_grant'};
};
is($memory->($forgery->(500)), '500|t|0', 'forged tokens are refused');
my $used = $memory->('SELECT sum(total_bytes) FROM pg_backend_memory_contexts');
$offset = -s $node->logfile;
for (my $done = 0; $done < $n; $done += 20000)
{
	my $count = $n - $done < 20000 ? $n - $done : 20000;
	is($memory->($forgery->($count)), "$count|t|0", "$count forged tokens are, and leave no lock");
}
is(-s $node->logfile, $offset, 'and nothing in the log');
cmp_ok($memory->('SELECT sum(total_bytes) FROM pg_backend_memory_contexts'), '<', $used + 200000, 'and not in memory');
is(sql(q{SELECT count(*), max(xmin::text::bigint), sum(counter) FROM jwt_session}), $before, 'and no session has changed');
$memory->();

# The log has the statements that caused its messages, and no token.
$node->stop;
$log = slurp_file($node->logfile);
my @seen = grep { index($log, $_) >= 0 } @given;
is(@seen, 0, 'of ' . @given . ' tokens none is in the log') or diag(substr($seen[0], 0, 20));
done_testing();
