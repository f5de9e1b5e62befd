# Attacks on jwt_auth by other roles: a role that may only refresh, one without rights, the
# owner of a schema, the owner of the database. Each is refused, beside a case that is
# accepted. What a client or the log shows has no token, no key, and no reason.
use strict;
use warnings FATAL => 'all';

use FindBin;
use IO::Socket::UNIX;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use JwtTest;
use LifeTest;
use Math::BigInt;
use MIME::Base64 qw(decode_base64url encode_base64url);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($node, $bootstrap) = start_main("max_prepared_transactions = 2\nmax_locks_per_transaction = 512", q{
	CREATE ROLE boss LOGIN;
	CREATE ROLE third LOGIN;
	CREATE ROLE api LOGIN;
	CREATE ROLE nobody2 LOGIN;
});
my $file = put_keys($node, key_line('k1'));
$node->append_conf('postgresql.conf', "jwt_auth.key_file = '$file'");
$node->reload;
my $issuer = 'https://login.example';

sub must { my ($db, $user, $sql) = @_; return session($db, $user)->must($sql) }

# A database of boss, in which an issuer signs.
my $set_up = q{
	SELECT jwt_add_issuer('https://login.example', '{api}', '{ES256,EdDSA,RS256,HS256}');
	INSERT INTO jwt_token_policy (issuer, audience, grace) VALUES ('https://login.example', '{api}', '0');
	SELECT jwt_create_signing_key('https://login.example');
	GRANT EXECUTE ON FUNCTION jwt_refresh TO api};
