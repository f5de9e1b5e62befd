# What the owner of a database, and who publishes a key set, cannot do to the
# workers of jwt_jwks: have them run code, crash, stay, or serve nobody else.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use File::Temp qw(tempdir);
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

plan skip_all => 'there is no node' unless grep { -x "$_/node" } split(/:/, $ENV{PATH});

my $dir = tempdir(CLEANUP => 1);
system('/usr/bin/python3', "$FindBin::RealBin/fixtures.py", $dir) == 0 or die 'fixtures.py failed';
my ($in, $out, $err) = ('', '', '');
my $endpoint = IPC::Run::start([ 'node', "$FindBin::RealBin/endpoint.mjs", $dir ], '<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(600));
END { local $?; $endpoint->kill_kill if $endpoint }
$endpoint->pump until $out =~ /^ready$/m;
my %port = $out =~ /^(\S+) (\d+)$/mg;
my $uri = "https://localhost:$port{good}/set";
append_to_file("$dir/one", '{"keys":[' . slurp_file("$dir/k1.jwk") . ']}');
append_to_file("$dir/two", '{"keys":[' . slurp_file("$dir/k2.jwk") . ']}');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', qq{
	shared_preload_libraries = 'jwt, jwt_jwks'
	jwt_jwks.allowed_hosts = 'localhost:*'
	jwt_jwks.ca_file = '$dir/ca.pem'
	jwt_jwks.timeout = 2000
	jwt_jwks.cooldown = 1000
	log_min_messages = debug1
});
$node->start;
my $sources = q{INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://set.example', '{api}', '{ES256}');
	INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://set.example', '} . $uri . q{/one')};
my $due = 'UPDATE jwt_jwks_source SET next_attempt = now(), refresh_interval = refresh_interval';
my $workers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker'};
sub sql { my ($db, $sql, $user) = @_; return $node->safe_psql($db, $sql, extra_params => $user ? [ '-U', $user ] : []) }
sub fails { my ($db, $sql, $user) = @_; my ($rc, $o, $e) = $node->psql($db, $sql, extra_params => $user ? [ '-U', $user ] : []); return $rc == 0 ? 'accepted' : $e }
sub su { return $node->safe_psql('postgres', shift) }
sub database { my ($name, $owner) = @_; su("CREATE ROLE $owner LOGIN"); su("CREATE DATABASE $name OWNER $owner"); return }
# The database that must be served whatever happens in the others.
my $served = sub {
	my $what = shift;
	my $before = su("$due RETURNING clock_timestamp()");
	my $start = time();
	ok($node->poll_query_until('postgres', "SELECT last_success > '$before' FROM jwt_jwks_source"), sprintf('%s: another database is served (%.1f s)', $what, time() - $start));
	cmp_ok(time() - $start, '<', 15, 'soon');
};
su("CREATE EXTENSION jwt; $sources");
$served->('at first');

# What is not the extension's own is not called, though its owner has added it.
database('added', 'adder');
sql('added', q{CREATE EXTENSION jwt VERSION '1.1'; CREATE TABLE ran (what text)}, 'adder');
sql('added', q{CREATE FUNCTION jwt_prune_revocations(integer) RETURNS bigint LANGUAGE sql AS $$ INSERT INTO public.ran VALUES ('prune'); SELECT 10000::bigint $$;
	ALTER EXTENSION jwt ADD FUNCTION jwt_prune_revocations(integer)}, 'adder');
sql('added', $sources, 'adder');
ok($node->poll_query_until('added', 'SELECT last_success IS NOT NULL FROM jwt_jwks_source'), 'a database with a function that was added');
ok($node->poll_query_until('added', "$workers AND datname = 'added'", '0'), 'its worker ends');
is(sql('added', 'SELECT count(*) FROM ran'), '0', 'and has not called it');
database('tabled', 'tabler');
sql('tabled', q{CREATE EXTENSION jwt VERSION '1.0'; CREATE TABLE ran (what text);
	CREATE TABLE jwt_jwks_source (issuer text, uri text, etag text, etag_state bigint, last_error text, failures int, refresh_interval interval, last_attempt timestamptz, next_attempt timestamptz);
	CREATE FUNCTION run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.ran VALUES ('trigger'); PERFORM pg_sleep(1000); RETURN NULL; END $$;
	CREATE TRIGGER run BEFORE UPDATE ON jwt_jwks_source EXECUTE FUNCTION run();
	ALTER EXTENSION jwt ADD TABLE jwt_jwks_source}, 'tabler');
su('SELECT pg_reload_conf()');
sleep 2;
is(sql('tabled', 'SELECT count(*) FROM ran'), '0', 'nor has it written to a table that was added');
$served->('with both');

# A row that is not what it should be is an error, not a crash.
su('ALTER TABLE jwt_jwks_source ALTER failures DROP NOT NULL; UPDATE jwt_jwks_source SET failures = NULL');
my $log = -s $node->logfile;
su($due);
ok(logged($node, qr/ERROR:  column 5 of jwt_jwks_source is null/, $log), 'a row without a count of failures');
su('UPDATE jwt_jwks_source SET failures = 0; ALTER TABLE jwt_jwks_source ALTER failures SET NOT NULL');
su($due);
ok($node->poll_query_until('postgres', 'SELECT last_success = last_attempt FROM jwt_jwks_source'), 'a row that has one again');

# An extension in somebody else's schema is served, and they gain nothing by putting
# another in its place at any moment, where an earlier version lets them.
database('lodged', 'landlord');
su('CREATE ROLE lodger LOGIN; GRANT CREATE ON DATABASE lodged TO lodger');
sql('lodged', 'CREATE SCHEMA house; GRANT ALL ON SCHEMA house TO lodger', 'landlord');
sql('lodged', "CREATE EXTENSION jwt SCHEMA house VERSION '1.1'; SET search_path = house; $sources;
	GRANT SELECT ON jwt_jwks_source TO landlord", 'lodger');
ok($node->poll_query_until('lodged', 'SELECT last_success IS NOT NULL FROM house.jwt_jwks_source'), 'an extension in another\'s schema is served');
database('lodged_2', 'landlady');
sql('lodged_2', "CREATE EXTENSION jwt; $sources");
ok($node->poll_query_until('lodged_2', 'SELECT last_success IS NOT NULL FROM jwt_jwks_source'), 'and a superuser\'s in somebody\'s database');
sql('lodged', q{CREATE SCHEMA trap; CREATE TABLE public.ran (who text DEFAULT current_user); GRANT ALL ON public.ran TO PUBLIC; GRANT USAGE ON SCHEMA trap TO PUBLIC;
	SET search_path = trap;
	CREATE TABLE jwt_jwks_source (LIKE house.jwt_jwks_source); CREATE TABLE jwt_issuer (issuer text, algorithms text[]); CREATE TABLE jwt_key (issuer text);
	INSERT INTO jwt_jwks_source TABLE house.jwt_jwks_source; UPDATE jwt_jwks_source SET next_attempt = NULL; INSERT INTO jwt_issuer SELECT issuer FROM jwt_jwks_source;
	CREATE FUNCTION run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.ran DEFAULT VALUES; RETURN NEW; END $$;
	CREATE TRIGGER run BEFORE UPDATE ON jwt_jwks_source FOR EACH ROW EXECUTE FUNCTION run();
	GRANT ALL ON ALL TABLES IN SCHEMA trap TO PUBLIC}, 'landlord');
sql('lodged', q{CREATE FUNCTION public.refresh() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT unchanged FROM house.jwt_refresh_jwks('https://set.example'); END;
	CREATE FUNCTION public.done() RETURNS timestamptz LANGUAGE sql BEGIN ATOMIC SELECT last_success FROM house.jwt_jwks_source; END});
append_to_file("$dir/rename", join('', map { "BEGIN;\nALTER SCHEMA $_->[0];\nALTER SCHEMA $_->[1];\nCOMMIT;\n\\sleep 300 us\n" }
	[ 'house RENAME TO home', 'trap RENAME TO house' ], [ 'house RENAME TO trap', 'home RENAME TO house' ]));
append_to_file("$dir/refresh", "SELECT refresh();\n" x 10000);
my $renames = IPC::Run::start([ 'pgbench', '-n', '-T', 8, '-f', "$dir/rename", $node->connstr('lodged') . ' user=landlord' ], '>', \my $renamed, '2>', \my $rename_errors);
my @refreshes = map { IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('lodged'), '-f', "$dir/$_" ], '>', \my $done, '2>', \my $errors) } qw(refresh refresh);
is($renames->finish ? '' : $rename_errors, '', 'another schema is put in its place');
$_->kill_kill for @refreshes;
my ($rounds) = $renamed =~ /transactions actually processed: (\d+)/;
cmp_ok($rounds, '>', 50, "$rounds times the schema was another");
is(sql('lodged', q{SELECT string_agg(DISTINCT who, ' ') FROM ran}), '', 'and no worker has been there');
my $done = sql('lodged', 'SELECT done()');
sql('lodged', 'UPDATE house.jwt_jwks_source SET next_attempt = now(), refresh_interval = refresh_interval');
ok($node->poll_query_until('lodged', "SELECT done() > '$done'"), 'it is served');
# Now the schema keeps its name, by which PostgreSQL's foreign keys look up its tables
# with a superuser's rights.
sql('lodged', 'ALTER EXTENSION jwt UPDATE', 'lodger');
like(fails('lodged', "\\set VERBOSITY verbose\nALTER SCHEMA house RENAME TO home", 'landlord'), qr/42501: permission denied to rename schema "house"/, 'its owner cannot rename it');
like(fails('lodged', 'DO $$ BEGIN ALTER SCHEMA house RENAME TO home; END $$', 'landlord'), qr/permission denied to rename schema "house"/, 'nor in a block');
like(fails('lodged', 'ALTER EVENT TRIGGER jwt_schema_stays DISABLE', 'landlord'), qr/must be owner/, 'nor have that not checked');
like(fails('lodged', 'DROP EVENT TRIGGER jwt_schema_stays', 'landlord'), qr/must be owner/, 'in any way');
is(fails('lodged', 'ALTER SCHEMA trap RENAME TO trap_2; ALTER SCHEMA house OWNER TO landlord', 'landlord'), 'accepted', 'another schema they can rename');
is(fails('lodged', 'ALTER SCHEMA house RENAME TO home'), 'accepted', 'and a superuser this one');
$done = sql('lodged', 'SELECT done()');
sql('lodged', 'UPDATE home.jwt_jwks_source SET next_attempt = now(), refresh_interval = refresh_interval');
ok($node->poll_query_until('lodged', "SELECT done() > '$done'"), 'which is served then, too');

