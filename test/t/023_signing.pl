# The signing keys of jwt_auth: a sealed key opens in its own row only, a changed public
# half never signs, lines of the key file are added and removed, the worker rotates, a dump
# is restored, and no private key is in the log.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my ($k1, $k2, $k3) = (key_line('k1'), key_line('k2', 'postgres'), key_line('k3'));

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
sub put { return put_keys($node, @_) }
my $file = put($k1);
$node->append_conf('postgresql.conf', join("\n", "shared_preload_libraries = 'jwt, jwt_jwks'", "jwt_auth.key_file = '$file'",
	'log_statement = all', 'log_error_verbosity = verbose', 'log_parameter_max_length = 0', 'log_parameter_max_length_on_error = 0',
	'autovacuum = off'));
$node->start;
my $session = open_session($node->connstr('postgres'));
sub sql { my ($sql, $db) = @_; return $db ? $node->safe_psql($db, $sql) : $session->($sql) }

my @algs = qw(ES256 ES384 RS256 PS256 Ed25519 EdDSA Ed448 ES256K);
sub setup
{
	return q{
	CREATE EXTENSION jwt;
	CREATE EXTENSION jwt_auth;
	-- an issuer that signs
	CREATE FUNCTION add(name text, alg text) RETURNS text LANGUAGE sql AS $$
		SELECT jwt_add_issuer(name, '{api}', ARRAY(SELECT DISTINCT unnest(ARRAY[alg, 'PS256', 'ES256'])));
		INSERT INTO jwt_token_policy (issuer, audience) VALUES (name, '{api}');
		SELECT jwt_create_signing_key(name, alg);
	$$;
	-- the kid that signs now and verifies, or why not
	CREATE FUNCTION try(name text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		token text;
		detail text;
	BEGIN
		token := jwt_sign('{"sub": "alice"}', name);
		ASSERT jwt_verify(token, issuer => name) ->> 'sub' = 'alice';
		RETURN 'signs';
	EXCEPTION WHEN object_not_in_prerequisite_state OR data_corrupted THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
		RETURN concat_ws(' ', sqlstate, detail);
	END $$;
	-- the same after a change, which is undone
	CREATE FUNCTION after(change text, name text) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		result text;
	BEGIN
		EXECUTE change;
		result := try(name);
		RAISE EXCEPTION USING errcode = 'J0000', message = result;
	EXCEPTION WHEN SQLSTATE 'J0000' THEN
		ASSERT try(name) = 'signs';
		RETURN sqlerrm;
	END $$;
	};
}
sql(setup());

for my $alg (@algs)
{
	sql("SELECT add('a.$alg', '$alg'), add('b.$alg', '$alg')");
	is(sql("SELECT try('a.$alg'), try('b.$alg')"), 'signs|signs', "$alg: two issuers sign");

	# Sealed keys that are moved. The first two are of the same algorithm and key type.
	my $opens_not = 'XX001 The sealed private key does not open: It was sealed for another row or with another key of this name, or it has been changed.';
	is(sql("SELECT after('UPDATE jwt_signing_key s SET sealed = o.sealed, salt = o.salt FROM jwt_signing_key o WHERE s.issuer = ''a.$alg'' AND o.issuer = ''b.$alg''', 'a.$alg')"),
		$opens_not, "$alg: the sealed half of another row");
	my %same = (
		'its issuer' => q{issuer = 'b.ALG'},
		'its kid' => q{kid = 'x'},
		'its row' => q{id = '00000000-0000-4000-8000-000000000000'});
	for my $what (sort keys %same)
	{
		my $set = $same{$what} =~ s/ALG/$alg/r;
		my $name = $what eq 'its issuer' ? "b.$alg" : "a.$alg";
		my $remove = $what eq 'its issuer' ? "DELETE FROM jwt_signing_key WHERE issuer = 'b.$alg'; DELETE FROM jwt_key WHERE issuer = 'b.$alg';" : '';
		(my $change = "$remove UPDATE jwt_signing_key SET $set WHERE issuer = 'a.$alg'; UPDATE jwt_key SET $set WHERE issuer = 'a.$alg'") =~ s/'/''/g;
		is(sql("SELECT after('$change', '$name')"), $opens_not, "$alg: $what changed");
	}
	is(sql("SELECT after('UPDATE jwt_signing_key SET sealed = set_byte(sealed, length(sealed) - 1, get_byte(sealed, length(sealed) - 1) # 1) WHERE issuer = ''a.$alg''', 'a.$alg')"),
		$opens_not, "$alg: a bit of it changed");
	is(sql("SELECT after('UPDATE jwt_signing_key SET salt = set_byte(salt, 0, get_byte(salt, 0) # 1) WHERE issuer = ''a.$alg''', 'a.$alg')"),
		$opens_not, "$alg: a bit of the salt changed");

	# A public half that is changed: in one row, in the other, in both.
	my $public = "jwk = (SELECT jwk FROM jwt_signing_key WHERE issuer = ''b.$alg'') WHERE issuer = ''a.$alg''";
	is(sql("SELECT after('UPDATE jwt_signing_key SET $public', 'a.$alg')"), '55000 Its rows in jwt_signing_key and jwt_key differ.', "$alg: another public half in jwt_signing_key");
	is(sql("SELECT after('UPDATE jwt_key SET $public', 'a.$alg')"), '55000 Its rows in jwt_signing_key and jwt_key differ.', "$alg: in jwt_key");
	is(sql("SELECT after('UPDATE jwt_signing_key SET $public; UPDATE jwt_key SET $public', 'a.$alg')"), $opens_not, "$alg: in both");
}
# An algorithm of the same key type.
is(sql(q{SELECT after('UPDATE jwt_signing_key SET alg = ''PS256'' WHERE issuer = ''a.RS256''; UPDATE jwt_key SET alg = ''PS256'' WHERE issuer = ''a.RS256''', 'a.RS256')}),
	'XX001 The sealed private key does not open: It was sealed for another row or with another key of this name, or it has been changed.', 'its algorithm changed');

# Rolled back: the private half of a previous key comes back, and signs nothing.
sql(q{CREATE TABLE old AS SELECT * FROM jwt_signing_key WHERE issuer = 'a.ES256'; SELECT jwt_create_signing_key('a.ES256', kid => 'next', activate_at => now())});
is(sql(q{SELECT s.sealed IS NULL, s.salt IS NULL FROM jwt_signing_key s JOIN old USING (id)}), 't|t', 'the private half of the previous key is erased');
sql(q{UPDATE jwt_signing_key s SET sealed = o.sealed, salt = o.salt FROM old o WHERE s.id = o.id});
is(sql(q{SELECT jwt_header(jwt_sign('{"sub":"alice"}', 'a.ES256')) ->> 'kid'}), 'next', 'what is put back does not sign');

# Lines of the key file. The first that fits seals.
put($k2, $k1);
sql(q{SELECT add('second', 'ES256')});
is(sql(q{SELECT key_name FROM jwt_signing_key_status WHERE issuer = 'second'}), 'k2', 'a new first line seals new keys');
my $token = sql(q{SELECT jwt_sign('{"sub":"alice"}', 'second')});
is($node->safe_psql('postgres', q{SELECT try('a.ES384') || ' ' || try('second')}), 'signs signs', 'both lines open');
put($k1);
is($node->safe_psql('postgres', q{SELECT try('a.ES384')}), 'signs', 'a line is removed: the keys of the others sign');
is($node->safe_psql('postgres', q{SELECT try('second')}), '55000 Key "k2" is not in the key file, or not for this database.', 'what needed it says so');
is($node->safe_psql('postgres', "SELECT jwt_verify('$token') ->> 'sub'"), 'alice', 'its tokens verify');
put('');
isnt($node->safe_psql('postgres', q{SELECT try('a.ES384')}), 'signs', 'an empty file: nothing signs in a new session');
isnt($node->psql('postgres', q{SELECT jwt_create_signing_key('a.ES384')}), 0, '... and no key is made');
is($node->safe_psql('postgres', "SELECT jwt_verify('$token') ->> 'sub'"), 'alice', '... but tokens verify');
put($k3, $k2, $k1);
is($node->safe_psql('postgres', q{SELECT try('second')}), 'signs', 'the line is put back');

# A dump in a database of another name: the list of databases decides.
my $dump = "$dir/dump";
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ], 'dump');
is(scalar(() = slurp_file($dump) =~ /PRIVATE KEY/), 0, 'no private key in it');
sql('CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $dump ], 'restore');
is(sql(q{SELECT try('a.ES384')}, 'restored'), 'signs', 'a key of a line for all databases signs');
is(sql(q{SELECT try('second')}, 'restored'), '55000 Key "k2" is not in the key file, or not for this database.', 'one of a line for another database does not');
is(sql("SELECT jwt_verify('$token') ->> 'sub'", 'restored'), 'alice', 'its tokens verify');
sql('DROP DATABASE restored');

# The worker. A new source wakes it; nothing answers at its URL.
sub wake { return sql(q{DELETE FROM jwt_jwks_source; INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('second', 'https://localhost:1/')}) }
sql(q{UPDATE jwt_token_policy SET rotate_every = '2 days' WHERE issuer IN ('b.ES256', 'b.RS256', 'second');
	UPDATE jwt_signing_key SET activate_at = activate_at - interval '1 day 1 hour' WHERE issuer IN ('b.ES256', 'second');
	UPDATE jwt_signing_key SET kid = NULL WHERE issuer = 'b.PS256';
	UPDATE jwt_token_policy SET audience = NULL WHERE issuer = 'a.PS256'});
my $from = -s $node->logfile;
wake();
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM jwt_signing_key WHERE issuer = 'b.ES256'}), 'the worker makes the key that is due');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM jwt_signing_key WHERE issuer = 'second'}), '... of each issuer');
is(sql(q{SELECT count(*) FROM jwt_signing_key WHERE issuer = 'b.RS256'}), '1', '... and none that is not due');
is(sql(q{SELECT string_agg(s.alg || ' ' || (s.activate_at > now())::text || ' ' || (s.sealed IS NULL)::text || ' ' || (k.not_after IS NULL)::text, ', ' ORDER BY s.activate_at) FROM jwt_signing_key s JOIN jwt_key k USING (id) WHERE s.issuer = 'b.ES256'}),
	'ES256 false false true, ES256 true false true', 'it stands by, and no key has an end');
