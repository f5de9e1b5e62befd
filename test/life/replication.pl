# Replicated trust: with every order of tables and rows, and with every kind of row.
# Revocations stay effective on a subscriber, on a standby and after its promotion.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use JwtTest;
use LifeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $issuer = 'https://idp.example';
my $hex = unpack('H*', JwtTest::secret());
my @tables = qw(jwt_denylist jwt_issuer jwt_key jwt_jwks_source);

# All permutations of a list.
sub orders
{
	my @things = @_;
	return [] unless @things;
	return map { my $i = $_; map { [ $things[$i], @$_ ] } orders(@things[ grep { $_ != $i } 0 .. $#things ]) } 0 .. $#things;
}

my $conf = q{
	max_connections = 80
	max_worker_processes = 60
	max_wal_senders = 40
	max_replication_slots = 60
	max_logical_replication_workers = 50
	max_sync_workers_per_subscription = 4
	wal_retrieve_retry_interval = 100ms
	log_statement = none
};
my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->append_conf('postgresql.conf', $conf);
$publisher->start;
setup_trust($publisher);
my $connstr = $publisher->connstr . ' dbname=postgres';
my $on_publisher = LifeTest->new($connstr, 'SET client_min_messages = error');
sub publish { return $on_publisher->must(shift) }

$publisher->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($publisher, 'base', has_streaming => 1);
$standby->start;

my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical');
$subscriber->append_conf('postgresql.conf', $conf);
$subscriber->start;

#
# Rows of every kind, with the verdict on a token of each
#

my $weak = `openssl genrsa 1024 2>/dev/null | openssl rsa -pubout -outform DER 2>/dev/null | od -An -v -tx1` =~ s/\s//gr;
my ($modulus) = $weak =~ /02818100([0-9a-f]{256})/ or die "no modulus in $weak";
my $n = JwtTest::base64url(pack('H*', $modulus));
# keys of a size that any version of OpenSSL refuses or has no algorithm for
my $ml_dsa = JwtTest::base64url("\1" x 1312);
publish(qq{
	INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES
		('https://nonsense.example', NULL, '{none}'),
		('https://mldsa.example', '{api}', '{ML-DSA-44}');
	INSERT INTO jwt_key (issuer, kid, alg, jwk) VALUES
		('https://nobody.example', 'orphan', 'HS256', '{"kty": "oct", "k": "b3JwaGFuIG9ycGhhbiBvcnBoYW4gb3JwaGFuIG9ycGhhbg"}'),
		('$issuer', 'disallowed', 'EdDSA', '{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'),
		('$issuer', 'weak', 'RS256', '{"kty": "RSA", "n": "$n", "e": "AQAB"}'),
		('$issuer', 'unknown', 'XS256', '{"kty": "XYZ"}'),
		('$issuer', 'short', 'HS256', '{"kty": "oct", "k": "c2hvcnQ"}'),
		('$issuer', NULL, NULL, '{}'),
		('https://mldsa.example', 'pq', 'ML-DSA-44', '{"kty": "AKP", "alg": "ML-DSA-44", "pub": "$ml_dsa"}');
	INSERT INTO jwt_denylist (issuer, kind, value, expires_at) VALUES
		('https://nobody.example', 'jti', 'orphan', NULL),
		('$issuer', 'jti', 'revoked', 'infinity'),
		('$issuer', 'jti', 'revoked', 'infinity'),
		('', 'key', 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA', NULL);
	INSERT INTO jwt_jwks_source (issuer, uri, refresh_interval) VALUES
		('https://nobody.example', 'https://nobody.example/keys', '1 hour'),
		('$issuer', 'no uri', '-1 hour');
});
my @verdicts = (
	[ token('alice'), 'valid' ],
	[ token('alice', jti => 'other'), 'valid' ],
	[ token('alice', jti => 'revoked'), '28J11' ],
	[ token('alice', kid => 'orphan'), '28J03' ],
	[ token('alice', kid => 'short'), '28J03' ],
	[ token('alice', iss => 'https://nonsense.example'), '28J07' ],
);
my $verdicts = "SELECT string_agg(coalesce(sqlstate, 'valid'), ' ' ORDER BY n) FROM (VALUES "
  . join(', ', map { "($_, '$verdicts[$_]->[0]')" } 0 .. $#verdicts) . ') v (n, token), jwt_inspect(token)';
my $expected = join(' ', map { $_->[1] } @verdicts);
# the state of sources is not published
my $contents = join(' UNION ALL ', map { "SELECT '$_ ' || to_jsonb(t)::text FROM $_ t" } @tables) . ' ORDER BY 1';
is(publish($verdicts), $expected, 'verdicts on the publisher');

#
# Initial copies, in each order of tables and of all at once; each into a database of
# its own
#

my @orders = ((map { [ map { [$_] } @$_ ] } orders(qw(jwt_denylist jwt_issuer jwt_key))), [ \@tables ], 'all');
# the place of the sources does not matter
for my $i (0 .. 5) { splice @{ $orders[$i] }, $i % 4, 0, ['jwt_jwks_source'] }
# one subscription belongs to a role that is not a superuser, and its changes are
# applied as that role; before PostgreSQL 16 this is always so
push @orders, 'owner';
$subscriber->safe_psql('postgres', 'CREATE ROLE boss LOGIN SUPERUSER');
my $run_as_owner = $subscriber->safe_psql('postgres', 'SHOW server_version_num') >= 160000;
my @copies;
for my $i (0 .. $#orders)
{
	my $all = !ref $orders[$i];
	my $db = "copy_$i";
	$subscriber->safe_psql('postgres', "CREATE DATABASE $db OWNER boss");
	my $session = LifeTest->new($subscriber->connstr($db), 'SET client_min_messages = error');
	$session->must('CREATE EXTENSION jwt');
	publish("CREATE PUBLICATION p$i" . ($all ? ' FOR ALL TABLES' : ''));
	push @copies, { db => $db, i => $i, session => $session, order => $all ? [] : $orders[$i], steps => [], name => $orders[$i] eq 'owner' ? 'all tables, by the owner' : $all ? 'all tables' : join(', ', map { join(' with ', @$_) } @{ $orders[$i] }) };
}
sub synced
{
	my ($copy) = @_;
	return until_true(sub { $copy->{session}->must(q{SELECT count(*) = 0 FROM pg_subscription_rel WHERE srsubstate NOT IN ('r', 's')}) eq 't' });
}
for my $copy (@copies)
{
	my $owner = $copy->{name} =~ /owner/;
	$copy->{session}->must('SET ROLE boss') if $owner;
	$copy->{session}->must("CREATE SUBSCRIPTION s$copy->{i} CONNECTION '$connstr' PUBLICATION p$copy->{i}"
		  . ($owner ? ' WITH (enabled = off' . ($run_as_owner ? ', run_as_owner = true, password_required = false' : '') . ')' : ''));
	$copy->{session}->must("RESET ROLE; ALTER ROLE boss NOSUPERUSER; ALTER SUBSCRIPTION s$copy->{i} ENABLE") if $owner;
}
for my $step (0 .. 3)
{
	for my $copy (@copies)
	{
		my $tables = $copy->{order}->[$step] or next;
		publish("ALTER PUBLICATION p$copy->{i} ADD TABLE " . join(', ', @$tables));
		$copy->{session}->must("ALTER SUBSCRIPTION s$copy->{i} REFRESH PUBLICATION");
	}
	for my $copy (@copies)
	{
		synced($copy) or die "$copy->{name} is not copied";
		# if the denylist comes first, no revoked token is ever accepted
		my $said = $copy->{session}->must($verdicts);
		push @{ $copy->{steps} }, $said if $said =~ /^\S+ \S+ valid/ && $copy->{order}->[0] && $copy->{order}->[0]->[0] eq 'jwt_denylist';
	}
}
my $rows = publish($contents);
for my $copy (@copies)
{
	is($copy->{session}->must($contents), $rows, "copied in the order $copy->{name}: every row");
	is($copy->{session}->must($verdicts), $expected, "copied in the order $copy->{name}: every verdict");
	is("@{ $copy->{steps} }", '', "copied in the order $copy->{name}: nothing revoked was accepted");
}

#
# Changes, in each order and in one transaction or several
#

my $applied = 0;
publish('CREATE TABLE beacon (n int PRIMARY KEY)');
$_->{session}->must('CREATE TABLE beacon (n int PRIMARY KEY)') for @copies;
for my $copy (@copies)
{
	publish("ALTER PUBLICATION p$copy->{i} ADD TABLE beacon") unless $copy->{name} =~ /^all/;
	$copy->{session}->must('ALTER TABLE beacon OWNER TO boss') if $copy->{name} =~ /owner/;
	$copy->{session}->must("ALTER SUBSCRIPTION s$copy->{i} REFRESH PUBLICATION");
}
synced($_) or die for @copies;
my $on_standby = LifeTest->new($standby->connstr('postgres'));

# Publish, and wait until every subscriber has the change.
sub everywhere
{
	my ($sql, $ask) = @_;
	publish($sql);
	$applied++;
	publish("INSERT INTO beacon VALUES ($applied)");
	for my $session ($on_standby, map { $_->{session} } @copies)
	{
		until_true(sub { ($session->must("SELECT coalesce(max(n), 0) FROM beacon")) == $applied }) or die "$sql\nis not applied";
	}
	my %said = map { $_ => 1 } ask_all(map { ($_, $ask) } $on_publisher, $on_standby, map { $_->{session} } @copies);
	return join(' and ', sort keys %said);
}
is(everywhere('SELECT 1', $verdicts), $expected, 'all are of one mind');

my $b = token('bob', iss => 'https://b.example', kid => 'b', jti => 'b1');
my %insert = (
	jwt_issuer => q{INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://b.example', '{api}', '{HS256}')},
	jwt_key => sprintf(q{INSERT INTO jwt_key (issuer, kid, alg, jwk) VALUES ('https://b.example', 'b', 'HS256', '{"kty": "oct", "k": "%s"}')}, JwtTest::base64url(JwtTest::secret())),
	jwt_denylist => q{INSERT INTO jwt_denylist (issuer, kind, value) VALUES ('https://b.example', 'jti', 'b1')},
);
my %delete = map { my $column = $_ eq 'jwt_key' ? 'kid' : 'issuer'; my $value = $_ eq 'jwt_key' ? 'b' : 'https://b.example'; $_ => "DELETE FROM $_ WHERE $column = '$value'" } keys %insert;
for my $order (orders(qw(jwt_denylist jwt_issuer jwt_key)))
{
	my %there;
	for my $table (@$order)
	{
		$there{$table} = 1;
		my $should = !$there{jwt_issuer} || !$there{jwt_key} ? '28J03' : $there{jwt_denylist} ? '28J11' : 'valid';
		is(everywhere($insert{$table}, verdict($b)), $should, "rows come in the order @$order: $table");
	}
	is(everywhere('BEGIN; ' . join('; ', map { $delete{$_} } @$order) . '; COMMIT', verdict($b)), '28J03', 'and go');
	is(everywhere('BEGIN; ' . join('; ', map { $insert{$_} } @$order) . '; COMMIT', verdict($b)), '28J11', 'and come together');
	everywhere(join('; ', map { $delete{$_} } reverse @$order), 'SELECT 1');
}

# Undoing revocations.
my $a = token('alice', jti => 'a1', sid => 's1', iat => time() - 60);
everywhere("UPDATE jwt_issuer SET event_audience = '{api}' WHERE issuer = '$issuer'", 'SELECT 1');
my %event = (iat => time(), jti => 'l1', events => { 'http://schemas.openid.net/event/backchannel-logout' => {} });
my %logout = (session => token('alice', %event, sid => 's1'), subject => token('alice', %event));
for my $case (
	[ "jwt_receive_event('$logout{session}')", "jwt_unrevoke_session('$issuer', 's1')" ],
	[ "jwt_receive_event('$logout{subject}')", "jwt_unrevoke_subject('$issuer', 'alice')" ],
	[ "jwt_revoke_id('$issuer', 'a1', 'infinity')", "jwt_unrevoke_id('$issuer', 'a1')" ],
	[ "jwt_revoke_session('$issuer', 's1')", "jwt_unrevoke_session('$issuer', 's1')" ],
	[ "jwt_revoke_subject('$issuer', 'alice')", "jwt_unrevoke_subject('$issuer', 'alice')" ],
	[ "jwt_revoke_issuer('$issuer')", "jwt_unrevoke_issuer('$issuer')" ],
	[ "jwt_revoke_key('$issuer', 'k1')", "jwt_unrevoke_key(jwt_thumbprint(jwk)) FROM jwt_key WHERE kid = 'k1'" ],
	[ "jwt_revoke_id('$issuer', 'a1', now() - interval '1 day')", 'jwt_prune_revocations()' ],
	[ "jwt_revoke('$a')", "TRUE FROM (TABLE jwt_denylist) d LIMIT 1; DELETE FROM jwt_denylist WHERE value = 'a1'" ],
  )
{
	my ($revoke, $unrevoke) = @$case;
	is(everywhere("SELECT $revoke", verdict($a)), '28J11', "$revoke is seen everywhere");
	is(everywhere("SELECT $unrevoke", verdict($a)), 'valid', "and so is $unrevoke");
}

# Both sides have revoked the same token, and the subscriber's row is deleted first.
$_->{session}->must("SELECT jwt_revoke_id('$issuer', 'a1', 'infinity')") for @copies;
is(everywhere("SELECT jwt_revoke_id('$issuer', 'a1', 'infinity')", verdict($a)), '28J11', 'both sides revoke the same');
$_->{session}->must(q{DELETE FROM jwt_denylist WHERE value = 'a1'}) for @copies;
is(everywhere("SELECT jwt_unrevoke_id('$issuer', 'a1'); SELECT jwt_revoke_subject('$issuer', 'alice')", verdict($a)), '28J11', 'a row that is gone on the other side stops nothing');
is(everywhere("SELECT jwt_unrevoke_subject('$issuer', 'alice')", verdict($a)), 'valid', 'nor does the next');

#
# A revoked key, after all kinds of changes to its rows
#

my $set = '{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "%s", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}';
# RFC 8037's key, whose private half is published there
my $seed = '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60';
my $dir = PostgreSQL::Test::Utils::tempdir();
sub eddsa
{
	my ($kid) = @_;
	append_to_file("$dir/key.der", pack('H*', "302e020100300506032b657004220420$seed")) unless -e "$dir/key.der";
	my $input = JwtTest::base64url(qq({"alg":"EdDSA","kid":"$kid"})) . '.'
	  . JwtTest::base64url(sprintf('{"iss":"https://ed.example","aud":"api","sub":"eve","exp":%d}', time() + 3600));
	open(my $file, '>', "$dir/input") or die $!;
	print $file $input;
	close $file;
	my $signature = `openssl pkeyutl -sign -inkey $dir/key.der -keyform DER -rawin -in $dir/input`;
	return "$input." . JwtTest::base64url($signature);
}
my %ed = map { $_ => eddsa($_) } qw(e1 e2);
my $either = "SELECT string_agg(coalesce(sqlstate, 'valid'), ' ' ORDER BY n) FROM (VALUES (1, '$ed{e1}'), (2, '$ed{e2}')) v (n, token), jwt_inspect(token)";
my $ed_issuer = q{INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://ed.example', '{api}', '{EdDSA}')};
my $import = q{SELECT string_agg(concat_ws(' ', r.action, r.reason), ', ') FROM jwt_import_jwks('https://ed.example', '%s') r};
is(everywhere($ed_issuer, $either), '28J03 28J03', 'an issuer without keys');
is(publish(sprintf($import, sprintf($set, 'e1'))), 'added', 'its key');
is(everywhere('SELECT 1', $either), 'valid 28J03', 'verifies');
for my $step (
	[ 'revoked', q{SELECT jwt_revoke_key('https://ed.example', 'e1')}, '28J11 28J03' ],
	[ 'its row deleted', q{DELETE FROM jwt_key WHERE issuer = 'https://ed.example'}, '28J03 28J03' ],
	[ 'imported again', sprintf($import, sprintf($set, 'e1')), '28J03 28J03' ],
	[ 'imported under another kid', sprintf($import, sprintf($set, 'e2')), '28J03 28J03' ],
	[ 'added by INSERT', q{INSERT INTO jwt_key (issuer, kid, alg, jwk) VALUES ('https://ed.example', 'e2', 'EdDSA', '{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}')}, '28J03 28J11' ],
	[ 'its kid changed', q{UPDATE jwt_key SET kid = 'e1' WHERE issuer = 'https://ed.example'}, '28J11 28J03' ],
	[ 'its issuer deleted', q{DELETE FROM jwt_issuer WHERE issuer = 'https://ed.example'}, '28J03 28J03' ],
	[ 'its issuer added again', $ed_issuer, '28J03 28J03' ],
	[ 'imported into that', sprintf($import, sprintf($set, 'e2')), '28J03 28J03' ],
	[ 'added by COPY', qq{COPY jwt_key (issuer, kid, alg, source, jwk) FROM PROGRAM 'printf "https://ed.example\\te1\\tEdDSA\\tjwks\\t{\\"kty\\": \\"OKP\\", \\"crv\\": \\"Ed25519\\", \\"x\\": \\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\\"}\\n"'}, '28J11 28J03' ],
	[ 'a member of another issuer', q{UPDATE jwt_key SET issuer = 'https://b.example' WHERE issuer = 'https://ed.example'}, '28J03 28J03' ],
	[ 'and back', q{UPDATE jwt_key SET issuer = 'https://ed.example', alg = 'Ed25519' WHERE issuer = 'https://b.example'}, '28J11 28J03' ],
	[ 'TRUNCATE of issuers', q{CREATE TEMP TABLE i AS TABLE jwt_issuer; CREATE TEMP TABLE k AS TABLE jwt_key; TRUNCATE jwt_issuer}, '28J03 28J03' ],
	[ 'and all back', q{INSERT INTO jwt_key TABLE k; INSERT INTO jwt_issuer TABLE i}, '28J11 28J03' ],
  )
{
	my ($name, $sql, $should) = @$step;
	is(everywhere($sql, $either), $should, "a revoked key, $name");
}
like(publish(sprintf($import, sprintf($set, 'e2'))), qr/skipped .*revoked/, 'an import says why it skips it');
is(everywhere('SELECT 1', $verdicts), $expected, 'the others verify as before');

#
# Read-only sessions
#

for my $session ($on_standby, LifeTest->new($connstr, 'SET default_transaction_read_only = on'))
{
	is($session->must('SHOW transaction_read_only'), 'on', 'a transaction that only reads');
	is($session->must("BEGIN; SELECT jwt_authenticate('$a') ->> 'sub'"), 'alice', 'authenticates');
	for my $call ('jwt_logout()', 'jwt_logout(true)', "jwt_revoke('$a')", "jwt_revoke_id('$issuer', 'a1', 'infinity')", "jwt_revoke_session('$issuer', 's1')",
		"jwt_revoke_subject('$issuer', 'alice')", "jwt_revoke_issuer('$issuer')", "jwt_revoke_key('$issuer', 'k1')", "jwt_receive_event('x')", "jwt_unrevoke_id('$issuer', 'a1')",
		"jwt_add_issuer('https://new.example', '{api}', '{HS256}')", "jwt_add_secret('$issuer', '\\x$hex', 'HS256', 'k9')", sprintf(q{jwt_import_jwks('https://ed.example', '%s')}, sprintf($set, 'e3')))
	{
		is($session->ask("SAVEPOINT a; SELECT $call"), 'ERROR:  25006', "and refuses $call");
		$session->must('ROLLBACK TO a');
	}
	is($session->must('SELECT jwt_subject()'), 'alice', 'who is there still');
	$session->must('COMMIT');
	is($session->must('SELECT count(*) > 3 FROM jwt_status'), 't', 'jwt_status is read there');
}

#
# The standby takes over
#

my $open = LifeTest->new($standby->connstr('postgres'), 'BEGIN ISOLATION LEVEL REPEATABLE READ');
is($open->must(verdict($a)), 'valid', 'an open transaction on the standby');
is(everywhere("SELECT jwt_revoke_session('$issuer', 's1')", verdict($a)), '28J11', 'a revocation before');
is($open->must(verdict($a)), '28J11', 'is seen by that transaction');
$publisher->stop('immediate');
$standby->promote;
is($open->must(verdict($a)), '28J11', 'and holds after the promotion');
is($open->must($either), '28J11 28J03', 'as does that of a key');
$open->must('COMMIT');
is($on_standby->must("SELECT jwt_unrevoke_session('$issuer', 's1'); " . verdict($a)), "t\nvalid", 'there it is taken back');
is($open->must(verdict($a)), 'valid', 'for others, too');
is($on_standby->must("BEGIN; SELECT jwt_authenticate('$a') ->> 'sub', jwt_logout(); COMMIT; " . verdict($a)), "alice|t\n28J11", 'and a user logs out');
is($open->must(verdict($a)), '28J11', 'for others, too');
is($open->must(q{SELECT unnest(problems) FROM jwt_status WHERE issuer IS NULL AND NOT ok}) =~ s/\d+ rows? of .*\n?//gr, '', 'its status is good, but for orphans');
is($copies[0]->{session}->must(verdict($a)), '28J11', 'the subscribers have what the old one had published');

done_testing();
