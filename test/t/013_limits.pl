# Interruptions at any moment: cancelled statements, terminated sessions, a worker that
# is killed during its import or finds the disk full, and a limit on the memory of each
# process.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use File::Path qw(remove_tree);
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $dir = make_fixtures();
my %port = start_peer('endpoint', $dir);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
preload_fetcher($node, $dir, 'jwt_jwks.cooldown = 1000', 'restart_after_crash = on');
$node->start;
setup_trust($node);
sub sql { return $node->safe_psql('postgres', shift) }

# The result of a statement: its output, or the SQLSTATE of its error.
sub outcome
{
	my ($rc, $stdout, $stderr) = $node->psql('postgres', "\\set VERBOSITY sqlstate\n" . shift);
	return $stderr =~ /(?:ERROR|FATAL):\s+(\w+)/ ? $1 : $rc == 0 ? $stdout : "lost: $stderr";
}

my $good = token('alice', jti => 'j1', iat => time() - 10);
# another first byte of the signature
(my $bad = $good) =~ s/[.](.)(?=[^.]*$)/'.' . ($1 eq 'A' ? 'B' : 'A')/e;
sql(q{CREATE FUNCTION verdict(token text) RETURNS text LANGUAGE sql AS $$ SELECT coalesce(sqlstate, 'valid') FROM jwt_inspect(token) $$});
my $verdicts = "SELECT verdict('$good') || ' ' || verdict('$bad')";
my $right = 'valid 28J04';
is(sql($verdicts), $right, 'a good token and a bad one');

# Verification is cancelled at any moment; the keys are loaded again each time.
my $session = open_session($node->connstr('postgres'));
my $wrong = '';
for my $ms (1 .. 60)
{
	# jwt_inspect() does not use the cache, whose size after a cancelled statement may
	# vary
	my $answer = $session->(qq{SET statement_timeout = $ms;
		DO \$\$ BEGIN LOOP
			UPDATE jwt_issuer SET leeway = leeway WHERE issuer = 'https://idp.example';
			IF verdict('$good') || ' ' || verdict('$bad') <> '$right' THEN RAISE 'wrong'; END IF;
			PERFORM jwt_verify('$good'), count(jwt_try_verify('$good' || i)) FROM generate_series(1, 20) i;
		END LOOP; END \$\$;
		RESET statement_timeout;
		$verdicts;
		SELECT jwt_verify('$good') ->> 'sub';
		SELECT entries = 1 AND bytes BETWEEN 1 AND 20000 FROM jwt_cache()});
	$wrong .= " $ms: $answer" if $answer ne "$right\nalice\nt";
}
is($wrong, '', 'verification that is cancelled leaves the session, and its cache, as they were');
unlike(slurp_file($node->logfile), qr/ERROR:  wrong/, 'and no verdict was wrong');

# Revocations: all rows of a statement or none.
my %ends = (0 => 0, 1 => 0);
for my $ms (1 .. 25)
{
	my $end = outcome(qq{SET statement_timeout = @{[ $ms * 4 ]};
		SELECT count(jwt_revoke_id('https://idp.example', CASE i WHEN 500 THEN 'j1' ELSE 'x' || i END, 'infinity')) FROM generate_series(1, 3000) i});
	my $n = sql('SELECT count(*) FROM jwt_denylist');
	my $verdict = $session->("SELECT verdict('$good')");
	my $done = $end eq '3000';
	$ends{ $done ? 1 : 0 }++;
	$wrong .= " $ms: $end $n $verdict" unless $done ? $n eq '3000' && $verdict eq '28J11' : $end eq '57014' && $n eq '0' && $verdict eq 'valid';
	sql('DELETE FROM jwt_denylist');
}
is($wrong, '', "of $ends{0} revocations that were cancelled nothing is left; $ends{1} were done");
cmp_ok($ends{0}, '>', 3, 'some were cancelled');
my $other = open_session($node->connstr('postgres'));
# no revocation waits for another
$other->(q{BEGIN; SELECT jwt_revoke_id('https://idp.example', 'j1', 'infinity'); SELECT FROM jwt_issuer FOR UPDATE});
is(outcome("SET statement_timeout = '10s'; SELECT count(jwt_revoke_id('https://idp.example', 'j2', 'infinity'))"), '1', 'one waits for no other');
$other->('COMMIT; DELETE FROM jwt_denylist; BEGIN; LOCK TABLE jwt_denylist IN SHARE MODE');
is(outcome("SET statement_timeout = 200; SELECT jwt_revoke('$good')"), '57014', 'one that waits for a lock can be cancelled');
is($session->("SELECT verdict('$good')"), 'valid', 'the token is valid');
$other->('ROLLBACK');
is($session->("SELECT verdict('$good')"), 'valid', 'it still is when the other is gone, too');
$other->();