# Who has a database to himself, or a row, keeps nobody else from anything.
database('renamed', 'renamer');
sql('renamed', "CREATE EXTENSION jwt; $sources", 'renamer');
ok($node->poll_query_until('renamed', 'SELECT last_success IS NOT NULL FROM jwt_jwks_source'), 'a database is served');
su('ALTER ROLE renamer CREATEDB');
my $renaming = open_session($node->connstr('postgres') . ' user=renamer');
sql('renamed', $due, 'renamer');
ok($node->poll_query_until('renamed', $workers, '0'), 'no worker is there');
$renaming->('BEGIN; ALTER DATABASE renamed RENAME TO renamed_2');
su(q{ALTER SYSTEM SET jwt_jwks.databases = 'postgres, renamed, renamed_2'; SELECT pg_reload_conf()});
$served->('while one is being renamed');
$renaming->('COMMIT');
$renaming->();
sql('renamed_2', $due, 'renamer');
ok($node->poll_query_until('renamed_2', 'SELECT last_success = last_attempt AND next_attempt > now() FROM jwt_jwks_source'), 'which is served under its new name');
su(q{ALTER SYSTEM SET jwt_jwks.databases = 'postgres'; SELECT pg_reload_conf()});
sleep 1;
sql('renamed_2', "UPDATE jwt_jwks_source SET uri = '$uri/two'", 'renamer');
$served->('when it alone is to be');
is(sql('renamed_2', 'SELECT last_attempt IS NULL OR next_attempt IS NULL FROM jwt_jwks_source'), 't', 'and the others are not');
su(q{ALTER SYSTEM RESET jwt_jwks.databases; SELECT pg_reload_conf()});

