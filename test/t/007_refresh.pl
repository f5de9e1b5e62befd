# The workers of jwt_jwks fetch key sets, follow a rotation, and survive errors of an
# endpoint, a database or a server.
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

sub set_keys
{
	my ($name, @kids) = @_;
	my $json = '{"keys":[' . join(',', map { slurp_file("$dir/$_.jwk") } @kids) . ']}';
	open(my $fh, '>', "$dir/$name.new") or die;
	print $fh $json;
	close $fh;
	rename("$dir/$name.new", "$dir/$name") or die;
	return;
}

# The requests to the endpoint since the last call.
my $seen = 0;
sub requests
{
	my @lines = -e "$dir/log" ? grep { !/canary/ } split(/\n/, slurp_file("$dir/log")) : ();
	my @new = @lines[ $seen .. $#lines ];
	$seen = @lines;
	return @new;
}

my %token = map { my $t = slurp_file("$dir/$_.token"); ($_ => $t) } qw(k1 k2 k3 k3b anonymous anonymous2);

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
preload_fetcher($node, $dir, 'jwt_jwks.timeout = 5000', 'jwt_jwks.cooldown = 1500', 'log_min_messages = log', 'restart_after_crash = on');
$node->start;

sub sql { return $node->safe_psql('postgres', shift) }

# A worker completes an interrupted refresh of a session, although nothing else wakes
# it. The result is checked below, because it takes half a minute.
set_keys('retry', 'k1');
$node->safe_psql('postgres', 'CREATE DATABASE retry');
$node->safe_psql('retry', qq{CREATE EXTENSION jwt;
	INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://set.example', '{api}', '{ES256}');
	INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://set.example', 'https://localhost:$port{good}/set/retry?canary')});
ok($node->poll_query_until('retry', 'SELECT last_success = last_attempt FROM jwt_jwks_state'), 'a source is fetched');
ok($node->poll_query_until('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker'}, '0'), 'and the worker ends');
unlink("$dir/retry") or die;
my (undef, undef, $retry_error) = $node->psql('retry', q{SELECT jwt_refresh_jwks('https://set.example')});
like($retry_error, qr/HTTP status 404/, 'a refresh that fails');
set_keys('retry', 'k2');

# The message of an error, without its SQLSTATE.
sub refusal
{
	my ($sql, $db) = @_;
	my ($rc, $stdout, $stderr) = $node->psql($db // 'postgres', $sql);
	return $rc == 0 ? "accepted: $stdout" : $stderr;
}

sub wait_for
{
	my ($query, $expected, $what) = @_;
	my $start = time();
	my $good = $node->poll_query_until('postgres', $query, $expected);
	ok($good, sprintf('%s (%.1f s)', $what, time() - $start));
	return;
}
sub quiet { ok(turn($node, 'postgres', "https://localhost:$port{good}/set/one"), 'a worker has had its turn'); return }

my $state = state();
my $valid = sub { my $kid = shift; "SELECT coalesce((SELECT sqlstate FROM jwt_inspect('$token{$kid}', issuer => 'https://set.example')), 'valid')" };

# its first worker may run, too
wait_for(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jwt_jwks launcher'}, '1', 'the launcher runs');

# A source that is added is fetched at once.
set_keys('one', 'k1');
sql(qq{CREATE EXTENSION jwt;
	INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://set.example', '{api}', '{ES256}');
	INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://set.example', 'https://localhost:$port{good}/set/one')});
wait_for($valid->('k1'), 'valid', 'a source that is added is fetched');
is(sql(q{SELECT last_error IS NULL, failures, last_success = last_attempt, last_change = last_attempt, etag ~ '^"[0-9a-f]{40}"$',
		next_attempt - last_attempt BETWEEN interval '53 minutes' AND interval '61 minutes' FROM jwt_jwks_state}),
	't|0|t|t|t|t', 'and its state tells');
is(join(' ', requests()), 'GET /set/one', 'by one request');

# The issuer rotates its key: a token of the new key wakes the worker, for every caller.
set_keys('one', 'k1', 'k2');
sql('CREATE ROLE somebody LOGIN');
is($node->safe_psql('postgres', $valid->('k2'), extra_params => [ '-U', 'somebody' ]), '28J03', 'a new key is not known yet');
wait_for($valid->('k2'), 'valid', 'and then it is');
is(sql($valid->('k1')), 'valid', 'the old one still is');
# the old key is retired
set_keys('one', 'k2');
sql(due());
wait_for($valid->('k1'), '28J03', 'a key that is gone is refused');
is(sql($valid->('k2')), 'valid', 'the other is not');
requests();

# Random kids cause at most one request per cooldown.
my $forged = sub { my $kid = shift; require MIME::Base64; my $h = MIME::Base64::encode_base64url(qq({"alg":"ES256","kid":"$kid"})); "$h.e30.AAAA" };
my $flood = sub { sql(join(';', map { "SELECT sqlstate FROM jwt_inspect('" . $forged->("x$_" . rand()) . "')" } 1 .. 50)) };
my @flood;
my $start = time();
ok(wait_until(sub { $flood->(); push @flood, requests(); @flood >= 2 }), 'random kids cause requests');
my $took = time() - $start;
# a busy machine takes longer, so more fetches are allowed
cmp_ok(scalar(@flood), '<=', 2 + $took / 1.5, sprintf('but no more than one each cooldown: %d in %.1f s', scalar(@flood), $took));
is(scalar(grep { !/304$/ } @flood), 0, 'answered by: not modified');
is(sql('SELECT last_error IS NULL FROM jwt_jwks_state'), 't', 'which is no error');

# The cooldown also limits a launcher that starts workers more often.
reload($node, q{SET jwt_jwks.cooldown = '1h'});
sql(due());
quiet();
requests();
$flood->();
quiet();
is(scalar(requests()), 0, 'and none while a longer cooldown lasts');
is(sql(q{SELECT next_attempt - last_attempt <= interval '1 hour' FROM jwt_jwks_state}), 't', 'but one at its end');
reload($node, 'RESET jwt_jwks.cooldown');
sql(due());

# max-age can shorten the interval, within limits.
for my $case ([ 600, 540, 630 ], [ 1, 54, 90 ], [ 99999999, 3200, 3630 ])
{
	my ($age, $least, $most) = @$case;
	sql("UPDATE jwt_jwks_source SET uri = 'https://localhost:$port{good}/set/one?max-age=$age'");
	wait_for("SELECT last_success = last_attempt AND next_attempt > now() FROM $state", 't', "max-age=$age");
	is(sql("SELECT extract(epoch FROM next_attempt - last_attempt) BETWEEN $least AND $most FROM $state"), 't', "is waited for $least to $most s");
}

# A refresh on request of a session.
is(sql(q{SELECT * FROM jwt_refresh_jwks('https://set.example')}), '0|0|0|1|0', 'a refresh of what is not modified changes nothing');
sql(q{DELETE FROM jwt_key WHERE kid = 'k2'});
is(sql(q{SELECT * FROM jwt_refresh_jwks('https://set.example')}), '1|0|0|0|0', 'and brings back what was removed here');
set_keys('one', 'k2', 'k3');
is(sql(q{SELECT * FROM jwt_refresh_jwks('https://set.example')}), '1|0|0|1|0', 'a refresh tells what it changed');
set_keys('one', 'k2');
is(sql(q{SELECT * FROM jwt_refresh_jwks('https://set.example')}), '0|0|1|1|0', 'and what it retired');
# The worker that a changed uri wakes does not disturb it.
my @moved = map { refusal("UPDATE jwt_jwks_source SET uri = 'https://localhost:$port{good}/set/one?$_'; SELECT unchanged FROM jwt_refresh_jwks('https://set.example')") } 1 .. 60;
is(scalar(grep { $_ ne 'accepted: 1' } @moved), 0, 'a source that was moved just now can be refreshed') or diag(join("\n", @moved));
like(refusal(q{SELECT jwt_refresh_jwks('https://nobody.example')}), qr/no row in jwt_jwks_source/, 'an issuer without source');
like(refusal(q{BEGIN; INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://a.example', '{api}', '{ES256}');
	INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://a.example', 'https://localhost/'); SELECT jwt_refresh_jwks('https://a.example')}),
	qr/no row in jwt_jwks_source that is committed/, 'a source that is not committed');
like(refusal(q{BEGIN; UPDATE jwt_issuer SET max_age = '1 day'; SELECT jwt_refresh_jwks('https://set.example')}),
	qr/could not be written/, 'an issuer that the same session has locked');

# A set that was not modified is imported again if the keys have changed here.
sql(qq{UPDATE jwt_jwks_source SET uri = 'https://localhost:$port{good}/set/one'});
wait_for("SELECT last_success = last_attempt AND etag IS NOT NULL FROM $state", 't', 'a source that was moved is fetched');
sub fetched
{
	my $what = shift;
	my $now = sql('SELECT clock_timestamp(); ' . due());
	wait_for("SELECT last_success = last_attempt AND last_attempt > '$now' FROM $state", 't', $what);
	return;
}
# Wait until no worker is running or was woken, and set the last fetch to an hour ago, so
# that there is no cooldown.
sub cooled_down
{
	fetched('nothing else is asked for');
	quiet();
	sql(q{UPDATE jwt_jwks_state SET last_attempt = last_attempt - interval '1 hour', last_success = last_success - interval '1 hour'});
	return;
}
requests();
# Storing the state of a fetch invalidates no cache.
my $session = open_session($node->connstr('postgres'));
my $cached = "SELECT count(jwt_verify('$token{k2}')) FROM generate_series(1, 2); SELECT hits > 0, invalidations FROM jwt_cache()";
my $flushes = $session->($cached);
fetched('a source that is due is fetched');
is(join(' ', requests()), 'GET /set/one 304', 'and was not modified');
is($session->($cached), $flushes, 'and no cache was flushed');
sql(q{UPDATE jwt_key SET created_at = created_at});
isnt($session->($cached), $flushes, 'as it is by a write to a key');
$session->();
for my $change ([ 'a key that was removed here', q{DELETE FROM jwt_key WHERE kid = 'k2'} ],
	[ 'a key that was closed here', q{UPDATE jwt_key SET retired_at = now(), not_after = now() WHERE kid = 'k2'} ])
{
	# not by the worker that the token wakes
	sql(park() . "; $change->[1]");
	is(sql($valid->('k2')), '28J03', $change->[0] . ' is refused');
	fetched('the set is fetched');
	is(sql($valid->('k2')), 'valid', 'and it comes back');
	is(join(' ', requests()), 'GET /set/one', 'by a request that does not ask if it was modified');
}
sql(q{UPDATE jwt_issuer SET algorithms = '{RS256}'; UPDATE jwt_issuer SET algorithms = '{ES256}'});
fetched('a source whose policy was changed and changed back is fetched');
is(join(' ', requests()), 'GET /set/one 304', 'is what it was');

# A token wakes the worker also for a new key with a known kid, or without a kid.
set_keys('one', 'k2', 'k3');
sql(q{SELECT jwt_refresh_jwks('https://set.example')});
cooled_down();
set_keys('one', 'k2', 'k3b');
is(sql($valid->('k3b')), '28J04', 'another key under a kid that is known');
wait_for($valid->('k3b'), 'valid', 'is noticed');
is(sql($valid->('k3')), '28J04', 'and the one before is trusted no longer');
cooled_down();
set_keys('one', 'k2', 'anonymous');
is(sql($valid->('anonymous')), '28J04', 'a key without kid');
wait_for($valid->('anonymous'), 'valid', 'is noticed');
cooled_down();
set_keys('one', 'k2', 'anonymous2');
is(sql($valid->('anonymous2')), '28J04', 'another one');
wait_for($valid->('anonymous2'), 'valid', 'too');
is(sql($valid->('anonymous')), '28J04', 'and the one before is trusted no longer');
set_keys('one', 'k2');
sql(q{SELECT jwt_refresh_jwks('https://set.example')});

# A single token just after a fetch, bad or good, suffices: the source is fetched when
# the cooldown has passed.
cooled_down();
$session = open_session($node->connstr('postgres'));
my $asked = sql('SELECT last_attempt FROM jwt_jwks_state');
like($session->("SELECT sqlstate FROM jwt_inspect('" . $forged->('nobody') . "')"), qr/28J03/, 'a garbage token');
wait_for("SELECT last_attempt > '$asked' AND last_success = last_attempt FROM $state", 't', 'has the source fetched');
set_keys('one', 'k2', 'k3');
like($session->("SELECT sqlstate FROM jwt_inspect('" . $forged->('nobody') . "')"), qr/28J03/, 'the next one comes while it cools down');
# the same for a token of a new key
$session->($valid->('k3'));
wait_for(q{SELECT count(*) FROM jwt_key_status WHERE kid = 'k3' AND verifies}, '1', 'which is fetched without another token');
$session->();
set_keys('one', 'k2');
sql(q{SELECT jwt_refresh_jwks('https://set.example')});

# A source can be parked forever, and no token makes it due.
cooled_down();
sql(park());
requests();
sql($valid->('k1'));
quiet();
is(scalar(requests()), 0, 'a source that was put off to infinity is not fetched');
# also if its uri or the name of its issuer changes
sql(qq{UPDATE jwt_jwks_source SET uri = 'https://localhost:$port{good}/set/one?parked'});
quiet();
sql(q{UPDATE jwt_issuer SET issuer = 'https://moved.example' WHERE issuer = 'https://set.example'});
quiet();
is(sql('SELECT issuer, next_attempt FROM jwt_jwks_state'), 'https://moved.example|infinity', 'and stays there when it or its issuer moves');
sql(q{UPDATE jwt_issuer SET issuer = 'https://set.example' WHERE issuer = 'https://moved.example'});
quiet();
is(scalar(requests()), 0, 'without a request');
is(sql(q{SELECT unchanged FROM jwt_refresh_jwks('https://set.example')}), '1', 'unless somebody asks for it');
is(sql('SELECT next_attempt FROM jwt_jwks_state'), 'infinity', 'and stays there then, too');
is(join(' ', requests()), 'GET /set/one?parked', 'by one request, to where it is now');
# until it is made due, or deleted and added again
fetched('a source that was put off is fetched when it is due again');
sql(park());
sql('DELETE FROM jwt_jwks_source');
quiet();
is(sql('SELECT count(*) FROM jwt_jwks_state'), '0', 'a source that is removed leaves nothing behind');
sql(qq{INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://set.example', 'https://localhost:$port{good}/set/one')});
wait_for(q{SELECT last_success = last_attempt AND next_attempt < 'infinity' FROM jwt_jwks_state}, 't', 'and is fetched when it is added again');
# Times at the limits of a timestamp.
reload($node, q{SET jwt_jwks.cooldown = '1h'});
for my $last ('infinity', '-infinity', '294276-12-31 23:59:59.9', '4713-01-02 BC')
{
	quiet();
	my $now = sql("SELECT clock_timestamp(); UPDATE jwt_jwks_state SET uri = s.uri, last_attempt = '$last', failures = 2147483647, next_attempt = now() + interval '1 day' FROM jwt_jwks_source s");
	sql($valid->('k1'));
	wait_for("SELECT last_attempt BETWEEN '$now' AND now() AND failures = 0 AND next_attempt > now() FROM jwt_jwks_state", 't', "a source with last_attempt $last is woken at once");
}
reload($node, 'RESET jwt_jwks.cooldown');
requests();

# The number of concurrent refreshes by sessions is limited.
set_keys('slow', 'k2');
reload($node, q{SET jwt_jwks.timeout = '2min'});
sql(join(';', map { "INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://slow$_.example', '{api}', '{ES256}');
	BEGIN; INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://slow$_.example', 'https://localhost:$port{good}/held/slow'); " . park("issuer = 'https://slow$_.example'") . '; COMMIT' } 1 .. 5));
quiet();
sub refresh_at_once
{
	my ($workers, @issuers) = @_;
	my $release = hold($dir, 'slow');
	my @outcomes = map { { out => '', err => '' } } @issuers;
	my @waiting = map { IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SELECT added + unchanged FROM jwt_refresh_jwks('https://$issuers[$_].example')" ],
			'>', \$outcomes[$_]{out}, '2>', \$outcomes[$_]{err}, IPC::Run::timeout(180)) } 0 .. $#issuers;
	wait_for(q{SELECT count(*) FILTER (WHERE wait_event_type = 'Lock'), count(*) FILTER (WHERE lower(wait_event) = 'bgworkershutdown') FROM pg_stat_activity
		WHERE query LIKE 'SELECT added + unchanged FROM jwt_refresh_jwks(%'}, @issuers - $workers . "|$workers", "of @issuers some refresh, and the others wait");
	is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker'}), $workers, "for $workers at a time workers fetch");
	$release->();
	$_->finish for @waiting;
	is(join('', map { $_->{out} . $_->{err} } @outcomes), "1\n" x @issuers, 'and all are done');
	return;
}
refresh_at_once(2, map { "slow$_" } 1 .. 5);
# Refreshes of one issuer do not overlap.
refresh_at_once(1, ('slow1') x 4);
sql(q{DELETE FROM jwt_issuer WHERE issuer LIKE 'https://slow%'});
reload($node, 'RESET jwt_jwks.timeout');

# The number of connections is limited, and sources that were fetched together are
# spread later.
set_keys('slow', 'k2');
reload($node, q{SET jwt_jwks.max_connections = 1});
sql(join(';', map { "INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://slow$_.example', '{api}', '{ES256}');
	INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://slow$_.example', 'https://localhost:$port{good}/delay/300-slow')" } 1 .. 4));
my $one_by_one = time();
wait_for(q{SELECT count(*) FROM jwt_jwks_state WHERE issuer LIKE 'https://slow%' AND last_success = last_attempt}, '4', 'four slow sources with one connection');
# a busy machine takes longer
cmp_ok(time() - $one_by_one, '>', 1.1, 'are fetched one by one');
reload($node, 'RESET jwt_jwks.max_connections');
is(sql(q{SELECT max(next_attempt) - min(next_attempt) > interval '5 s' FROM jwt_jwks_state WHERE issuer LIKE 'https://slow%'}), 't', 'and not in step the next time');
sql(q{DELETE FROM jwt_issuer WHERE issuer LIKE 'https://slow%'});
# The size of documents is limited.
reload($node, q{SET jwt_jwks.max_document_size = '1kB'});
for my $case ([ 1025, qr/larger than 1024 bytes/, 'a document that is a byte too large' ], [ 1024, qr/could not be imported/, 'and one that is not' ])
{
	my ($size, $error, $what) = @$case;
	append_to_file("$dir/size$size", '{"keys":["' . 'x' x ($size - 13) . '"]}');
	sql("UPDATE jwt_jwks_source SET uri = 'https://localhost:$port{good}/set/size$size'");
	like(refusal(q{SELECT jwt_refresh_jwks('https://set.example')}), $error, $what);
}
reload($node, 'RESET jwt_jwks.max_document_size');
sql(qq{UPDATE jwt_jwks_source SET uri = 'https://localhost:$port{good}/set/one'});

# Errors: the keys stay as they are, and the state has the error and the time of the
# next attempt.
my $where = qr/The endpoint could not be reached, or did not prove to be the host that was asked for\.$/;
my $closed = PostgreSQL::Test::Cluster::get_free_port();
my $no_set = qr/could not be imported as a JWK Set/;
# an escape sequence, and a character that reverses the text after it
my $hostile = "\e[31m\xe2\x80\xae";
my $deep = '{"x":' . '[' x 70 . ']' x 70;
my @faults = (
	[ 'down', "https://localhost:$closed/set/one", $where ],
	[ 'silent', "https://localhost:$port{good}/silent", $where ],
	[ 'dripping', "https://localhost:$port{good}/drip", qr/answer took longer than 700 ms/ ],
	[ 'HTTP 500', "https://localhost:$port{good}/status/500", qr/HTTP status 500/ ],
	[ 'HTTP 404', "https://localhost:$port{good}/status/404", qr/HTTP status 404/ ],
	[ 'HTTP 204', "https://localhost:$port{good}/status/204", qr/HTTP status 204/ ],
	[ 'HTTP 304, unasked', "https://localhost:$port{good}/status/304", qr/nothing has changed \(HTTP status 304\), without having been asked/ ],
	[ 'a redirect', "https://localhost:$port{good}/redirect?to=/set/one", qr/redirects \(HTTP status 302\)/ ],
	[ 'a redirect elsewhere', "https://localhost:$port{good}/redirect?to=file%3A///etc/passwd", qr/redirects \(HTTP status 302\)/ ],
	[ '10 MB', "https://localhost:$port{good}/big", qr/larger than 1048576 bytes/ ],
	[ 'without end', "https://localhost:$port{good}/endless", qr/larger than 1048576 bytes/ ],
	[ 'half a body', "https://localhost:$port{good}/half", qr/broke off/ ],
	[ 'no body', "https://localhost:$port{good}/body/", $no_set ],
	[ 'HTML', "https://localhost:$port{good}/body/" . unpack('H*', '<html></html>'), $no_set ],
	[ 'a truncated set', "https://localhost:$port{good}/body/" . unpack('H*', substr(slurp_file("$dir/one"), 0, 60)), $no_set ],
	[ 'an empty set', "https://localhost:$port{good}/body/" . unpack('H*', '{"keys":[]}'), $no_set ],
	[ 'a set without a usable key', "https://localhost:$port{good}/body/" . unpack('H*', '{"keys":[{"kty":"RSA","use":"enc"}]}'), $no_set ],
	[ 'another document', "https://localhost:$port{good}/body/" . unpack('H*', '{"error":"x"}'), $no_set ],
	[ 'a member of the set twice', "https://localhost:$port{good}/body/" . unpack('H*', '{"keys":[],' . substr(slurp_file("$dir/one"), 1)), $no_set ],
	[ 'a NUL byte', "https://localhost:$port{good}/body/" . unpack('H*', "{\"keys\":[\0]}"), $no_set ],
	[ 'an escaped NUL', "https://localhost:$port{good}/body/" . unpack('H*', '{"keys":["\u0000"]}'), $no_set ],
	[ 'invalid UTF-8', "https://localhost:$port{good}/body/" . unpack('H*', "{\"keys\":[\"\xff\"]}"), $no_set ],
	[ 'deep nesting', "https://localhost:$port{good}/set/deep", $no_set ],
	[ 'deep nesting beside a good key', "https://localhost:$port{good}/body/" . unpack('H*', $deep . ',' . substr(slurp_file("$dir/one"), 1)), $no_set ],
	[ 'a certificate for another host', "https://localhost:$port{'wrong-host'}/set/one", $where ],
	[ 'an expired certificate', "https://localhost:$port{expired}/set/one", $where ],
	[ 'an unknown authority', "https://localhost:$port{'unknown-authority'}/set/one", $where ],
	[ 'a certificate that forges lines of the log', "https://localhost:$port{'forged-name'}/set/one", $where ],
	[ 'no TLS at all', "https://localhost:$port{plain}/set/one", $where ],
	[ 'http', "http://localhost:$port{plain}/set/one", qr/not https; jwt_jwks.allow_http_to_loopback is off/ ],
	[ 'a host that is not allowed', 'https://idp.example/set/one', qr/not one of those in jwt_jwks.allowed_hosts/ ],
	[ 'an address in another spelling', "https://127.1:$port{good}/set/one", qr/not one of those in jwt_jwks.allowed_hosts/ ],
	[ 'an unknown host', "https://localhost.invalid:$port{good}/set/one", qr/not one of those in jwt_jwks.allowed_hosts/ ],
	[ 'no URL', 'one', qr/The "uri" is not an HTTP URL/ ],
	[ 'another scheme', 'file:///etc/passwd', qr/The "uri" is not an HTTP URL/ ],
	[ 'a space', "https://localhost:$port{good}/set/one ", qr/has a space, a control character or a fragment/ ],
	[ 'a line feed', "https://localhost:$port{good}/set/one\n", qr/has a space, a control character or a fragment/ ],
	[ 'a URL that is a byte too long', "https://localhost:$port{good}/set/" . 'x' x (2049 - length("https://localhost:$port{good}/set/")), qr/longer than 2048 bytes/ ],
	[ 'one that is not', "https://localhost:$port{good}/set/" . 'x' x (2048 - length("https://localhost:$port{good}/set/")), qr/HTTP status 404/ ],
	[ 'characters that turn a line round', "https://localhost:$port{good}/set/\xe2\x80\xae", qr/HTTP status 404/ ],
	[ 'a user in the URL', "https://user:hush-hush\@localhost:$port{good}/set/one", qr/has a user name/ ],
	[ 'no issuer URL to discover from', undef, qr/is of another issuer|allowed_hosts/ ],
);
append_to_file("$dir/deep", ('[' x 500_000));
sql(q{INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://fault.example', '{api}', '{ES256}');
	INSERT INTO jwt_key (issuer, kid, alg, jwk, source) SELECT 'https://fault.example', kid, alg, jwk, 'jwks' FROM jwt_key WHERE issuer = 'https://set.example' AND kid = 'k2'});
my $keys = q{SELECT string_agg(k::text, ' ' ORDER BY k) FROM jwt_key k WHERE issuer = 'https://fault.example'};
my $before = sql($keys);
for my $fault (@faults)
{
	my ($what, $uri, $error) = @$fault;
	my $slow = $what =~ /^(silent|dripping)$/;
	reload($node, q{SET jwt_jwks.timeout = 700}) if $slow;
	sql(sprintf(q{DELETE FROM jwt_jwks_source WHERE issuer = 'https://fault.example'; DELETE FROM jwt_jwks_state WHERE issuer = 'https://fault.example';
		INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://fault.example', %s)}, defined $uri ? "'$uri'" : 'NULL'));
	$node->poll_query_until('postgres', q{SELECT failures >= 1 FROM jwt_jwks_state WHERE issuer = 'https://fault.example'}) or die "$what: nothing happened";
	my ($last_error, $times) = split(/\|/, sql(q{SELECT last_error, last_success IS NULL AND next_attempt - last_attempt BETWEEN interval '15 s' AND interval '65 s'
		FROM jwt_jwks_state WHERE issuer = 'https://fault.example'}));
	like($last_error, $error, "$what: the error");
	is($times, 't', "$what: the next attempt");
	is(sql($keys), $before, "$what: the keys stay as they are");
	reload($node, 'RESET jwt_jwks.timeout') if $slow;
}
# last_error does not contain the details of the log.
my $log = slurp_file($node->logfile);
like($log, qr/LOG:  could not refresh the key set of issuer "https:\/\/fault.example"/, 'the log has a line');
like($log, qr/Failed to connect|Connection refused|Couldn't connect/, 'and tells of a closed port');
like($log, qr/certificate/, 'and of a certificate');
like($log, qr/DETAIL:  URL "https:\/\/localhost:$port{'forged-name'}\/set\/one": .*forged\\u001b\[31m\\u202e\\u0085\\u000aLOG:  forged/, 'whose name forges no line');
unlike($log, qr/^LOG:  forged/m, 'in any way');
like($log, qr/DETAIL:  URL "https:\/\/localhost:$port{good}\/set\/\.\.\.": The endpoint answered with HTTP status 404/, 'nor does a URL');
like($log, qr/LOG:  could not refresh the key set of issuer "https:\/\/set.example" in database "postgres"\n.*DETAIL:  URL "[^"]+": canceling statement due to lock timeout/, 'an error of PostgreSQL is logged like others');
like($log, qr/NUL byte/, 'and why a document is none');
like($log, qr{could not refresh the key set of issuer "https://fault.example" in database "postgres"\n.*DETAIL:  URL "https://localhost:$port{good}/status/500": The endpoint answered}, 'and of the place');
unlike(join('', $log =~ /^.*(?:could not refresh|DETAIL).*$/mg), qr/hush-hush/, 'but no password of it');
like($log, qr{DETAIL:  URL "...localhost:$port{good}/set/one": The URL has a user name}, 'nor the name');

ok($node->poll_query_until('retry', q{SELECT last_error IS NULL FROM jwt_jwks_state}), 'a refresh that has failed is tried again');
is($node->safe_psql('retry', 'SELECT kid FROM jwt_key_status WHERE verifies'), 'k2', 'with success');

# Back-off: the delay grows with each failure, up to the refresh interval.
sql(qq{UPDATE jwt_jwks_source SET uri = 'https://localhost:$port{good}/status/500' WHERE issuer = 'https://fault.example'});
my @waits;
for my $n (1 .. 8)
{
	$node->poll_query_until('postgres', "SELECT failures = $n FROM $state WHERE issuer = 'https://fault.example'") or die "failure $n";
	push @waits, sql(q{SELECT extract(epoch FROM next_attempt - last_attempt) FROM jwt_jwks_state WHERE issuer = 'https://fault.example'});
	refusal(q{SELECT jwt_refresh_jwks('https://fault.example')});
}
note "waits: @waits";
cmp_ok($waits[0], '<', 35, 'the first retry comes after less than 35 s');
cmp_ok($waits[$_], '>', $waits[ $_ - 1 ] * 1.3, "wait $_ is longer than the one before") for 1 .. 5;
cmp_ok($waits[7], '<', 3601, 'no wait is longer than the refresh interval');
sql(q{SELECT sqlstate FROM jwt_inspect('} . $forged->('who') . q{', issuer => 'https://fault.example')});
wait_for(q{SELECT next_attempt - last_attempt FROM jwt_jwks_state WHERE issuer = 'https://fault.example'}, '00:00:24', 'tokens make it shorter, by no more than 16 cooldowns');
# Each error is logged once, also if several errors alternate.
my $news = -s $node->logfile;
for my $path (qw(status/410 status/411 status/410 status/411 status/410))
{
	sql(qq{UPDATE jwt_jwks_source SET uri = 'https://localhost:$port{good}/$path' WHERE issuer = 'https://fault.example'});
	$node->poll_query_until('postgres', "SELECT failures > 0 FROM $state WHERE issuer = 'https://fault.example'") or die $path;
}
my %lines;
$lines{$_}++ for substr(slurp_file($node->logfile), $news) =~ /HTTP status (41\d)/g;
is(join(' ', map { "$_:$lines{$_}" } sort keys %lines), '410:1 411:1', 'each error is logged once');
# once for each source and each database, with escaped names
sql("CREATE DATABASE \"retry$hostile\" TEMPLATE retry");
for my $case ([ 'postgres', 'https://fault.example/2' ], [ 'retry', 'https://fault.example' ], [ "retry$hostile", "https://fault.example/$hostile" ])
{
	my ($db, $issuer) = @$case;
	$news = -s $node->logfile;
	$node->safe_psql($db, "INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('$issuer', '{api}', '{ES256}');
		INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('$issuer', 'https://localhost:$port{good}/status/410')");
	my $shown = "issuer \"$issuer\" in database \"$db\"" =~ s/\e/\\u001b/gr =~ s/\xe2\x80\xae/\\u202e/gr;
	ok(logged($node, qr/LOG:  could not refresh the key set of \Q$shown\E\n.*HTTP status 410/, $news), "of $shown, too");
}
sql(q{DELETE FROM jwt_issuer WHERE issuer = 'https://fault.example/2'});
sql("DROP DATABASE $_") for 'retry', "\"retry$hostile\"";
# Recovery of a source.
sql(qq{UPDATE jwt_jwks_source SET uri = 'https://localhost:$port{good}/set/fault' WHERE issuer = 'https://fault.example'});
wait_for("SELECT failures FROM $state WHERE issuer = 'https://fault.example'", '1', 'a set that is not there');
my $well = -s $node->logfile;
set_keys('fault', 'k2');
sql(due(q{issuer = 'https://fault.example'}));
wait_for(q{SELECT failures = 0 AND last_error IS NULL AND last_success IS NOT NULL FROM jwt_jwks_state WHERE issuer = 'https://fault.example'}, 't', 'a source that gets well');

ok(logged($node, qr/LOG:  the key set of issuer "https:\/\/fault.example" in database "postgres" is refreshed again/, $well), 'the log tells of that, too');
# After that, errors are logged again.
sql(qq{UPDATE jwt_jwks_source SET uri = 'https://localhost:$port{good}/status/410' WHERE issuer = 'https://fault.example'});
ok(logged($node, qr/HTTP status 410/, $well), 'and of an error that comes back');

# Settings: plain http to loopback, public addresses, and that a session cannot set them.
reload($node, q{SET jwt_jwks.allow_http_to_loopback = on});
sql(qq{UPDATE jwt_jwks_source SET uri = 'http://localhost:$port{plain}/set/fault' WHERE issuer = 'https://fault.example'});
wait_for("SELECT failures = 0 AND last_success = last_attempt FROM $state WHERE issuer = 'https://fault.example'", 't', 'plain http to loopback, when it is allowed');
reload($node, q{SET jwt_jwks.allowed_hosts = '*:*'});
for my $host ('localhost', '127.0.0.1', '[::1]', '[::ffff:127.0.0.1]', '0.0.0.0', '0', '2130706433', '0x7f000001', '10.0.0.1', '169.254.169.254', '192.168.1.1', '172.16.0.1', '100.100.100.200', '[fd00:ec2::254]', '[fe80::1]', '[64:ff9b::7f00:1]')
{
	my $at = -s $node->logfile;
	sql(qq{UPDATE jwt_jwks_source SET uri = 'https://$host:$port{good}/set/fault?$host' WHERE issuer = 'https://fault.example'});
	like(refusal(q{SELECT jwt_refresh_jwks('https://fault.example')}), qr/could not be reached|cannot be read/, "* does not allow $host");
}
unlike(join(' ', requests()), qr/fault\?/, 'and nobody was asked');
reload($node, q{SET jwt_jwks.allowed_hosts = 'localhost'});
sql(qq{UPDATE jwt_jwks_source SET uri = 'https://localhost:$port{good}/set/fault' WHERE issuer = 'https://fault.example'});
like(refusal(q{SELECT jwt_refresh_jwks('https://fault.example')}), qr/at its port, is not one of those/, 'a host without port is allowed at 443 only');
reload($node, 'RESET ALL');
for my $list ('a b', 'x/y', '*x', 'a*', 'h:0', 'h:x', 'h:65536', ':5', 'http://x')
{
	like(refusal("ALTER SYSTEM SET jwt_jwks.allowed_hosts = '$list'"), qr/invalid value for parameter/, "allowed_hosts does not take: $list");
}
sql('CREATE ROLE owner LOGIN; CREATE DATABASE owned OWNER owner');
my $set = sub { my ($rc, $o, $e) = $node->psql('owned', shift, extra_params => [ '-U', 'owner' ]); return $e };
like($set->(q{SET jwt_jwks.allowed_hosts = '*:*'}), qr/cannot be changed now/, 'a session cannot widen the list');
like($set->(q{ALTER DATABASE owned SET jwt_jwks.allowed_hosts = '*:*'}), qr/cannot be changed now|permission denied/, 'nor can the owner of a database');

# A database whose owner is not a superuser is served with that owner's rights.
$node->safe_psql('owned', qq{CREATE EXTENSION jwt;
	INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://set.example', '{api}', '{ES256}');
	INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://set.example', 'https://localhost:$port{good}/set/one')}, extra_params => [ '-U', 'owner' ]);
$node->poll_query_until('owned', $valid->('k2'), 'valid');
is($node->safe_psql('owned', $valid->('k2'), extra_params => [ '-U', 'owner' ]), 'valid', 'a database that gains the extension later is served');
like($set->(q{UPDATE jwt_jwks_state SET etag = E'"x"\r\nX-Evil: 1'; SELECT jwt_refresh_jwks('https://set.example')}), qr/^$/, 'a hostile entity tag is not sent');

# Discovery.
sub configuration
{
	my ($name, $json) = @_;
	unlink("$dir/$name.configuration");
	append_to_file("$dir/$name.configuration", $json);
	return;
}
my $issuer = "https://localhost:$port{good}/issuer/disco";
sql("INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('$issuer', '{api}', '{ES256}'), ('not a URL', '{api}', '{ES256}');
	BEGIN; INSERT INTO jwt_jwks_source (issuer) VALUES ('$issuer'), ('not a URL'); " . park("issuer IN ('$issuer', 'not a URL')") . '; COMMIT');
set_keys('disco', 'k3');
for my $case ([ 'nothing', '{}', qr/of another issuer/ ],
	[ 'another issuer', qq({"issuer":"https://localhost:$port{good}/issuer/other","jwks_uri":"https://localhost:$port{good}/set/disco"}), qr/of another issuer/ ],
	[ 'a slash more', qq({"issuer":"$issuer/","jwks_uri":"https://localhost:$port{good}/set/disco"}), qr/of another issuer/ ],
	[ 'no jwks_uri', qq({"issuer":"$issuer"}), qr/names no "jwks_uri"/ ],
	[ 'a member twice', qq({"issuer":"$issuer","jwks_uri":"https://localhost:$port{good}/set/other","jwks_uri":"https://localhost:$port{good}/set/disco"}), qr/configuration that was discovered has/ ],
	[ 'no JSON', 'x', qr/is not JSON/ ],
	[ 'deep nesting', qq($deep,"issuer":"$issuer","jwks_uri":"https://localhost:$port{good}/set/disco"}), qr/configuration that was discovered is nested too deep/ ],
	[ 'a megabyte', qq({"issuer":"$issuer","jwks_uri":"https://localhost:$port{good}/set/disco","x":") . 'x' x 1048576 . '"}', qr/larger than 1048576 bytes/ ],
	[ 'a file', qq({"issuer":"$issuer","jwks_uri":"file:///etc/passwd"}), qr/not https|cannot be read/ ],
	[ 'another host', qq({"issuer":"$issuer","jwks_uri":"https://evil.example/"}), qr/allowed_hosts/ ])
{
	my ($what, $json, $error) = @$case;
	configuration('disco', $json);
	like(refusal("SELECT jwt_refresh_jwks('$issuer')"), $error, "discovery of $what is refused");
}
like(refusal("SELECT jwt_refresh_jwks('not a URL')"), qr/not a URL/, 'an issuer that is no URL cannot be discovered');
configuration('disco', qq({"issuer":"$issuer","jwks_uri":"https://localhost:$port{good}/set/disco"}));
is(sql("SELECT added FROM jwt_refresh_jwks('$issuer')"), '1', 'discovery finds the keys');

# Another database can be dropped and created again while it is served.
$node->safe_psql('postgres', 'DROP DATABASE owned');
$node->safe_psql('postgres', 'CREATE DATABASE owned OWNER owner');
pass('a database that is served can be dropped');
# Also during a fetch for it.
reload($node, q{SET jwt_jwks.allowed_hosts = 'localhost:*'}, q{SET jwt_jwks.timeout = '60s'});
$node->safe_psql('owned', qq{CREATE EXTENSION jwt;
	INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://set.example', '{api}', '{ES256}');
	INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://set.example', 'https://localhost:$port{good}/silent')}, extra_params => [ '-U', 'owner' ]);
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker' AND datname = 'owned' AND wait_event IS NOT NULL});
is(refusal('DROP DATABASE owned'), 'accepted: ', 'and while its worker waits for an endpoint');
reload($node, 'RESET ALL');
# The extension: dropped and created again.
sql('DROP EXTENSION jwt; CREATE EXTENSION jwt SCHEMA public');
sql(qq{INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://set.example', '{api}', '{ES256}');
	INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://set.example', 'https://localhost:$port{good}/set/one')});
wait_for($valid->('k2'), 'valid', 'after DROP and CREATE EXTENSION it goes on');
# The source is deleted during its fetch.
sql(qq{UPDATE jwt_jwks_source SET uri = 'https://localhost:$port{good}/silent'});
$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker'});
sql('DROP EXTENSION jwt; CREATE EXTENSION jwt');
wait_for(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker'}, '0', 'an extension that goes during a fetch does not keep the worker');
sql(qq{INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://set.example', '{api}', '{ES256}');
	INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://set.example', 'https://localhost:$port{good}/set/one')});
wait_for($valid->('k2'), 'valid', 'and it goes on');

# The launcher is terminated, then killed.
my $pid = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'jwt_jwks launcher'});
sql("SELECT pg_terminate_backend($pid)");
wait_for(qq{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jwt_jwks launcher' AND pid <> $pid}, '1', 'a launcher that was ended comes back');
cooled_down();
set_keys('one', 'k2', 'k3');
is(sql($valid->('k3')), '28J03', 'the rotation after it');
wait_for($valid->('k3'), 'valid', 'is noticed');
$pid = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'jwt_jwks launcher'});
kill 9, $pid;
$node->poll_query_until('postgres', qq{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jwt_jwks launcher' AND pid <> $pid});
pass('a launcher that was killed comes back');
sql(qq{UPDATE jwt_jwks_source SET uri = 'https://localhost:$port{good}/silent'});
$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker'});
my $launcher = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'jwt_jwks launcher'});
$pid = sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker'});
kill 9, $pid or die "no worker $pid";
$node->poll_query_until('postgres', qq{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jwt_jwks launcher' AND pid <> $launcher});
set_keys('one', 'k1', 'k2', 'k3');
sql(qq{UPDATE jwt_jwks_source SET uri = 'https://localhost:$port{good}/set/one'});
wait_for($valid->('k1'), 'valid', 'after a worker was killed it goes on');

# A standby fetches nothing until it is promoted.
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'jwt%'}), '0', 'a standby has no launcher');
my ($rc, $stdout, $stderr) = $standby->psql('postgres', q{SELECT jwt_refresh_jwks('https://set.example')});
like($stderr, qr/cannot execute jwt_refresh_jwks\(\) during recovery/, 'and refreshes nothing');
is($standby->safe_psql('postgres', $valid->('k1')), 'valid', 'it verifies');
$node->stop;
set_keys('one', 'k2');
$standby->promote;
$standby->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'jwt_jwks launcher'});
pass('a promoted one has a launcher');
$standby->safe_psql('postgres', due());
ok($standby->poll_query_until('postgres', $valid->('k1'), '28J03'), 'and fetches');
$standby->stop;

# Without preloading, the worker of a single refresh does the same.
$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
$node->start;
is(sql(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'jwt%'}), '0', 'not preloaded, there is no launcher');
my ($retired, $maps) = split(/\n/, sql(q{SELECT retired FROM jwt_refresh_jwks('https://set.example'); SELECT pg_read_file('/proc/self/maps')}), 2);
is($retired, '2', 'and a session can refresh all the same');
like($maps, qr/jwt\.so/, 'which has loaded this library');
unlike($maps, qr/libcurl/, 'and no HTTP client');
like(refusal(q{SET statement_timeout = '300ms'; UPDATE jwt_jwks_source SET uri = 'https://localhost:} . $port{good} . q{/silent'; SELECT jwt_refresh_jwks('https://set.example')}),
	qr/canceling statement due to statement timeout/, 'a session need not wait');
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker'});
pass('and its worker ends with it');
$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|segfault/, 'no crash in the log');

done_testing();