# Sessions are terminated under load; pgbench is started again when all its sessions are
# gone.
append_to_file("$dir/load", qq{
SELECT 1 / (verdict('$good') || ' ' || verdict('$bad') = '$right')::int;
UPDATE jwt_issuer SET leeway = leeway WHERE issuer = 'https://idp.example';
});
my $load = IPC::Run::start([ 'bash', '-c', "until [ -e $dir/enough ]; do pgbench -n -c 4 -T 2 -f $dir/load '" . $node->connstr('postgres') . " application_name=load'; done" ], '>', \my $output, '2>', \my $errors);
my $ended = 0;
for (1 .. 40)
{
	$ended += sql(q{SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'load'});
	sleep 0.05;
}
append_to_file("$dir/enough", 'x');
$load->finish;
cmp_ok($ended, '>', 20, "$ended sessions were ended");
unlike(slurp_file($node->logfile), qr/division by zero|was terminated by signal/, 'none of them was wrong, nobody crashed');
is($session->($verdicts), $right, 'and another goes on');

# A session that waits for a slow endpoint is cancelled or terminated.
my ($point) = slurp_file("$dir/k1.jwk") =~ /("x".*)\}/;
my @keys = map { qq({"kty":"EC","crv":"P-256","kid":"n$_",$point}) } 1 .. 1000;
append_to_file("$dir/many", '{"keys":[' . join(',', @keys) . ']}');
append_to_file("$dir/few", '{"keys":[' . join(',', @keys[ 0 .. 4 ]) . ']}');
my $uri = "https://localhost:$port{good}";
sql(qq{INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://set.example', '{api}', '{ES256}');
	INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://set.example', '$uri/delay/250-few')});
my $refresh = q{SELECT added + unchanged FROM jwt_refresh_jwks('https://set.example')};
my $count = q{SELECT count(*) FROM jwt_key WHERE issuer = 'https://set.example' AND retired_at IS NULL};
$node->poll_query_until('postgres', $count, '5') or die;
my %how = map { $_ => 0 } qw(5 57014);
for (my $ms = 5; $ms < 6000; $ms += 5 + int($ms / 4))
{
	my $end = outcome("SET statement_timeout = $ms; $refresh");
	$how{$end}++;
}
is(join(' ', sort keys %how), '5 57014', "refreshes: $how{57014} were cancelled, $how{5} were done") or diag(explain(\%how));
# long enough for the other sessions to run meanwhile
sql(qq{UPDATE jwt_jwks_source SET uri = '$uri/delay/5000-few'});
my $waiting = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $refresh ], '>', \my $ignored, '2>', \my $ending);
$node->poll_query_until('postgres', q{SELECT count(pg_terminate_backend(pid)) = 1 FROM pg_stat_activity WHERE query LIKE '%jwt_refresh_jwks%' AND pid <> pg_backend_pid() AND wait_event ILIKE 'BgWorkerShutdown'});
$waiting->finish;
like($ending, qr/terminating connection/, 'one was ended while it waited');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker'}), 'no worker is left');
is(outcome($refresh), '5', 'and the next is done');
is(sql('SELECT last_error, failures FROM jwt_jwks_state'), '|0', 'the source has no error');

# The worker is killed in the middle of an import.
sql(q{CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN new; END $$;
	CREATE TRIGGER nap BEFORE INSERT ON jwt_key FOR EACH ROW WHEN (new.kid = 'n500') EXECUTE FUNCTION nap()});
sql("UPDATE jwt_jwks_source SET uri = '$uri/set/many'");
my $napping = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker' AND wait_event = 'PgSleep'};
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM ($napping) s"), 'a worker imports');
my $pid = sql($napping);
$session->();
kill 9, $pid;
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)"), 'and is killed');
ok($node->poll_query_until('postgres', $count, '5'), 'the keys are those of before');
is(sql($verdicts), $right, 'verdicts, too');
# it is due again in a minute: make it due now
is(sql(q{SELECT next_attempt BETWEEN now() - interval '1 minute' AND now() + interval '1 minute' FROM jwt_jwks_state}), 't', 'the worker will try again');
sql('DROP TRIGGER nap ON jwt_key; ' . due());
ok($node->poll_query_until('postgres', $count, '1000'), 'and it does');