is(sql(q{SELECT try('b.ES256')}), 'signs', 'the current one signs');
# The warnings of workers. Those of sessions name their program.
sub warnings { return scalar(() = substr(slurp_file($node->logfile), $from) =~ /^\S+ \S+ \S+ \[\d+\] WARNING: .*the signing keys of issuer "a.PS256" could not be rotated/gm) }
ok(wait_until(sub { warnings() == 1 }), 'a policy that cannot be used is logged');
is(sql(q{SELECT jwt_rotate_due_signing_keys()}), '0', 'nothing more is due');
sql(q{UPDATE jwt_signing_key SET activate_at = now() WHERE issuer = 'b.ES256' AND activate_at > now()});
wake();
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM jwt_signing_key WHERE issuer = 'b.ES256' AND sealed IS NOT NULL}), 'the worker erases what does not sign any more');
is(sql(q{SELECT try('b.ES256')}), 'signs', '... and the next one signs');
is(warnings(), 1, 'a worker that runs again does not repeat its warning');
is(sql(q{SELECT k.not_after > now() + interval '1 day' FROM jwt_signing_key s JOIN jwt_key k USING (id) WHERE s.issuer = 'b.ES256' AND s.sealed IS NULL}), 't', 'what was erased verifies until its last token has expired');
sql(q{UPDATE jwt_token_policy SET audience = '{}' WHERE issuer = 'a.PS256'});
wake();
ok(wait_until(sub { warnings() == 2 }), 'another reason is logged');
sql(q{UPDATE jwt_token_policy SET audience = '{api}' WHERE issuer = 'a.PS256'});
sql(q{UPDATE jwt_token_policy SET audience = NULL WHERE issuer = 'a.PS256'});
wake();
ok(wait_until(sub { warnings() == 3 }), 'so is the first one after a change');

