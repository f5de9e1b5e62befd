# Runs the blocks of doc/operations.md, and checks that they have the effects that the
# page describes.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t";
use DocTest;
use JwtTest ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 'logical');
$node->start;
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical');
$subscriber->start;
$subscriber->safe_psql('postgres', 'CREATE ROLE successor LOGIN');
$subscriber->safe_psql('postgres', 'CREATE DATABASE branch OWNER successor');

my %options = (
	database  => 'shop',
	folder    => PostgreSQL::Test::Utils::tempdir(),
	nodes     => { branch => $subscriber },
	variables => { publisher => $node->connstr('shop') });
sub page { return doc_run($node, "$FindBin::RealBin/../doc/operations.md", %options, section => $_[0]) }

# A token of the key that the page adds. RFC 8037 publishes that key.
my $seed = '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60';
sub token
{
	my ($jti, $iat) = @_;
	$iat //= time();
	return ed25519_token($seed, 'demo',
		qq({"iss":"https://idp.example","aud":"api","sub":"alice","sid":"s-$jti","jti":"$jti","iat":$iat,"exp":4102444800}));
}

# The result of SQL that a role runs in a database: its output or its SQLSTATE.
sub outcome
{
	my ($role, $sql, $database, $server) = @_;
	my ($rc, $out, $err) = ($server // $node)->psql($database // 'shop', $sql, extra_params => [ '-U', $role, '-v', 'VERBOSITY=sqlstate' ]);
	return $err =~ /ERROR:\s+(\w{5})/ ? $1 : $out;
}
sub verdict
{
	my ($token, @where) = @_;
	return outcome('api', "SELECT coalesce(sqlstate, 'valid') FROM auth.jwt_inspect('$token')", @where);
}
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');
sub is_well
{
	my ($what, @where) = @_;
	return is(outcome($superuser, q{SELECT string_agg(concat_ws(' ', issuer, problems), '; ') FROM auth.jwt_status WHERE NOT ok}, @where), '', $what);
}

page('Operations');
page('Rights');
page('Grants by task');
page('Monitoring');

# Rights. A role that has the right tries each action, and a role that has not.
my ($a, $b) = (token('a'), token('b'));
is(verdict($a), 'valid', 'a token verifies');
my $jwk = '{"kty":"OKP","crv":"Ed25519","kid":"second","x":"eqtiyoG7Gg3rx1VTx0xdOjwNTJS8n3wvWZdDZnEMqyQ"}';
for my $may (
	[ 'support',  'events',   "SELECT auth.jwt_revoke_id('https://idp.example', 'j1', 'infinity')" ],
	[ 'support',  'security', "SELECT auth.jwt_revoke_session('https://idp.example', 's1') > now()" ],
	[ 'support',  'api',      "SELECT auth.jwt_revoke_subject('https://idp.example', 'carol') <= clock_timestamp()" ],
	[ 'support',  'keys',     "SELECT auth.jwt_revoke('$b') > now()" ],
	[ 'events',   'support',  "INSERT INTO auth.jwt_denylist (issuer, kind, value) VALUES ('https://idp.example', 'sid', 's2')" ],
	[ 'events',   'events',   'SELECT FROM auth.jwt_denylist', 1 ],
	[ 'keys',     'support',  "SELECT auth.jwt_add_key('https://idp.example', '$jwk') IS NOT NULL" ],
	[ 'keys',     'keys',     'SELECT FROM auth.jwt_key', 1 ],
	[ 'api',      'support',  "SELECT jsonb_array_length(auth.jwt_jwks('https://idp.example') -> 'keys')" ],
	[ 'importer', 'keys',     "SELECT count(*) FROM auth.jwt_import_jwks('https://idp.example', '{\"keys\":[$jwk]}')" ],
	[ 'security', 'support',  "SELECT auth.jwt_revoke_key('https://idp.example', 'second') <= clock_timestamp()" ],
	[ 'security', 'support',  "SELECT auth.jwt_revoke_issuer('https://idp.example', '2000-01-01') < now()" ],
	[ 'watch',    'support',  'SELECT count(*) FROM auth.jwt_status' ],
	[ 'watch',    'support',  'SELECT count(*) FROM auth.jwt_key_status' ],
	[ 'owner',    'support',  "SELECT auth.jwt_unrevoke_issuer('https://idp.example')" ],
	[ 'owner',    'security', 'SELECT auth.jwt_prune_revocations()' ])
{
	my ($may, $may_not, $sql, $nobody) = @$may;
	unlike(outcome($may, $sql), qr/^42501$/, "$may may: $sql") unless $nobody;
	is(outcome($may_not, $sql), '42501', "$may_not may not: $sql");
}
is(verdict($b), '28J11', 'what was revoked is refused');
is(outcome('api', "BEGIN; SELECT FROM auth.jwt_authenticate('" . token('c') . "'); SELECT auth.jwt_logout(); COMMIT"), 't', 'api may log out');
is(verdict(token('c')), '28J11', 'and has');
is(outcome('watch', "SELECT count(*) FROM auth.jwt_status, unnest(grants) g WHERE g LIKE 'events=a/pg_database_owner on table %jwt_denylist'"), '1', 'a grant is listed');

# DELETE includes LOCK, and INSERT does not.
my $lock = 'BEGIN; LOCK auth.jwt_denylist IN ACCESS EXCLUSIVE MODE; COMMIT';
is(outcome('events', $lock), '42501', 'INSERT does not suffice to lock');
$node->safe_psql('shop', 'GRANT DELETE ON auth.jwt_denylist TO events');
my $locker = JwtTest::open_session($node->connstr('shop') . ' user=events');
$locker->('BEGIN; LOCK auth.jwt_denylist IN ACCESS EXCLUSIVE MODE');
is(outcome('api', "SET lock_timeout = '1s'; SELECT auth.jwt_verify('$a')"), '55P03', 'DELETE does, and a verification waits');
$locker->('ROLLBACK');
$locker->();
$node->safe_psql('shop', "REVOKE DELETE ON auth.jwt_denylist FROM events");

# Other roles that can read.
$node->safe_psql('shop', 'CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader; CREATE ROLE member LOGIN; GRANT owner TO member; CREATE ROLE monitor LOGIN; GRANT pg_monitor TO monitor; GRANT USAGE ON SCHEMA auth TO monitor');
is(outcome('reader', 'SELECT count(jwk) FROM auth.jwt_key'), '2', 'pg_read_all_data reads keys');
is(outcome('member', 'SELECT count(jwk) FROM auth.jwt_key'), '2', 'so does a member of the owner');
is(outcome('monitor', 'SELECT count(jwk) FROM auth.jwt_key'), '42501', 'pg_monitor does not');
is(outcome('monitor', 'SELECT count(*) FROM auth.jwt_status'), '2', 'and reads the status');
is(outcome('owner', 'GRANT TRIGGER ON auth.jwt_key TO events'), '', 'TRIGGER is not the owner\'s to grant');
is(outcome('owner', "SELECT has_table_privilege('events', 'auth.jwt_key', 'TRIGGER')"), 'f', 'and was not granted');
is(outcome('owner', 'BEGIN; DROP INDEX auth.jwt_denylist_value_kind_issuer_idx; SELECT problems[1] FROM auth.jwt_status WHERE issuer IS NULL; ROLLBACK'),
	'An index is missing, so the table is read from end to end. As a superuser: CREATE INDEX ON auth.jwt_denylist (value text_pattern_ops, kind, issuer);',
	'the owner of the schema can drop an index, and the status says so');
is_well('all is well');

# Backup and restore. Revocations after the backup are lost.
my $grants = outcome('owner', 'SELECT cardinality(grants) FROM auth.jwt_status WHERE issuer IS NULL');
page('Backup');
is(outcome('support', "SELECT auth.jwt_revoke('$a') > now()"), 't', 'a token is revoked after the backup');
page('Restore');
is(outcome('api', 'SELECT 1', 'shop_new'), '', 'clients cannot connect to it');
my @restored = map { $node->safe_psql('shop_new', "SELECT coalesce(sqlstate, 'valid') FROM auth.jwt_inspect('$_')") } $a, $b;
is("@restored", 'valid 28J11', 'the backup knows of one revocation, not of the other');
page('Revocations after the backup');
page('Open it for clients');
is(verdict($a), '28J11', 'all that was issued is refused');
is(verdict(token('n', time() + 20)), 'valid', 'and what is issued later is not');
is(outcome('owner', 'SELECT cardinality(grants) FROM auth.jwt_status WHERE issuer IS NULL'), $grants, 'a superuser restores all grants');
is(outcome('support', "SELECT auth.jwt_revoke_id('https://idp.example', 'j5', 'infinity')"), 'infinity', 'which hold');
is(outcome('owner', 'ALTER EXTENSION jwt UPDATE'), '42501', 'the extension is the superuser\'s');
page('Restore by a superuser or by the owner');
is(outcome('owner', 'SELECT cardinality(grants) FROM auth.jwt_status WHERE issuer IS NULL', 'shop_by_owner'), '0', 'the owner restores no grants');
is(outcome('owner', 'SELECT extowner::regrole FROM pg_extension WHERE extname = $$jwt$$', 'shop_by_owner'), 'owner', 'and has the extension');
is_well('all is well there', 'shop_by_owner');
my ($ignored, $message) = PostgreSQL::Test::Utils::run_command([ 'pg_restore', '--no-password', '--clean', '-d', $node->connstr('shop_by_owner') . ' user=owner', "$options{folder}/shop.dump" ]);
like($message, qr/permission denied to set session authorization "pg_database_owner"/, 'with them there is the error that the page names');
is_well('and all is well all the same', 'shop_by_owner');

# Triggers that are not ENABLE ALWAYS.
$node->safe_psql('shop', join(';', map { "ALTER TABLE auth.$_ DISABLE TRIGGER ALL; ALTER TABLE auth.$_ ENABLE TRIGGER ALL" } qw(jwt_denylist jwt_issuer jwt_key jwt_jwks_source)));
is(outcome('owner', q{SELECT bool_and(p LIKE 'A trigger does not fire as it should%') FROM auth.jwt_status, unnest(problems) p}), 't', 'the status names triggers');
page('Other ways to restore');
is_well('and no more');
is($node->safe_psql('shop', q{SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE relname LIKE 'jwt%' AND tgenabled = 'A'}), '8', 'they fire always');

page('Upgrade of the extension');

# The owner of the database has the rights.
page('Change of owner');
is(outcome('successor', "SELECT auth.jwt_unrevoke_id('https://idp.example', 'j5')"), 't', 'the new owner manages');
is(outcome('owner', 'SELECT FROM auth.jwt_key'), '42501', 'the old one does not');
is(outcome('support', "SELECT auth.jwt_revoke_id('https://idp.example', 'j5', 'infinity')"), 'infinity', 'grants stay');
is(outcome('successor', 'SELECT bool_and(ok) FROM auth.jwt_status'), 't', 'all is well');

# Commands that drop the extension.
is(outcome('successor', 'BEGIN; DROP SCHEMA auth CASCADE; SELECT count(*) FROM pg_extension WHERE extname = $$jwt$$; ROLLBACK'), '0', 'the owner of the schema can drop it');
$node->safe_psql('shop_by_owner', 'REASSIGN OWNED BY successor TO owner');
is($node->safe_psql('shop_by_owner', 'BEGIN; DROP OWNED BY owner; SELECT count(*) FROM pg_extension WHERE extname = $$jwt$$; ROLLBACK'), '0', 'DROP OWNED drops it');
$node->safe_psql('shop', 'REASSIGN OWNED BY owner TO successor');

page('Copies of a database');
is(outcome('tester', 'SELECT count(*) FROM auth.jwt_key', 'shop_test'), '0', 'a copy has no key');
is(outcome('tester', 'SELECT count(*) > 0 FROM auth.jwt_denylist', 'shop_test'), 't', 'and the revocations');

# A subscriber refuses tokens that are revoked on its publisher.
page('Logical replication');
$subscriber->safe_psql('branch', 'CREATE ROLE api LOGIN; GRANT USAGE ON SCHEMA auth TO api');
$subscriber->poll_query_until('branch', "SELECT count(*) = 4 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel") or BAIL_OUT('no initial sync');
my $later = token('later', time() + 20);
is(verdict($later, 'branch', $subscriber), 'valid', 'a subscriber verifies');
$node->safe_psql('shop', "SELECT auth.jwt_revoke('$later')");
$node->wait_for_catchup('trust');
is(verdict($later, 'branch', $subscriber), '28J11', 'and refuses what is revoked');
$node->safe_psql('shop', "SELECT auth.jwt_unrevoke_id('https://idp.example', 'later')");
$node->wait_for_catchup('trust');
is(verdict($later, 'branch', $subscriber), 'valid', 'which can be taken back');
is_well('all is well there', 'branch', $subscriber);
$subscriber->safe_psql('branch', 'DROP SUBSCRIPTION trust');

# Additional columns, and columns of row types.
$node->safe_psql('postgres', 'CREATE DATABASE own TEMPLATE shop_by_owner');
$node->safe_psql('own', 'ALTER TABLE auth.jwt_issuer ADD COLUMN note text');
PostgreSQL::Test::Utils::system_or_bail('pg_dump', '-Fc', '-f', "$options{folder}/own.dump", $node->connstr('own'));
$node->safe_psql('postgres', 'CREATE DATABASE own_new');
($ignored, $message) = PostgreSQL::Test::Utils::run_command([ 'pg_restore', '-d', $node->connstr('own_new'), "$options{folder}/own.dump" ]);
like($message, qr/column "note" of relation "jwt_issuer" does not exist/, 'a column of one\'s own breaks the dump');
$node->safe_psql('own', 'CREATE TABLE audit (old auth.jwt_issuer)');
is(outcome($superuser, 'DROP EXTENSION jwt', 'own'), '2BP01', 'a column of a row type keeps the extension');

# Uninstallation.
$node->safe_psql('shop', 'CREATE TABLE note (owner text); CREATE POLICY own ON note USING (owner = auth.jwt_subject())');
is(outcome($superuser, 'DROP EXTENSION jwt'), '2BP01', 'a policy keeps it');
$node->safe_psql('shop', 'DROP TABLE note');
page('Uninstall');
is($node->safe_psql('shop', "SELECT count(*) FROM pg_proc WHERE proname LIKE 'jwt%'"), '0', 'nothing is left');

$subscriber->stop;
$node->stop;
done_testing();
