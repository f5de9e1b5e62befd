# Copies of a database that issues tokens: a standby and its promotion, logical replication
# to servers with another key file or none, restores in each format, and pg_upgrade. A copy
# signs with the same line of the key file, and without it says what is missing. No verdict
# is wrong, and no ended session comes back.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use IPC::Run;
use JSON::PP qw(decode_json);
use JwtTest;
use LifeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $conf = "log_statement = none\nwal_retrieve_retry_interval = 100ms\nmax_worker_processes = 20\nautovacuum = off";
my $issuer = 'https://login.example';
my $k1 = key_line('k1');

# A server with a key file of these lines, or without one.
sub new_server
{
	my ($name, @lines) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', $conf . (@lines ? "\njwt_auth.key_file = '" . put_keys($node, @lines) . "'" : ''));
	$node->start;
	return $node;
}

sub open_on { my ($node, $db) = @_; return LifeTest->new($node->connstr($db // 'postgres'), 'SET client_min_messages = error') }
sub login { my ($session, $sub) = @_; return decode_json($session->must("SELECT jwt_start_session('$issuer', '$sub')")) }
my $sign = q{SELECT jwt_header(jwt_sign('{"sub": "alice"}')) ->> 'kid'};
sub redeem { my ($session, $token) = @_; return $session->ask("SELECT coalesce(jwt_refresh('$token') ->> 'error', 'tokens')") =~ s/^ERROR:  //r }
sub outcome { my ($session, $sql) = @_; return $session->ask($sql) =~ s/^ERROR:  //r }
sub sid { my ($tokens) = @_; return refresh_sid($tokens->{refresh_token}) }

my $node = new_server('main', $k1);
setup_issuing($node, 'postgres', q{grace = '0', publish_ahead = '0'});
age_server($node);
my $main = open_on($node);
my $kid = $main->must($sign);

#
# A standby, and its promotion
#

$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->append_conf('postgresql.conf', "jwt_auth.key_file = '" . put_keys($standby, $k1) . "'");
$standby->start;
my $there = open_on($standby);
my ($alice, $bob) = map { login($main, $_) } qw(alice bob);
$node->wait_for_catchup($standby);
is($there->must($sign), $kid, 'a standby signs');
my $signed = $there->must(q{SELECT jwt_sign('{"sub": "alice"}')});
is($_->must("SELECT jwt_verify('$signed') ->> 'sub'"), 'alice', 'and its token verifies') for $main, $there;
my @writes = ("jwt_start_session('$issuer', 'x')", "jwt_refresh('$alice->{refresh_token}')", "jwt_refresh('x')", "jwt_refresh(NULL)", "jwt_refresh_with('$alice->{refresh_token}', '{}')", "jwt_refresh_with('$alice->{refresh_token}', NULL)",
	"jwt_end_session('" . sid($alice) . "')", "jwt_end_sessions('$issuer')", 'jwt_prune_sessions()', "jwt_create_signing_key('$issuer')", "jwt_import_signing_key('$issuer', 'x')", "jwt_rotate_signing_key('$issuer')", 'jwt_rotate_due_signing_keys()');
for my $call (@writes)
{
	is(outcome($there, "SELECT $call"), '25006', "a standby refuses $call");
	like(($standby->psql('postgres', "SELECT $call"))[2], qr/ERROR:  cannot execute [\w ()]+ in a read-only transaction/, 'and says so');
}
is($there->must("SELECT sub FROM jwt_refresh_session('$alice->{refresh_token}')"), 'alice', 'a standby knows whose a refresh token is');
is($there->must("SELECT state, has_line, cannot_sign FROM jwt_signing_key_status"), 'current|t|', 'and the state of keys');

# what happens on the primary, a session of the standby knows
my $next = $main->must("SELECT jwt_rotate_signing_key('$issuer')");
$main->must("SELECT jwt_end_session('" . sid($bob) . "')");
$node->wait_for_catchup($standby);
is($there->must($sign), $next, 'a session of the standby signs with the next key');
is($there->must("SELECT sub FROM jwt_refresh_session('$bob->{refresh_token}')"), '', 'and refreshes no ended session');
is(outcome($there, "SELECT jwt_verify('$bob->{access_token}')"), '28J11', 'whose access token is refused');
$main->must(q{UPDATE jwt_token_policy SET audience = '{x}'});
$node->wait_for_catchup($standby);
is(outcome($there, $sign), '55000', 'a policy that makes no sense signs nothing there, either');
$main->must(q{UPDATE jwt_token_policy SET audience = '{api}'});
$node->wait_for_catchup($standby);
is($there->must($sign), $next, 'and one that does again signs');

# the key of a deleted row, and a revoked key
$main->must("SELECT jwt_revoke_key('$issuer', '$next')");
$node->wait_for_catchup($standby);
is(outcome($there, $sign), '55000', 'a revoked key signs nothing there');
my $third = $main->must("SELECT jwt_rotate_signing_key('$issuer')");
$node->wait_for_catchup($standby);
is($there->must($sign), $third, 'the one after it does');

# promotion, with a session that has signed, and an open transaction
my $open = open_on($standby);
$open->must("BEGIN; $sign");
$node->stop('immediate');
$standby->promote;
$standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
is(outcome($open, "SELECT jwt_refresh('$alice->{refresh_token}')"), '25006', 'a transaction of before the promotion stays read-only');
$open->ask('ROLLBACK');
age_server($standby);
is($there->must($sign), $third, 'a session that has signed before signs');
is(redeem($there, $alice->{refresh_token}), 'tokens', 'and refreshes');
is(redeem($open, $alice->{refresh_token}), 'invalid_grant', 'another one detects the reuse');
is(redeem($open, $bob->{refresh_token}), 'invalid_grant', 'what had ended stays ended');
my $fourth = $open->must("SELECT jwt_rotate_signing_key('$issuer')");
is($there->must($sign), $fourth, 'a rotation after the promotion reaches it');
$_->finish for $open, $there, $main;
$standby->stop;

#
# Logical replication: to a server with the same line, with another key of its name,
# with another name, and without a key file
#

my $publisher = new_server('publisher', $k1);
setup_issuing($publisher, 'postgres', q{grace = '0', publish_ahead = '0'});
age_server($publisher);
my $from = open_on($publisher);
$from->must('CREATE TABLE beacon (n int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE jwt_denylist, jwt_issuer, jwt_key, jwt_token_policy, jwt_signing_key, jwt_session, beacon');
my %there;
my %server = (same => [$k1], other => [ key_line('k1') ], renamed => [ $k1 =~ s/^k1/k2/r ], none => []);
($alice, $bob) = map { login($from, $_) } qw(alice bob);
my $carol = login($from, 'carol');
for my $name (sort keys %server)
{
	my $subscriber = new_server($name, @{ $server{$name} });
	$there{$name} = open_on($subscriber);
	$there{$name}->must('CREATE EXTENSION jwt_auth CASCADE; CREATE TABLE beacon (n int PRIMARY KEY)');
	$there{$name}->must("CREATE SUBSCRIPTION s_$name CONNECTION '" . $publisher->connstr . " dbname=postgres' PUBLICATION p");
	age_server($subscriber);
	$server{$name} = $subscriber;
}
my $beacon = 0;
# Change something, and wait until each subscriber has it.
sub publish
{
	my ($sql) = @_;
	my $result = $from->must($sql);
	$beacon++;
	$from->must("INSERT INTO beacon VALUES ($beacon)");
	for my $name (sort keys %there)
	{
		until_true(sub { $there{$name}->must('SELECT coalesce(max(n), 0) FROM beacon') == $beacon }) or die "$name does not follow";
	}
	return $result;
}
sub each_says
{
	my ($sql) = @_;
	return join(' ', map { "$_: " . outcome($there{$_}, $sql) } sort keys %there);
}
publish('SELECT');
until_true(sub { outcome($_, q{SELECT count(*) FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')}) eq '0' }) or die 'not copied' for values %there;
$kid = $from->must($sign);
is(each_says($sign), "none: 55000 other: XX001 renamed: 55000 same: $kid", 'only the same line opens a key');
like(($server{none}->psql('postgres', $sign))[2], qr/DETAIL:  No key file is configured/, 'without a key file it says so');
like(($server{other}->psql('postgres', $sign))[2], qr/DETAIL:  The sealed private key does not open: It was sealed for another row or with another key of this name/, 'and with another key');
like(($server{renamed}->psql('postgres', $sign))[2], qr/DETAIL:  Key "k1" is not in the key file/, 'and without the line');
is(each_says("SELECT has_line, cannot_sign IS NULL FROM jwt_signing_key_status"), 'none: f|f other: t|f renamed: f|f same: t|t', 'the view says so, too');
is(each_says("SELECT jwt_verify('$alice->{access_token}') ->> 'sub'"), join(' ', map { "$_: alice" } sort keys %there), 'tokens verify everywhere');
my @log = map { -s $server{$_}->logfile } sort keys %server;
is(join(' ', map { "$_: " . redeem($there{$_}, $alice->{refresh_token}) } grep { $_ ne 'same' } sort keys %there), 'none: 55000 other: invalid_grant renamed: invalid_grant', 'a refresh token is good nowhere else');
is(each_says('SELECT count(*) FROM jwt_session WHERE ended_at IS NULL'), join(' ', map { "$_: 3" } sort keys %there), 'and has ended no session');
is(each_says("SELECT jwt_verify('$alice->{access_token}') ->> 'sub'"), join(' ', map { "$_: alice" } sort keys %there), 'nor revoked its tokens');
like(substr(slurp_file($server{renamed}->logfile), $log[2]), qr/LOG:  a refresh token of session @{[ sid($alice) ]} was refused: key "k1" is not in the key file/, 'the log names the line that is missing');

# what the publisher changes, sessions that have signed see at their next statement
publish(q{UPDATE jwt_token_policy SET access_lifetime = '5 minutes'});
my $lifetime = q{SELECT (c ->> 'exp')::int - (c ->> 'iat')::int FROM jwt_unverified_claims(jwt_sign('{"sub": "alice"}')) c};
is(outcome($there{same}, $lifetime), '300', 'another policy');
$next = publish("SELECT jwt_rotate_signing_key('$issuer')");
is(outcome($there{same}, $sign), $next, 'the next key signs');
publish("SELECT jwt_end_session('" . sid($bob) . "'); SELECT jwt_revoke_session('$issuer', '" . sid($carol) . "')");
is(redeem($there{same}, $_->{refresh_token}), 'invalid_grant', 'a session that has ended or is revoked is not refreshed') for $bob, $carol;
is(each_says("SELECT coalesce((jwt_inspect('$_->{access_token}')).sqlstate, 'valid')"), join(' ', map { "$_: 28J11" } sort keys %there), 'and its tokens are refused everywhere') for $bob, $carol;

# as after pg_restore --disable-triggers: what is applied fires no trigger
my @triggers = map { my $table = $_; map { "ALTER TABLE $table ENABLE %s TRIGGER ${table}_$_" } qw(check changed) } qw(jwt_token_policy jwt_signing_key);
for my $trigger (@triggers)
{
	$server{same}->safe_psql('postgres', $trigger =~ s/%s//r);
	is(outcome($there{same}, $lifetime) . ' ' . outcome($there{same}, $sign), "300 $next", "before, $trigger" =~ s/%s //r);
	publish(q{UPDATE jwt_token_policy SET access_lifetime = '4 minutes'});
	is(outcome($there{same}, $lifetime), '240', 'another policy') or diag $trigger;
	publish("DELETE FROM jwt_signing_key WHERE kid = '$next'");
	is(outcome($there{same}, $sign), '55000', 'a key that is gone signs no more') or diag $trigger;
	$next = publish("UPDATE jwt_token_policy SET access_lifetime = '5 minutes'; SELECT jwt_create_signing_key('$issuer')");
	$server{same}->safe_psql('postgres', $trigger =~ s/%s/ALWAYS/r);
}

# two servers with one line: who refreshes on both in turn is not logged out
my $token = $alice->{refresh_token};
for my $session ($from, $there{same}, $from, $there{same})
{
	my $answer = decode_json($session->must("SELECT jwt_refresh('$token')"));
	is($answer->{error}, undef, 'a refresh here and there');
	$token = $answer->{refresh_token} // $token;
	publish('SELECT');
}

# the new servers make keys of their own
is(outcome($there{renamed}, "SELECT jwt_create_signing_key('$issuer', 'ES256', 'own') "), 'own', 'a server with another line makes its own key');
is(outcome($there{renamed}, $sign), 'own', 'which signs');
publish("SELECT jwt_rotate_signing_key('$issuer')");
isnt(outcome($there{renamed}, $sign), 'own', 'until a later one comes from the publisher');

# every row is refused that cannot be read, and stops nothing
publish(qq{INSERT INTO jwt_signing_key (id, issuer, kid, alg, jwk, activate_at, salt, sealed) VALUES
	(gen_random_uuid(), '$issuer', NULL, NULL, NULL, '-infinity', NULL, NULL), (gen_random_uuid(), NULL, 'x', 'x', '[]', 'infinity', '', ''),
	(gen_random_uuid(), 'https://a.example', repeat('x', 5000), 'ES256', '{"kty": "EC"}', now(), '\\x00', decode(repeat('01', 100000), 'hex'));
	INSERT INTO jwt_session (issuer, sub, claims, started_at, expires_at, rotated_at, counter, seed) VALUES (NULL, NULL, '[1]', '-infinity', 'infinity', 'infinity', -1, '\\x'), ('$issuer', 'x', 'null', now(), now(), now(), 9223372036854775807, '\\x00');
	INSERT INTO jwt_token_policy (issuer) VALUES ('https://a.example'), ('')});
is(each_says('SELECT count(*) FROM jwt_signing_key_status WHERE issuer IS NULL OR kid IS NULL'), join(' ', map { "$_: 2" } sort keys %there), 'rows that make no sense are stored everywhere');
$_->finish for values %there;
$_->stop for values %server;
unlike(slurp_file($_->logfile), qr/was terminated by signal|PANIC|TRAP/, 'no server process has crashed') for values %server;

#
# Restores, by the owner of the database and by a superuser
#

my $dir = PostgreSQL::Test::Utils::tempdir();
my $source = new_server('source', $k1);
$source->safe_psql('postgres', 'CREATE ROLE boss LOGIN; CREATE ROLE admin LOGIN SUPERUSER; CREATE DATABASE source OWNER boss');
my $boss = LifeTest->new($source->connstr('source') . ' user=boss', 'SET client_min_messages = error');
$boss->must("CREATE EXTENSION jwt_auth CASCADE; SELECT jwt_add_issuer('$issuer', '{api}', '{ES256,EdDSA}'); INSERT INTO jwt_token_policy (issuer, audience, grace, publish_ahead) VALUES ('$issuer', '{api}', '0', '0')");
$boss->must("SELECT jwt_create_signing_key('$issuer', 'EdDSA', 'first'); SELECT jwt_create_signing_key('$issuer', 'ES256', 'second'); SELECT jwt_create_signing_key('$issuer', 'ES256', 'third', now() + interval '10 days'); CREATE ROLE api LOGIN; GRANT EXECUTE ON FUNCTION jwt_refresh TO api")
  if $source->safe_psql('postgres', 'ALTER ROLE boss CREATEROLE') eq '';
age_server($source);
($alice, $bob, $carol) = map { login($boss, $_) } qw(alice bob carol);
my $dave = login($boss, 'dave');
$boss->must("SELECT jwt_end_session('" . sid($bob) . "'); SELECT jwt_revoke_session('$issuer', '" . sid($carol) . "'); SELECT jwt_revoke_subject('$issuer', 'dave', 'infinity')");
my $rows = join('; ', map { "SELECT '$_', t.* FROM $_ t ORDER BY 2" } qw(jwt_token_policy jwt_signing_key jwt_session jwt_denylist));
my $contents = $boss->must($rows);

# All that must hold for a copy
sub is_right
{
	my ($name, $copy, $db) = @_;
	my $as = LifeTest->new($copy->connstr($db) . ' user=boss', 'SET client_min_messages = error');
	is($as->must($rows), $contents, "$name: every row");
	is($as->must('SELECT kid, state, cannot_sign FROM jwt_signing_key_status ORDER BY kid'), "first|previous|\nsecond|current|\nthird|standby|", "$name: the states of keys");
	is(outcome($as, $sign), 'second', "$name: the owner signs");
	my $api = LifeTest->new($copy->connstr($db) . ' user=api');
	is(join(' ', map { redeem($api, $_->{refresh_token}) } $bob, $carol, $dave, $alice), 'invalid_grant invalid_grant invalid_grant tokens', "$name: live sessions are refreshed, others are not");
	is($as->must(join('; ', map { "SELECT coalesce((jwt_inspect('$_->{access_token}')).sqlstate, 'valid')" } $alice, $bob, $carol, $dave)), "valid\n28J11\n28J11\n28J11", "$name: the verdicts");
	is($as->must("SELECT jwt_create_signing_key('$issuer', 'EdDSA', 'new', now()); $sign"), "new\nnew", "$name: and signs with a new key");
	is(outcome($api, 'SELECT count(*) FROM jwt_session'), '42501', "$name: others read nothing");
	$_->finish for $as, $api;
	return;
}
my $n = 0;
for my $case ([ 'custom', [ '-Fc' ], 1 ], [ 'directory', [ '-Fd', '-j', '2' ], 1 ], [ 'directory, four jobs', [ '-Fd', '-j', '2' ], 4 ], [ 'plain', ['-Fp'], 0 ], [ 'INSERTs', [ '-Fp', '--inserts' ], 0 ])
{
	my ($name, $flags, $jobs) = @$case;
	my $file = "$dir/" . ++$n;
	IPC::Run::run([ 'pg_dump', '-U', 'boss', @$flags, '-f', $file, $source->connstr('source') ]) or die 'pg_dump';
	if ($jobs)
	{
		my ($out) = run_command([ 'pg_restore', '-l', $file ]);
		is(join(' ', $out =~ /TABLE DATA public (\S+)/g), 'jwt_denylist jwt_issuer jwt_jwks_source jwt_key jwt_session jwt_signing_key jwt_token_policy', "$name: revocations come before sessions and keys");
	}
	for my $by (qw(boss admin))
	{
		my $db = "copy_$n$by";
		$source->safe_psql('postgres', "CREATE DATABASE $db OWNER boss");
		my ($out, $err) = ('', '');
		IPC::Run::run([ $jobs ? ('pg_restore', ($jobs > 1 ? ('-j', $jobs) : ()), $file) : ('psql', '-Xq', '-f', $file), '-U', $by, '-d', $source->connstr($db) ], '>', \$out, '2>', \$err);
		# the grant of the owner of the database needs a superuser
		my @errors = grep { /ERROR|error:/ && !/permission denied to set session authorization "pg_database_owner"/ } split(/\n/, $err);
		is("@errors", '', "$name by $by: no error");
		$source->safe_psql($db, 'GRANT EXECUTE ON FUNCTION jwt_refresh TO api') if $by eq 'boss';
		is_right("$name by $by", $source, $db);
	}
}

#
# pg_upgrade
#

$boss->finish;
$source->stop;
my $upgraded = PostgreSQL::Test::Cluster->new('upgraded');
$upgraded->init;
chdir $dir or die;
command_ok([ 'pg_upgrade', '--no-sync', '-d', $source->data_dir, '-D', $upgraded->data_dir, '-b', $source->config_data('--bindir'), '-B', $source->config_data('--bindir'), '-s', $upgraded->host, '-p', $source->port, '-P', $upgraded->port ], 'pg_upgrade');
$upgraded->append_conf('postgresql.conf', "$conf\njwt_auth.key_file = '" . put_keys($upgraded, $k1) . "'");
$upgraded->start;
age_server($upgraded);
is_right('pg_upgrade', $upgraded, 'source');
$upgraded->stop;

done_testing();