sub new_database
{
	my ($db) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $db OWNER boss");
	must($db, 'boss', "CREATE EXTENSION jwt_auth CASCADE; $set_up");
	must($db, 'boss', "UPDATE jwt_token_policy SET publish_ahead = '0'");
	return $db;
}
sub start { my ($db, $sub) = @_; return must($db, 'boss', "SELECT jwt_start_session('$issuer', '$sub') ->> 'refresh_token'") }
age_server($node);
my $d = new_database('d');
my $refresh = sub { my ($token, $more) = @_; return "SELECT coalesce(jwt_refresh('$token'" . ($more // '') . ") ->> 'error', 'tokens')" };

#
# Internal functions, and rights that the owner does not have
#

for my $case ((map { [ 'boss', $_, '42501' ] } 'SELECT jwt_auth_changed()', 'SELECT jwt_auth_install_begin()', 'SELECT jwt_auth_install_strip()', 'SELECT jwt_auth_install_end()'),
	(map { [ $bootstrap, "SELECT jwt_auth_install_$_()", '55000' ] } qw(begin strip end)),
	(map { [ $_, 'SELECT jwt_entries(NULL)', '42883' ], [ $_, 'SELECT jwt_entries(NULL::internal)', '42846' ] } 'boss', $bootstrap),
	(map { [ 'nobody2', $_, '42501' ], [ 'api', $_, '42501' ] } 'SELECT jwt_rotate_due_signing_keys()', 'SELECT jwt_signing_key_status_rows()', 'TABLE jwt_session', 'TABLE jwt_signing_key', 'TABLE jwt_token_policy',
		"SELECT jwt_sign('{}')", "SELECT jwt_start_session('$issuer', 'root')", "SELECT jwt_refresh_session('x')", "SELECT jwt_refresh_with('x', '{}')", "SELECT jwt_end_sessions('$issuer')", 'SELECT jwt_prune_sessions()'),
	[ 'nobody2', $refresh->('x'), '42501' ], [ 'api', $refresh->('x'), 'invalid_request' ],
	(map { [ 'boss', $_, '42501' ] } 'CREATE TRIGGER t BEFORE INSERT ON jwt_session FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()', 'CREATE INDEX ON jwt_session (counter)', 'CREATE RULE r AS ON INSERT TO jwt_session DO NOTHING',
		'CREATE TABLE fk (sid uuid REFERENCES jwt_session)', 'ALTER TABLE jwt_signing_key DISABLE TRIGGER ALL', 'SET session_replication_role = replica', 'ALTER EXTENSION jwt DROP FUNCTION jwt_entries(internal)', 'ALTER EXTENSION jwt_auth DROP TABLE jwt_session'),
	[ 'boss', 'ALTER EXTENSION jwt_auth SET SCHEMA pg_temp', '0A000' ])
{
	my ($user, $sql, $should) = @$case;
	is(try_as($d, $user eq $bootstrap ? $bootstrap : $user, $sql), $should, "$user: $sql");
}

#
# Look-alikes that the owner adds to the extensions
#

must($d, 'boss', 'CREATE SCHEMA evil; CREATE TABLE evil.jwt_session (sid uuid); CREATE FUNCTION evil.jwt_entries(text) RETURNS text LANGUAGE sql AS $$ SELECT 1/0 $$; ALTER EXTENSION jwt_auth ADD TABLE evil.jwt_session; ALTER EXTENSION jwt ADD FUNCTION evil.jwt_entries(text)');
as($d, 'boss', 'SET search_path = evil, public');
is(as($d, 'boss', $refresh->(start($d, 'alice'))), 'tokens', 'look-alikes that are members are not believed');
must($d, 'boss', 'RESET search_path; ALTER EXTENSION jwt_auth DROP TABLE evil.jwt_session; ALTER EXTENSION jwt DROP FUNCTION evil.jwt_entries(text); DROP SCHEMA evil CASCADE');

#
# The protocol's call of a function by its OID, with arguments that no SQL can give
#

sub fastpath
{
	my ($db, $user) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port) or die;
	my $message = sub {
		read($socket, my $head, 5) == 5 or die 'the server has closed the connection';
		my ($kind, $length) = unpack('aN', $head);
		read($socket, my $body, $length - 4) == $length - 4 or die;
		return ($kind, $body);
	};
	my $answer = sub {
		my $outcome = '';
		while (1)
		{
			my ($kind, $body) = $message->();
			return $outcome if $kind eq 'Z';
			$outcome = $kind if $kind eq 'V';
			$outcome = $1 if $kind eq 'E' && $body =~ /\0C(\w{5})\0/;
		}
	};
	my $start = pack('N', 196608) . join("\0", 'user', $user, 'database', $db, '', '');
	print {$socket} pack('N', 4 + length $start) . $start;
	$socket->flush;
	$answer->();
	# undef is null
	return sub {
		my ($oid, $format, @arguments) = @_;
		my $call = pack('N n n n', $oid, 1, $format, scalar @arguments) . join('', map { defined $_ ? pack('N/a', $_) : pack('N', 0xffffffff) } @arguments) . pack('n', 0);
		print {$socket} 'F' . pack('N', 4 + length $call) . $call;
		$socket->flush;
		return $answer->();
	};
}
{
	my @functions = map { [ split /\|/ ] } split /\n/, $node->safe_psql($d, q{SELECT p.oid, p.proname, p.pronargs, has_function_privilege('api', p.oid, 'EXECUTE') FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid
		WHERE e.extname = 'jwt_auth' OR p.proname = 'jwt_entries'});
	cmp_ok(scalar(@functions), '>', 15, 'functions to call');
	for my $user ('api', 'boss', $bootstrap)
	{
		my $call = fastpath($d, $user);
		my @wrong;
		for my $function (@functions)
		{
			my ($oid, $name, $n, $may) = @$function;
			for my $arguments ((map { my $value = $_; [ 0, ($value) x $n ], [ 1, ($value) x $n ] } undef, '', "\xff" x 8, 'x' x 70000), [ 0 ], [ 1, ("\0\0\0\1") x ($n + 1) ])
			{
				my $outcome = $call->($oid, @$arguments);
				push @wrong, "$name $outcome" if $user eq 'api' && $may ne 't' ? $outcome ne '42501' : $outcome !~ /^(V|\w{5})$/ || ($name eq 'jwt_entries' && $outcome eq 'V');
			}
		}
		is("@wrong", '', "$user: calls of functions by OID");
	}
}

#
# The library jwt of another version
#

{
	my $db = new_database('versions');
	my $refresh_token = start($db, 'alice');
	my $access = must($db, 'boss', q{SELECT jwt_sign('{"sub": "alice"}')});
	my $swap = sub {
		my ($new) = @_;
		forget_sessions();
		must($db, $bootstrap, "BEGIN; ALTER EXTENSION jwt DROP FUNCTION jwt_entries(internal); ALTER FUNCTION jwt_entries(internal) RENAME TO jwt_entries_before; $new; COMMIT");
	};
	for my $case (
		[ 'none', '' ],
		[ 'null', q{CREATE FUNCTION jwt_entries(internal) RETURNS internal AS 'jwt_test', 'jwt_test_no_entries' LANGUAGE C; ALTER EXTENSION jwt ADD FUNCTION jwt_entries(internal)} ],
		[ 'of another version', q{CREATE FUNCTION jwt_entries(internal) RETURNS internal AS 'jwt_test', 'jwt_test_other_entries' LANGUAGE C; ALTER EXTENSION jwt ADD FUNCTION jwt_entries(internal)} ],
		[ 'too few', q{CREATE FUNCTION jwt_entries(internal) RETURNS internal AS 'jwt_test', 'jwt_test_fewer_entries' LANGUAGE C; ALTER EXTENSION jwt ADD FUNCTION jwt_entries(internal)} ],
		[ 'of another type', q{CREATE FUNCTION jwt_entries(internal) RETURNS void AS 'jwt_test', 'jwt_test_no_entries' LANGUAGE C; ALTER EXTENSION jwt ADD FUNCTION jwt_entries(internal)} ],
		[ "the owner's", q{CREATE FUNCTION jwt_entries(internal) RETURNS internal AS 'jwt_test', 'jwt_test_no_entries' LANGUAGE C; ALTER FUNCTION jwt_entries(internal) OWNER TO boss; ALTER EXTENSION jwt ADD FUNCTION jwt_entries(internal)} ])
	{
		my ($name, $sql) = @$case;
		$swap->($sql);
		is(as($db, 'boss', $_), '55000', "entries, $name: $_") for q{SELECT jwt_sign('{"sub": "alice"}')}, "SELECT jwt_start_session('$issuer', 'alice')", "SELECT jwt_refresh('$refresh_token')", "SELECT jwt_create_signing_key('$issuer')", "SELECT jwt_end_sessions('$issuer')", 'TABLE jwt_signing_key_status';
		is(as($db, 'boss', "SELECT jwt_verify('$access') ->> 'sub'"), 'alice', "entries, $name: tokens verify");
		is(as($db, 'boss', "BEGIN; UPDATE jwt_token_policy SET grace = grace; UPDATE jwt_signing_key SET kid = kid; ROLLBACK"), '', "entries, $name: rows can be written");
		forget_sessions();
		must($db, $bootstrap, 'BEGIN; ' . ($sql ? 'ALTER EXTENSION jwt DROP FUNCTION jwt_entries(internal); DROP FUNCTION jwt_entries(internal); ' : '') . 'ALTER FUNCTION jwt_entries_before(internal) RENAME TO jwt_entries; ALTER EXTENSION jwt ADD FUNCTION jwt_entries(internal); COMMIT');
	}
	is(as($db, 'boss', $refresh->($refresh_token)), 'tokens', 'entries of this version: a session is refreshed');
	forget_sessions();
}

#
# Triggers that were disabled, or that fire for others, as after pg_restore --disable-triggers
#

{
	my $db = new_database('triggers');
	my @tables = qw(jwt_issuer jwt_key jwt_denylist jwt_token_policy jwt_signing_key);
	for my $case ((map { [ "ALTER TABLE $_ DISABLE TRIGGER ALL; ALTER TABLE $_ ENABLE TRIGGER ALL", $_ ] } @tables), (map { [ "ALTER TABLE $_ DISABLE TRIGGER ALL", $_ ] } @tables))
	{
		my ($sql, $table) = @$case;
		must($db, $bootstrap, $sql);
		my $kid = must($db, 'boss', "SELECT jwt_create_signing_key('$issuer', activate_at => now())");
		my $sign = q{SET statement_timeout = '20s'; SELECT jwt_header(jwt_sign('{"sub": "alice"}')) ->> 'kid'};
		is(as($db, 'boss', $sign) . ' ' . as($db, 'boss', $refresh->(start($db, 'alice'))), "$kid tokens", "$sql: signs and refreshes");
		must($db, $bootstrap, "SET session_replication_role = replica; UPDATE jwt_token_policy SET audience = '{x}'; RESET session_replication_role");
		is(as($db, 'boss', $sign), '55000', 'and sees another policy at its next statement') if $table eq 'jwt_token_policy';
		must($db, $bootstrap, "UPDATE jwt_token_policy SET audience = '{api}'; SET session_replication_role = replica; DELETE FROM jwt_signing_key; RESET session_replication_role");
		is(as($db, 'boss', $sign), '55000', 'and that a key is gone') if $table eq 'jwt_signing_key';
		must($db, $bootstrap, 'DELETE FROM jwt_signing_key');
	}
	forget_sessions();
}

#
# The log and the messages
#

my $token = start($d, 'alice');
# what is logged while a function runs
sub logged_by { my ($do) = @_; my $from = -s $node->logfile; $do->(); return substr(slurp_file($node->logfile), $from) }
for my $case (
	[ 'without a key file', sub { rename($file, "$file.away") or die }, sub { rename("$file.away", $file) or die }, 'F0000' ],
	[ 'without a key that signs', "UPDATE jwt_signing_key SET activate_at = activate_at + interval '1 day'", "UPDATE jwt_signing_key SET activate_at = activate_at - interval '1 day'", '55000' ],
	[ 'with a policy that makes no sense', "UPDATE jwt_token_policy SET audience = '{x}'", "UPDATE jwt_token_policy SET audience = '{api}'", '55000' ],
	[ 'with a lock that somebody else has', sub { session($d, 'boss')->must('BEGIN; SELECT FROM jwt_session FOR UPDATE') }, 'ROLLBACK', '55P03' ],
  )
{
	my ($name, $before, $after, $sqlstate) = @$case;
	ref $before ? $before->() : must($d, 'boss', $before);
	my $log = logged_by(sub {
		for my $sql ($refresh->($token), "DO \$\$ BEGIN EXECUTE 'SELECT jwt_refresh(''$token'')'; END \$\$")
		{
			is(as($d, 'api', "SET lock_timeout = '50ms'; $sql"), $sqlstate, "$name: $sqlstate");
		}
	});
	ref $after ? $after->() : must($d, 'boss', $after);
	like($log, qr/ERROR: /, "$name: the error is logged");
	unlike($log, qr/\Q$token\E/, "$name: and not the refresh token, which is good still");
}
is(as($d, 'api', $refresh->($token)), 'tokens', 'it is redeemed then');

# client_min_messages = log shows a client no reason, and a forged token does not show
# whether a session exists.
$token = start($d, 'alice');
my $forge = sub { my ($name, $sid) = @_; my $bytes = decode_base64url($token); return encode_base64url("\1" . chr(length $name) . $name . $sid . substr($bytes, -40)) };
my $live = substr(decode_base64url($token), 4, 16);
for my $case ([ 'a genuine one of another client', $token, ", 'other'" ], [ 'a forged one with a key that is gone', $forge->('k9', $live) ], [ 'a forged one without a session', $forge->('k9', 'x' x 16) ], [ 'a forged one', encode_base64url(substr(decode_base64url($token), 0, -32) . 'x' x 32) ])
{
	my ($name, $bad, $more) = @$case;
	is(as($d, 'api', 'SET client_min_messages = log; ' . $refresh->($bad, $more)), 'invalid_grant', "$name: the client sees one answer");
}
is(as($d, 'api', $refresh->($token)), 'tokens', 'the genuine one is redeemed');

# The log names each session whose tokens were rolled back, also among many others.
sub rolled_back
{
	my ($sql) = @_;
	my ($stolen, $own) = (start($d, 'victim'), start($d, 'thief'));
	my $log = logged_by(sub {
		my $thief = LifeTest->new($node->connstr($d) . ' user=api');
		$thief->ask($sql =~ s/TOKEN/$stolen/gr =~ s/OWN/$own/gr);
		$thief->finish;
		session($d, 'boss')->must('SELECT pg_sleep(0)');
	});
	return $log =~ /issued tokens of session \Q${\ refresh_sid($stolen)}\E was rolled back/ ? 'named' : "not named: $log";
}
must($d, 'boss', q{UPDATE jwt_token_policy SET grace = '1 minute'});
is(rolled_back($_), 'named', "logged: $_") for q{BEGIN; SELECT jwt_refresh('TOKEN'); ROLLBACK}, q{BEGIN; SAVEPOINT a; SELECT jwt_refresh('TOKEN'); ROLLBACK TO a; COMMIT},
  q{BEGIN; SAVEPOINT a; SAVEPOINT b; SELECT jwt_refresh('TOKEN'); RELEASE b; ROLLBACK TO a; COMMIT}, q{DO $$ BEGIN PERFORM jwt_refresh('TOKEN'); RAISE division_by_zero; EXCEPTION WHEN OTHERS THEN NULL; END $$},
  q{DO $$ BEGIN RAISE EXCEPTION '%', jwt_refresh('TOKEN'); END $$}, q{BEGIN; DECLARE c CURSOR FOR SELECT jwt_refresh('TOKEN'); FETCH c; ROLLBACK}, q{BEGIN; COPY (SELECT jwt_refresh('TOKEN')) TO STDOUT; ROLLBACK AND CHAIN; COMMIT},
  q{BEGIN; SELECT jwt_refresh('TOKEN'); PREPARE TRANSACTION 'x'}, q{BEGIN; SELECT jwt_refresh('TOKEN'); SET TRANSACTION READ ONLY; ROLLBACK}, q{BEGIN; EXPLAIN ANALYZE SELECT jwt_refresh('TOKEN'); ROLLBACK},
  "BEGIN; SELECT jwt_refresh('TOKEN'); " . q{SAVEPOINT s; SELECT jwt_refresh('OWN'); RELEASE s; } x 12 . 'ROLLBACK';

must($d, 'boss', q{UPDATE jwt_token_policy SET grace = '0'});

#
# Work that a role without rights can cause
#

# n is prime, so the search for its factors finds none, and takes some 100 ms
my $prime = `openssl prime -generate -bits 2048 -hex`;
chomp $prime;
my $n = Math::BigInt->from_hex($prime);
my $private = Math::BigInt->new(65537)->bmodinv($n - 1);
my $big = sub { my $hex = substr($_[0]->as_hex, 2); return encode_base64url(pack('H*', (length($hex) % 2 ? '0' : '') . $hex)) };
my $rsa = sub { my ($n, $d) = @_; return sprintf(q[SELECT jws_sign('x', '{"kty":"RSA","n":"%s","e":"AQAB","d":"%s"}', 'RS256')], $big->($n), $big->($d)) };
is(as($d, 'nobody2', "SET statement_timeout = '5ms'; " . $rsa->($n, $private)), '57014', 'a timeout ends the search for the factors of a prime');
is(as($d, 'nobody2', "SET statement_timeout = '60s'; " . $rsa->($n, $private - 2)), '22023', 'halves that do not fit are refused');

#
# The public half of a key is changed
#

for my $alg (qw(EdDSA ES256 RS256))
{
	must($d, 'boss', "SELECT jwt_create_signing_key('$issuer', '$alg', 'old$alg', now()); SELECT jwt_create_signing_key('$issuer', '$alg', 'new$alg', now())");
	my $sign = "SELECT CASE WHEN jwt_sign('{\"sub\":\"a\"}') IS NOT NULL THEN 'signed' END";
	is(as($d, 'boss', $sign), 'signed', "$alg: signs");
	my $other = "(SELECT jwk FROM jwt_signing_key WHERE kid = 'old$alg')";
	my %change = (
		'jwt_key' => "UPDATE jwt_key SET jwk = $other WHERE kid = 'new$alg'",
		'jwt_signing_key' => "UPDATE jwt_signing_key SET jwk = $other WHERE kid = 'new$alg'",
	);
	$change{both} = join('; ', @change{qw(jwt_key jwt_signing_key)});
	for my $name (sort keys %change)
	{
		# if both rows agree, the sealed key does not open
		my $sqlstate = $name eq 'both' ? 'XX001' : '55000';
		is(try_as($d, 'boss', "$change{$name}; $sign"), $sqlstate, "$alg: not with another public half in $name, in one transaction");
		is(try_as($d, $bootstrap, "SET LOCAL session_replication_role = replica; $change{$name}; $sign"), $sqlstate, "$alg: nor as a replica, in $name");
		is(try_as($d, 'boss', "PREPARE p AS $sign; $change{$name}; EXECUTE p"), $sqlstate, "$alg: nor by a prepared statement, in $name");
		as($d, 'boss', 'DEALLOCATE ALL');
		must($d, $bootstrap, $sign);
		must($d, 'boss', "CREATE TABLE saved AS SELECT id, jwk FROM jwt_key WHERE kid = 'new$alg'; BEGIN; $change{$name}; COMMIT");
		is(as($d, $bootstrap, $sign), $sqlstate, "$alg: nor by another session that has it in its cache, in $name");
		must($d, 'boss', "UPDATE jwt_key k SET jwk = s.jwk FROM saved s WHERE s.id = k.id; UPDATE jwt_signing_key k SET jwk = s.jwk FROM saved s WHERE s.id = k.id; DROP TABLE saved");
		is(as($d, $bootstrap, $sign), 'signed', "$alg: and it signs again, when $name is as it was");
	}
}

#
# Settings
#

is(try_as($d, $_->[0], $_->[1]), $_->[2], "$_->[0]: $_->[1]") for [ 'boss', "SET jwt_auth.key_file = '/x'", '55P02' ], [ $bootstrap, "SET jwt_auth.key_file = '/x'", '55P02' ], [ $bootstrap, "SELECT set_config('jwt_auth.key_command', 'true', false)", '55P02' ],
  [ $bootstrap, "ALTER ROLE boss SET jwt_auth.key_file = '/x'", '55P02' ], [ $bootstrap, "ALTER DATABASE d SET jwt_auth.key_command = 'true'", '55P02' ], [ 'boss', 'SHOW jwt_auth.key_file', '42501' ];
as($d, $bootstrap, "ALTER SYSTEM SET jwt_auth.key_file = '/x'");
is($node->safe_psql($d, "SELECT count(*) FROM pg_file_settings WHERE sourcefile ~ 'auto'"), '0', 'ALTER SYSTEM does not set it');
for my $setting (qw(jwt_auth.key_file jwt_auth.key_command))
{
	my $fresh = LifeTest->new($node->connstr($d) . " user=boss");
	is($fresh->ask("SET $setting = '/nowhere'; SET client_min_messages = error; SELECT jwt_sign('{\"sub\":\"a\"}') IS NOT NULL"), 't', "$setting: a value from before the library was loaded is not used");
	$fresh->finish;
}

#
# Objects in a schema before the extension is created
#

{
	my $db = 'planted';
	$node->safe_psql('postgres', "CREATE DATABASE $db OWNER boss");
	must($db, $bootstrap, 'CREATE SCHEMA auth AUTHORIZATION third; GRANT USAGE ON SCHEMA auth TO PUBLIC; GRANT CREATE ON SCHEMA auth TO boss');
	my $trap = q{LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'ZZ666'; END $$};
	my @types = qw(text varchar name uuid oid timestamptz interval jsonb int4 int8 bool text[] uuid[] anyelement anyarray);
	my @plants;
	for my $left (@types)
	{
		for my $right (grep { $left !~ /^any/ || !/^any/ || $left eq $_ } @types)
		{
			my $f = 'auth.trap_' . @plants;
			push @plants, "CREATE FUNCTION $f($left, $right) RETURNS bool $trap", map { "CREATE OPERATOR auth.$_ (LEFTARG = $left, RIGHTARG = $right, FUNCTION = $f)" } '=', '<>', '<', '+', '-';
		}
	}
	push @plants, map { ("CREATE FUNCTION auth.$_(name) RETURNS text $trap", "CREATE FUNCTION auth.$_(VARIADIC anyarray) RETURNS bool $trap", "CREATE FUNCTION auth.$_() RETURNS timestamptz $trap") }
	  qw(count clock_timestamp now gen_random_uuid format set_config current_setting quote_ident pg_extension_config_dump int4);
	push @plants, map { "CREATE FUNCTION auth.$_ RETURNS text $trap" } 'jwt_auth_install_begin(int)', 'jwt_auth_install_strip(VARIADIC int[])', 'jwt_auth_install_end(int)', 'jwt_auth_changed(int)', 'jwt_signing_key_status_rows(VARIADIC int[])', 'jwt_prune_sessions(bigint)', 'jwt_entries(text)', 'jwt_entries(VARIADIC anyarray)';
	push @plants, map { "CREATE DOMAIN auth.$_ AS pg_catalog.text" } qw(text timestamptz uuid jsonb interval bytea bigint integer int8 int4 "trigger" record void "boolean");
	as($db, 'third', $_) for @plants;
	must($db, $bootstrap, "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC; ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO PUBLIC; ALTER DEFAULT PRIVILEGES FOR ROLE boss GRANT ALL ON TABLES TO PUBLIC");
	is(as($db, 'third', 'CREATE EXTENSION jwt SCHEMA auth'), '42501', 'planted: its owner does not create the extension');
	is(as($db, 'boss', 'CREATE EXTENSION jwt SCHEMA public; CREATE EXTENSION jwt_auth SCHEMA auth'), '', 'planted: the owner of the database does');
	is($node->safe_psql($db, strangers('jwt_auth')), '', 'planted: it depends on none of these objects');
	is($node->safe_psql($db, q{SELECT string_agg(c.oid::regclass::text, ' ') FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e', pg_extension e WHERE e.oid = d.refobjid AND has_table_privilege('third', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER, REFERENCES')}), '', 'planted: default privileges gave nothing');
	is($node->safe_psql($db, q{SELECT string_agg(p.proname, ' ' ORDER BY p.proname) FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'jwt_auth' WHERE has_function_privilege('third', p.oid, 'EXECUTE')}), 'jws_sign jwt_signing_key_status_rows', 'planted: nor functions');
	must($db, 'boss', "SET search_path = public, auth; $set_up");
	for my $user ('boss', $bootstrap)
	{
		must($db, $user, 'SET search_path = public, auth');
		is(as($db, $user, qq{SELECT coalesce(auth.jwt_refresh(pg_catalog.jsonb_extract_path_text(auth.jwt_start_session('$issuer'::pg_catalog.text, 'x'::pg_catalog.text), 'refresh_token')) OPERATOR(pg_catalog.->>) 'error', 'tokens')}), 'tokens', "planted: $user signs and refreshes");
		is(as($db, $user, "SELECT auth.jwt_end_sessions('$issuer'::pg_catalog.text), auth.jwt_prune_sessions(NULL::pg_catalog.int4), auth.jwt_rotate_due_signing_keys()"), '1|1|0', "planted: $user ends and prunes");
		is(as($db, $user, 'SELECT state FROM auth.jwt_signing_key_status'), 'current', "planted: $user sees states");
	}
	# the owner of the schema: drops what can be dropped
	is(as($db, 'third', "DROP TABLE auth.$_ CASCADE"), '2BP01', "the owner of the schema does not drop $_") for qw(jwt_session jwt_signing_key);
	my $left = must($db, 'boss', "SELECT auth.jwt_start_session('$issuer', 'carol') OPERATOR(pg_catalog.->>) 'refresh_token'::pg_catalog.text");
	is(as($db, 'third', 'DROP INDEX auth.jwt_session_issuer_sub_idx, auth.jwt_signing_key_issuer_idx'), '', 'it drops indexes');
	is(as($db, 'boss', "SELECT auth.jwt_end_sessions('$issuer'::pg_catalog.text, 'carol'::pg_catalog.text), auth.jwt_refresh('$left'::pg_catalog.text) OPERATOR(pg_catalog.->>) 'error'::pg_catalog.text"), '1|invalid_grant', 'with the same effect without them');
	must($db, $bootstrap, 'DROP EXTENSION jwt CASCADE');
	is(as($db, 'boss', "SELECT auth.jwt_sign('{}'::pg_catalog.jsonb)"), '42883', 'DROP EXTENSION jwt CASCADE drops jwt_auth');
	forget_sessions();
}

$node->stop;
unlike(slurp_file($node->logfile), qr/was terminated by signal|PANIC|TRAP/, 'no server process has crashed');

done_testing();