SKIP:
{
	my $disk = $ENV{JWT_SMALL_DISK};
	skip 'only root can make a small disk', 9 unless $disk;
	remove_tree(glob("$disk/*"));
	mkdir "$disk/limits" or die;
	sql("CREATE TABLESPACE small LOCATION '$disk/limits'");
	sql("UPDATE jwt_jwks_source SET uri = '$uri/set/few'");
	ok($node->poll_query_until('postgres', $count, '5'), 'a source has few keys');
	sql('DELETE FROM jwt_key WHERE retired_at IS NOT NULL');
	sql("ALTER TABLE $_ SET TABLESPACE small") for qw(jwt_key jwt_jwks_state);
	sql("VACUUM FULL $_") for qw(jwt_key jwt_jwks_state);
	sql('CREATE TABLE filler (x text) TABLESPACE small');
	sql(q{DO $$ BEGIN LOOP BEGIN INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 100); EXCEPTION WHEN disk_full THEN EXIT; END; END LOOP; END $$});
	my $keys = q{SELECT md5(string_agg(k::text, chr(10) ORDER BY id)) FROM jwt_key k};
	my $before = sql($keys);
	my $log = -s $node->logfile;
	sql("UPDATE jwt_jwks_source SET uri = '$uri/set/many'");
	ok(logged($node, qr/No space left on device/, $log), 'a worker finds no room');
	like(outcome($refresh), qr/^38000$/, 'nor does one that is asked for');
	# on a busy machine there are fewer
	sleep 4;
	my $lines = () = substr(slurp_file($node->logfile), $log) =~ /No space left on device/g;
	cmp_ok($lines, '<', 20, "the log has not filled with it: $lines lines in 4 s");
	is(sql($keys), $before, 'the keys are those of before');
	is(sql($verdicts), $right, 'verdicts, too');
	is(sql(q{SELECT count(*) FROM jwt_jwks_state WHERE next_attempt < now() + interval '70 s'}), '1', 'the worker will try again');
	sql('DROP TABLE filler');
	sql(due());
	ok($node->poll_query_until('postgres', $count, '1000'), 'and with room it has all keys');
	ok($node->poll_query_until('postgres', q{SELECT last_error IS NULL AND failures = 0 FROM jwt_jwks_state}), 'and no error');
}

# A limit on the memory of each process.
SKIP:
{
	my ($postmaster) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
	my ($size) = slurp_file("/proc/$postmaster/status") =~ /^VmSize:\s+(\d+)/m;
	my $hex = unpack('H*', JwtTest::secret());
	my $header = JwtTest::base64url('{"alg":"HS256","kid":"k1"}');
	# thousands of tokens with their claims; thousands of keys; a large key set
	sql(JwtTest::hmac_function() . qq{
		CREATE FUNCTION b64(bytea) RETURNS text LANGUAGE sql AS \$\$ SELECT translate(encode(\$1, 'base64'), E'+/=\\n', '-_') \$\$;
		CREATE TABLE tokens AS
			SELECT i, input || '.' || b64(hmac(input::bytea, '\\x$hex', 'sha256')) AS token
			FROM (SELECT i, '$header.' || b64(convert_to(jsonb_build_object('iss', 'https://idp.example', 'aud', 'api', 'exp', 4000000000, 'n', i, 'x', repeat('z', 4000))::text, 'UTF8')) AS input
				FROM generate_series(1, 12000) i) t;
		INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://many.example', '{api}', '{HS256}');
		INSERT INTO jwt_key (issuer, kid, alg, jwk)
			SELECT 'https://many.example', 'm' || i, 'HS256', jsonb_build_object('kty', 'oct', 'k', b64(sha256(i::text::bytea))) FROM generate_series(1, 16000) i});
	skip 'a sanitizer takes more memory than any limit', 10 if $ENV{JWT_SANITIZE};
	skip 'there is no prlimit', 10 unless system('prlimit', "--pid=$postmaster", '--as=' . ($size + 48 * 1024) * 1024) == 0;
	my $log = -s $node->logfile;
	my %flood = (
		tokens => 'SELECT count(jwt_verify(token)) FROM tokens',
		keys => q{SELECT count(verdict(b64(convert_to('{"alg":"HS256","kid":"m' || i || '"}', 'UTF8')) || '.e30.' || repeat('A', 43))) FROM generate_series(1, 16000) i},
		set => q{SELECT count(*) FROM jwt_import_jwks('https://set.example', (SELECT jsonb_build_object('keys', jsonb_agg(jsonb_build_object('kty', 'OKP', 'crv', 'Ed25519',
			'kid', 'b' || i, 'x', b64(sha256(i::text::bytea)), 'x5c', repeat('x', 3000))))::text FROM generate_series(1, 20000) i))});
	for my $what (sort keys %flood)
	{
		my $limited = open_session($node->connstr('postgres'));
		$limited->('\\set VERBOSITY sqlstate');
		# a cache fits within its limit
		is($limited->($flood{$what}), { tokens => '12000', keys => '16000', set => '' }->{$what}, "$what under a limit") if $what ne 'set';
		$limited->("SET jwt.cache_size = '512MB'; SET jwt.key_cache_size = '512MB'; $flood{$what}");
		# a cache that uses all memory is emptied when memory is lacking, and the next
		# token verifies
		$limited->("RESET jwt.cache_size; RESET jwt.key_cache_size; SELECT jwt_try_verify('$bad')");
		is($limited->($verdicts), $right, "$what by far more than there is room for: the session goes on");
		$limited->();
		note "$what: memory was lacking ", scalar(() = substr(slurp_file($node->logfile), $log) =~ /out of memory/g), ' times so far';
	}
	is(sql($count), '1000', 'of a set that did not fit nothing was taken');
	my $text = substr(slurp_file($node->logfile), $log);
	my $lacked = () = $text =~ /out of memory/g;
	cmp_ok($lacked, '>=', 2, "memory was lacking: $lacked times");
	unlike($text, qr/was terminated by signal|PANIC/, 'nobody crashed');
}
$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP/, 'no panic in the log');
done_testing();