# The key file lacks the line of the current key: the key before it is not erased, and signs
# again when that one is deleted.
put($k1, $k2);
sql(q{SELECT add('lines', 'ES256')});
put($k2, $k1);
sql(q{SELECT jwt_create_signing_key('lines', kid => 'next'); UPDATE jwt_signing_key SET activate_at = now() WHERE kid = 'next' AND issuer = 'lines'});
put($k1);
is($node->safe_psql('postgres', q{SELECT try('lines')}), '55000 Key "k2" is not in the key file, or not for this database.', 'the current key cannot be opened');
is($node->safe_psql('postgres', q{SELECT jwt_rotate_due_signing_keys()}), '0', '... so nothing is due');
is($node->safe_psql('postgres', q{DELETE FROM jwt_signing_key WHERE issuer = 'lines' AND kid = 'next'; SELECT try('lines')}), 'signs', 'it is deleted: the key before it signs');
put($k3, $k2, $k1);

# The owner of the database manages keys without being a superuser.
sql(q{CREATE ROLE owner LOGIN; CREATE ROLE stranger LOGIN});
sql('CREATE DATABASE owned OWNER owner');
my $owned = sub { my ($sql) = @_; return $node->safe_psql('owned', $sql, extra_params => [ '-U', 'owner' ]) };
$owned->(setup());
is($owned->(q{SELECT add('mine', 'ES256') IS NOT NULL, try('mine'), jwt_rotate_signing_key('mine') IS NOT NULL}), 't|signs|t', 'the owner makes keys, signs and rotates');
is($owned->(q{SELECT bool_and(position('\x30'::bytea in sealed) <> 1 AND key_name = 'k3') FROM jwt_signing_key JOIN jwt_signing_key_status USING (id)}), 't', '... and sees sealed keys only');
for my $call (q{jwt_sign('{"sub":"x"}')}, q{jwt_create_signing_key('mine')}, q{jwt_rotate_signing_key('mine')}, q{jwt_import_signing_key('mine', 'x')}, q{jwt_rotate_due_signing_keys()})
{
	my ($status, $out, $err) = $node->psql('owned', "SELECT $call", extra_params => [ '-U', 'stranger' ]);
	like($err, qr/permission denied for function/, "$call: not for others");
}