su("INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://locked.example', '{api}', '{ES256}');
	INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://locked.example', '$uri/one')");
my $last = q{SELECT last_success FROM jwt_jwks_source WHERE issuer = 'https://set.example'};
ok($node->poll_query_until('postgres', 'SELECT bool_and(last_success = last_attempt) FROM jwt_jwks_source'), 'two sources');
my $locking = open_session($node->connstr('postgres'));
su($due);
ok($node->poll_query_until('postgres', 'SELECT bool_and(next_attempt > now()) FROM jwt_jwks_source'), 'are fetched');
su($due . q{ WHERE issuer = 'https://locked.example'; SELECT pg_sleep(1)});
$locking->(q{BEGIN; UPDATE jwt_jwks_source SET next_attempt = now() WHERE issuer = 'https://locked.example'});
my $before = su($last);
my $forged = MIME::Base64::encode_base64url('{"alg":"ES256","kid":"nobody"}') . '.e30.AAAA';
my $end = time() + 6;
$log = -s $node->logfile;
while (time() < $end)
{
	su("SELECT sqlstate FROM jwt_inspect('$forged')");
	sleep 0.1;
}
my $starts = () = substr(slurp_file($node->logfile), $log) =~ /starting background worker process "jwt_jwks worker"/g;
isnt(su($last), $before, 'while a row is locked, tokens have the other fetched');
cmp_ok($starts, '>=', 1, 'by workers');
cmp_ok($starts, '<', 12, "of which few are started: $starts in 6 s");
$locking->('ROLLBACK');
$locking->();
su(q{DELETE FROM jwt_issuer WHERE issuer = 'https://locked.example'});

# Sets that are made to take long, by an issuer that has nothing to lose.
my $large = `/usr/bin/python3 -c 'import base64, json, random
random.seed(1)
print(json.dumps({"keys": [{"kty": "RSA", "kid": str(i), "alg": "RS256", "e": "AQAB", "n": base64.urlsafe_b64encode(
    (random.getrandbits(8192) | 1 | 1 << 8191).to_bytes(1024, "big")).rstrip(b"=").decode()} for i in range(600)]}))'`;
append_to_file("$dir/large", $large);
su("INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://large.example', '{api}', '{RS256}');
	INSERT INTO jwt_jwks_source (issuer, uri, next_attempt) VALUES ('https://large.example', '$uri/large', 'infinity')");
my $start = time();
like(fails('postgres', q{SELECT jwt_refresh_jwks('https://large.example')}), qr/could not be imported/, 'a set that takes long');
my $took = time() - $start;
cmp_ok($took, '>', 5, 'is tried');
cmp_ok($took, '<', 60, sprintf('but not for ever (%.1f s)', $took));
ok(logged($node, qr/To check the first \d+ of its 600 keys has taken more than/, 0), 'as the log tells');
su(q{DELETE FROM jwt_issuer WHERE issuer = 'https://large.example'});
# Sets that change all the time leave no more than so many keys.
my $churn = q{SELECT jwt_import_jwks('https://set.example', (SELECT jsonb_build_object('keys', jsonb_agg(jsonb_build_object('kty', 'OKP', 'crv', 'Ed25519', 'kid', 'c%d-' || i,
	'x', translate(encode(sha256((%d * 10000 + i)::text::bytea), 'base64'), '+/=', '-_')))) FROM generate_series(1, 900) i))};
su(q{UPDATE jwt_issuer SET algorithms = '{ES256,Ed25519}'; UPDATE jwt_jwks_source SET next_attempt = 'infinity'});
su(sprintf($churn, $_, $_)) for 1 .. 4;
cmp_ok(su('SELECT count(*) FROM jwt_key'), '<=', 1000 + 2 * 900, 'keys that are retired over and over are forgotten');
is(su(q{SELECT count(*) FROM jwt_key_status WHERE verifies}), '900', 'but those that verify');

# Plain http goes to a host that is named, not to what "*" allows.
su(q{ALTER SYSTEM SET jwt_jwks.allow_http_to_loopback = on; ALTER SYSTEM SET jwt_jwks.allowed_hosts = '*:*'; SELECT pg_reload_conf()});
su("UPDATE jwt_jwks_source SET uri = 'http://localhost:$port{plain}/set/one'");
like(fails('postgres', q{SELECT jwt_refresh_jwks('https://set.example')}), qr/not one of those in jwt_jwks.allowed_hosts/, 'plain http where "*" allows it');
su(q{ALTER SYSTEM SET jwt_jwks.allowed_hosts = 'localhost:*'; SELECT pg_reload_conf()});
like(su(q{SELECT added + changed + unchanged FROM jwt_refresh_jwks('https://set.example')}), qr/^1$/, 'plain http where the host is named');

$node->stop;
unlike(slurp_file($node->logfile), qr/TRAP|PANIC|segfault|terminated by signal 11/, 'nobody crashed');
done_testing();