# A key that is imported is in no line of the log: as a parameter, and as a literal of a
# statement that fails.
my $pem;
IPC::Run::run([ 'openssl', 'genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256' ], '>', \$pem, '2>', \my $ignored) or die;
my $secret = (split /\n/, $pem)[1];
sql("SELECT add('imports', 'ES384')");
append_to_file("$dir/pgbench", qq{SELECT jwt_import_signing_key('imports', :key, kid => 'pem', activate_at => now());\n});
$node->command_ok([ 'pgbench', '-n', '-t', 1, '-M', 'extended', '-D', "key=$pem", '-f', "$dir/pgbench", $node->connstr('postgres') ], 'import by a parameter');
is(sql(q{SELECT jwt_header(jwt_sign('{"sub":"alice"}', 'imports')) ->> 'kid'}), 'pem', 'it signs');
sql(q{SET log_statement = 'none'});
for my $call ("jwt_import_signing_key('imports', '$pem', kid => 'pem')", "jwt_import_signing_key('imports', '$pem', 'RS256')",
	"jwt_import_signing_key('nobody', '$pem')", "jwt_import_signing_key(NULL, '$pem')", "jwt_import_signing_key('imports', '${pem}x', 'HS256')")
{
	(my $quoted = $call) =~ s/'/''/g;
	sql("SELECT $call");
	sql("DO 'BEGIN PERFORM $quoted; END'");
}
unlike(slurp_file($node->logfile), qr/\Q$secret\E/, 'the private key is not in the log');
like(slurp_file($node->logfile), qr/issuer "imports" already has a key "pem"/, '... but the errors are');

$session->();
done_testing();
