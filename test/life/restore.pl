# A restore brings back every row, every verdict and every grant of a dump, in every
# format and order, by every role, and with several jobs. One part runs beside a live
# worker that fetches the sources of the dump.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t";
use Digest::SHA qw(hmac_sha256 sha256);
use IPC::Run;
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $began = time();
my $dir = make_fixtures();

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', 'max_connections = 50');
$node->start;

# Run psql as a superuser, or as the owner of all databases of this test.
sub sql { my ($db, $sql) = @_; return $node->safe_psql($db, $sql) }
sub sql_as_owner { my ($db, $sql) = @_; return $node->safe_psql($db, $sql, extra_params => [ '-U', 'boss' ]) }

sql('postgres', 'CREATE ROLE admin SUPERUSER LOGIN; CREATE ROLE boss LOGIN; CREATE ROLE revoker; CREATE ROLE watcher');

#
# The tokens, each with a name, its verdict and its text.
#

my %secret = map { $_ => substr($_ x 64, 0, 32) } qw(k1 anonymous standby past leaked gone twin1 twin2 other whole lifetime old session inert disallowed);
$secret{weak} = 'too short';
my ($now, $idp) = (int(time()), 'https://idp.example');

$secret{big} = sha256('9999');

sub signed
{
	my ($header, $claims, $key) = @_;
	my $input = JwtTest::base64url($header) . '.' . JwtTest::base64url($claims);
	return "$input." . JwtTest::base64url(hmac_sha256($input, $key));
}

# A token of an issuer, signed by a secret. The name of the secret is the kid unless
# another one is given. Claims are JSON; null omits a claim.
sub hs256
{
	my ($key, $iss, %claims) = @_;
	my $kid = exists $claims{kid} ? delete $claims{kid} : $key;
	my $typ = delete $claims{typ};
	my $alg = delete $claims{alg} // 'HS256';
	%claims = (iss => qq("$iss"), aud => '"api"', sub => '"alice"', iat => $now - 60, exp => $now + 86400, %claims);
	return signed(
		qq({"alg":"$alg") . (defined $kid ? qq(,"kid":"$kid") : '') . (defined $typ ? qq(,"typ":"$typ") : '') . '}',
		'{' . join(',', map { qq("$_":$claims{$_}) } grep { $claims{$_} ne 'null' } sort keys %claims) . '}',
		$secret{$key});
}

sub es256 { my $name = shift; return slurp_file("$dir/$name.token") }

my @tokens = (
	[ 'valid', 'valid', hs256('k1', $idp) ],
	[ 'an array of audiences', 'valid', hs256('k1', $idp, aud => '["x","api"]') ],
	[ 'no kid', 'valid', hs256('k1', $idp, kid => undef) ],
	[ 'of a key without kid', 'valid', hs256('anonymous', $idp, kid => undef) ],
	[ 'a jti that is not revoked', 'valid', hs256('k1', $idp, jti => '"in"') ],
	[ 'a revoked jti', '28J11', hs256('k1', $idp, jti => '"out"') ],
	[ 'a revoked jti, of another issuer', 'valid', hs256('other', 'https://other.example', jti => '"out"') ],
	[ 'a jti whose revocation could have been pruned', '28J11', hs256('k1', $idp, jti => '"pruned"') ],
	[ 'a session', 'valid', hs256('k1', $idp, sid => '"here"') ],
	[ 'a revoked session', '28J11', hs256('k1', $idp, sid => '"over"') ],
	[ 'a session in another claim', 'valid', hs256('session', 'https://session.example', session_id => '"here"', sid => '"over"') ],
	[ 'a revoked session in another claim', '28J11', hs256('session', 'https://session.example', session_id => '"over"') ],
	[ 'a revoked subject', '28J11', hs256('k1', $idp, sub => '"mallory"') ],
	[ 'a revoked subject, issued in the second of it', '28J11', hs256('k1', $idp, sub => '"mallory"', iat => $now) ],
	[ 'a revoked subject, issued later', 'valid', hs256('k1', $idp, sub => '"mallory"', iat => $now + 5) ],
	[ 'a revoked subject, no iat', '28J11', hs256('k1', $idp, sub => '"mallory"', iat => 'null') ],
	[ 'a subject revoked for ever', '28J11', hs256('k1', $idp, sub => '"trudy"', iat => $now + 5) ],
	[ 'a revoked issuer', '28J11', hs256('whole', 'https://whole.example') ],
	[ 'a revoked issuer, issued later', 'valid', hs256('whole', 'https://whole.example', iat => $now + 5) ],
	[ 'a revoked issuer, no iat', '28J11', hs256('whole', 'https://whole.example', iat => 'null') ],
	[ 'a revoked key', '28J11', hs256('leaked', $idp) ],
	[ 'a revoked key under another kid', '28J11', hs256('leaked', $idp, kid => 'again') ],
	[ 'a revoked key of another issuer', '28J11', hs256('leaked', 'https://other.example', kid => 'theirs') ],
	[ 'expired', '28J05', hs256('k1', $idp, exp => $now - 3600) ],
	[ 'not yet valid', '28J06', hs256('k1', $idp, nbf => $now + 80000) ],
	[ 'of another issuer', '28J07', hs256('k1', 'https://other.example') ],
	[ 'of nobody we know', '28J03', hs256('k1', 'https://nobody.example', kid => 'k0') ],
	[ 'for somebody else', '28J08', hs256('k1', $idp, aud => '"web"') ],
	[ 'no audience', '28J08', hs256('k1', $idp, aud => 'null') ],
	[ 'no exp', '28J09', hs256('k1', $idp, exp => 'null') ],
	[ 'lacks a required claim', '28J09', hs256('other', 'https://other.example', sub => 'null') ],
	[ 'signed by the wrong key', '28J04', hs256('other', $idp, kid => 'k1') ],
	[ 'cut', '28J04', substr(hs256('k1', $idp), 0, -3) ],
	[ 'malformed', '28J01', 'a.b' ],
	[ 'a string as payload', '28J01', signed('{"alg":"HS256","kid":"k1"}', '"x"', $secret{k1}) ],
	[ 'alg none', '28J02', hs256('k1', $idp, alg => 'none') ],
	[ 'alg of another key', '28J02', hs256('k1', $idp, alg => 'RS256') ],
	[ 'an unknown kid', '28J03', hs256('k1', $idp, kid => 'k9') ],
	[ 'a standby key', '28J03', hs256('standby', $idp) ],
	[ 'a key whose time is over', '28J03', hs256('past', $idp) ],
	[ 'lives too long', '28J10', hs256('lifetime', 'https://lifetime.example') ],
	[ 'lives as long as it may', 'valid', hs256('lifetime', 'https://lifetime.example', exp => $now + 3600) ],
	[ 'too old', '28J10', hs256('old', 'https://old.example', typ => 'at+jwt', iat => $now - 90000) ],
	[ 'of the wrong type', '28J12', hs256('old', 'https://old.example', typ => 'JWT') ],
	[ 'of the right type', 'valid', hs256('old', 'https://old.example', typ => 'application/at+jwt') ],
	[ 'no iss', 'valid', signed('{"alg":"HS256","kid":"nameless"}', qq({"exp":@{[ $now + 86400 ]}}), $secret{other}) ],
	[ 'no iss, revoked', '28J11', signed('{"alg":"HS256","kid":"nameless"}', qq({"exp":@{[ $now + 86400 ]},"jti":"out"}), $secret{other}) ],
	[ 'in five parts', '28J01', hs256('k1', $idp) . '.e30.e30' ],
	[ 'of a set', 'valid', es256('k1') ],
	[ 'of a key that has left the set', '28J03', es256('k2') ]);
is(scalar(@tokens), 50, 'there are 50 tokens');

#
# The databases that are dumped. Each has everything that the tokens need, and
# additional rows: "sql" inserts them, and "tokens" are additional tokens. "later", if
# present, runs after the restore, and "then" has the verdicts after it.
#

sub add_secret
{
	my ($iss, $name, $kid) = @_;
	my $hex = unpack('H*', $secret{$name});
	return "SELECT jwt_add_secret('$iss', '\\x$hex', 'HS256', " . (defined $kid ? "'$kid'" : 'NULL') . ");\n";
}

# A row of jwt_key, usable or not.
sub row
{
	my ($iss, $kid, $alg, $jwk) = @_;
	return "INSERT INTO jwt_key (issuer, kid, alg, jwk) VALUES ('$iss', '$kid', '$alg', '$jwk');\n";
}

my $set = join(',', map { slurp_file("$dir/$_.jwk") } qw(k1 k2));
my $smaller_set = slurp_file("$dir/k1.jwk");
my $base = qq{
	SET client_min_messages = error;
	INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES
		('$idp', '{api,other}', '{HS256}'), ('https://whole.example', '{api}', '{HS256}'), ('', '{*}', '{HS256}'),
		('https://set.example', '{api}', '{ES256}');
	INSERT INTO jwt_issuer (issuer, audience, algorithms, required_claims) VALUES ('https://other.example', '{api}', '{HS256}', '{exp,sub}');
	INSERT INTO jwt_issuer (issuer, audience, algorithms, session_claim) VALUES ('https://session.example', '{api}', '{HS256}', 'session_id');
	INSERT INTO jwt_issuer (issuer, audience, algorithms, max_lifetime) VALUES ('https://lifetime.example', '{api}', '{HS256}', '2 hours');
	INSERT INTO jwt_issuer (issuer, audience, algorithms, max_age, token_type) VALUES ('https://old.example', '{api}', '{HS256}', '1 day', 'at+jwt');
	INSERT INTO jwt_jwks_source (issuer, uri, refresh_interval, grace) VALUES ('$idp', 'https://localhost/none', '7 days', '1 hour');
	INSERT INTO jwt_jwks_state (issuer, etag, last_success) VALUES ('$idp', 'x', now());
	DO 'BEGIN PERFORM jwt_import_jwks(''https://set.example'', ''{"keys":[$set]}''); PERFORM jwt_import_jwks(''https://set.example'', ''{"keys":[$smaller_set]}''); END';
} . join('', map { add_secret($idp, $_, $_) } qw(k1 standby past leaked))
  . add_secret($idp, 'anonymous') . add_secret($idp, 'leaked', 'again')
  . add_secret('https://other.example', 'leaked', 'theirs')
  . add_secret('', 'other', 'nameless')
  . join('', map { add_secret("https://$_.example", $_, $_) } qw(other whole session lifetime old))
  . qq{
	UPDATE jwt_key SET not_before = now() + interval '10 days' WHERE kid = 'standby';
	UPDATE jwt_key SET not_after = now() - interval '10 days' WHERE kid = 'past';
	SELECT jwt_revoke_id('$idp', 'out', 'infinity', E'a \\t tab, a \\n line, a \\\\ and "quotes"'), jwt_revoke_id('', 'out', NULL),
		jwt_revoke_id('$idp', 'pruned', now() - interval '1 day'), jwt_revoke_session('$idp', 'over'), jwt_revoke_session('https://session.example', 'over'),
		jwt_revoke_subject('$idp', 'mallory', to_timestamp($now)), jwt_revoke_subject('$idp', 'trudy', 'infinity'),
		jwt_revoke_issuer('https://whole.example', to_timestamp($now)), jwt_revoke_key('$idp', 'leaked');
};

my %source = (
	plain => { sql => '' },
	orphans => {
		sql => q{INSERT INTO jwt_denylist (issuer, kind, value, issued_before) VALUES ('https://orphan.example', 'jti', 'x', NULL),
			('https://orphan.example', 'sid', 'x', NULL), ('https://orphan.example', 'sub', 'x', now()), ('https://orphan.example', 'iss', NULL, NULL);
			INSERT INTO jwt_jwks_source (issuer) VALUES ('https://orphan.example');}
		  . row('https://orphan.example', 'orphan', 'HS256', '{"kty":"oct","k":"' . JwtTest::base64url($secret{k1}) . '"}'),
		tokens => [ [ 'an issuer that is only revoked', '28J03', hs256('k1', 'https://orphan.example', kid => 'orphan') ] ],
		later => q{INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://orphan.example', '{api}', '{HS256}')},
		then => '28J11' },
	disallowed => {
		sql => q{INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://tight.example', '{api}', '{HS256}');}
		  . add_secret('https://tight.example', 'disallowed', 'disallowed') . q{UPDATE jwt_issuer SET algorithms = '{HS512}' WHERE issuer = 'https://tight.example';}
		  . row($idp, 'disallowed', 'HS384', '{"kty":"oct","k":"' . JwtTest::base64url($secret{disallowed} x 2) . '"}'),
		tokens => [ [ 'a key whose algorithm is not allowed', '28J02', hs256('disallowed', 'https://tight.example') ] ],
		later => q{UPDATE jwt_issuer SET algorithms = '{HS256}' WHERE issuer = 'https://tight.example'},
		then => 'valid' },
	policy => {
		sql => q{INSERT INTO jwt_issuer (issuer, audience, algorithms, leeway, role_claim, roles)
			VALUES ('https://inert.example', '{api}', '{HS256}', '1 year', 'role', ARRAY['a"b', 'c\d', 'e f', 'g,h']), ('https://no.example', NULL, '{}', NULL, NULL, NULL);}
		  . row('https://inert.example', 'inert', 'HS256', '{"kty":"oct","k":"' . JwtTest::base64url($secret{inert}) . '"}'),
		tokens => [ [ 'a policy that makes no sense', '28J03', hs256('inert', 'https://inert.example') ] ],
		later => q{UPDATE jwt_issuer SET leeway = '1 minute' WHERE issuer = 'https://inert.example'},
		then => 'valid' },
	weak => {
		sql => row($idp, 'weak', 'HS256', '{"kty":"oct","k":"' . JwtTest::base64url($secret{weak}) . '"}')
		  . row($idp, 'rsa', 'RS256', '{"kty":"RSA","e":"AQAB","n":"' . JwtTest::base64url("\xff" x 128) . '"}')
		  . row($idp, 'unknown', 'XX512', '{"kty":"XX","x":1,"alg":"XX512"}') . row($idp, 'none', 'none', '{}'),
		tokens => [ [ 'a weak key', '28J03', hs256('weak', $idp) ] ] },
	ml_dsa => {
		sql => qq{UPDATE jwt_issuer SET algorithms = '{HS256,ML-DSA-44}' WHERE issuer = '$idp';}
		  . row($idp, 'pq', 'ML-DSA-44', '{"kty":"AKP","alg":"ML-DSA-44","pub":"' . JwtTest::base64url("\1" x 1312) . '"}'),
		# OpenSSL 3.0 does not have it
		tokens => [ [ 'ML-DSA', qr/28J0[34]/, hs256('k1', $idp, alg => 'ML-DSA-44', kid => 'pq') ] ] },
	gone => {
		sql => add_secret($idp, 'gone', 'gone') . "SELECT jwt_revoke_key('$idp', 'gone'); DELETE FROM jwt_key WHERE kid = 'gone';",
		tokens => [ [ 'a revoked key whose row is gone', '28J03', hs256('gone', 'https://other.example', kid => 'back') ] ],
		later => add_secret('https://other.example', 'gone', 'back'),
		then => '28J11' },
	grants => {
		sql => q{GRANT EXECUTE ON FUNCTION jwt_revoke_id TO revoker; GRANT SELECT ON jwt_status TO watcher WITH GRANT OPTION;
			GRANT INSERT ON jwt_denylist TO revoker;} },
	schema => { schema => 'auth', sql => q{GRANT USAGE ON SCHEMA auth TO PUBLIC; GRANT EXECUTE ON FUNCTION jwt_logout TO PUBLIC;} },
	twins => {
		sql => join('', map { row($_->[0], 'twin', 'HS256', '{"kty":"oct","k":"' . JwtTest::base64url($secret{ $_->[1] }) . '"}') }
			[ $idp, 'twin1' ], [ $idp, 'twin2' ], [ 'https://other.example', 'twin1' ]),
		tokens => [ [ 'the first of two keys', 'valid', hs256('twin1', $idp, kid => 'twin') ],
			[ 'the second', 'valid', hs256('twin2', $idp, kid => 'twin') ],
			[ 'and the key of another issuer', 'valid', hs256('twin1', 'https://other.example', kid => 'twin') ] ] });
# a superuser installs one of them, which must make no difference
$source{twins}{installer} = 'admin';
# all of it in one
$source{all} = { schema => 'auth',
	sql => join('', map { $source{$_}{sql} } qw(orphans disallowed policy weak ml_dsa gone grants schema twins)),
	tokens => [ map { @{ $source{$_}{tokens} // [] } } qw(orphans disallowed policy weak ml_dsa gone twins) ] };

# and one that is large
$source{big} = {
	sql => q{INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://big.example', '{api}', '{HS256}');
		INSERT INTO jwt_key (issuer, kid, alg, jwk) SELECT 'https://big.example', 'big' || n, 'HS256',
			jsonb_build_object('kty', 'oct', 'k', translate(encode(sha256(n::text::bytea), 'base64'), '+/=', '-_')) FROM generate_series(1, 10000) n;
		INSERT INTO jwt_denylist (issuer, kind, value) SELECT 'https://big.example', 'jti', 'big' || n FROM generate_series(1, 10000) n;},
	tokens => [ [ 'of one of many keys', 'valid', hs256('big', 'https://big.example', kid => 'big9999', jti => '"small"') ],
		[ 'one of many that are revoked', '28J11', hs256('big', 'https://big.example', kid => 'big9999', jti => '"big9999"') ] ] };

sub schema_of { my $source = shift; return $source->{schema} // 'public' }

# The SQL that numbers the tokens of a source and returns their verdicts.
sub verdicts
{
	my ($source) = @_;
	my $list = join(',', map { "'$_->[2]'" } @tokens, @{ $source->{tokens} // [] });
	return "SELECT n || ' ' || coalesce((SELECT sqlstate FROM @{[ schema_of($source) ]}.jwt_inspect(token)), 'valid') FROM unnest(ARRAY[$list]) WITH ORDINALITY t (token, n) ORDER BY n";
}

# The content of a database as lines: the verdicts, the number of rows, all rows in a
# defined order, the output of jwt_status, and all privileges with their grantors.
my @tables = qw(jwt_denylist jwt_issuer jwt_jwks_source jwt_key);
my @aspects = qw(verdicts counts rows status grants);
sub look_at
{
	my ($db, $source) = @_;
	my $s = schema_of($source);
	my %sql = (
		verdicts => verdicts($source),
		counts => join(' UNION ALL ', map { "SELECT '$_', count(*) FROM $s.$_" } @tables),
		rows => join(';', map { "SELECT '$_', t.* FROM $s.$_ t ORDER BY t::text COLLATE \"C\"" } @tables),
		status => "SELECT issuer, ok, problems, usable_keys, keys_end, standby_keys, revocations, source FROM $s.jwt_status",
		grants => q{
			SELECT pg_describe_object(classid, objid, 0), 'by ' || a.grantor::regrole, 'to ' || a.grantee::regrole, a.privilege_type, a.is_grantable
			FROM pg_depend d, LATERAL (
				SELECT relacl FROM pg_class WHERE oid = objid AND classid = 'pg_class'::regclass
				UNION ALL SELECT proacl FROM pg_proc WHERE oid = objid AND classid = 'pg_proc'::regclass) o (acl), aclexplode(acl) a
			WHERE deptype = 'e' AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'jwt')
			ORDER BY 1, 2, 3, 4});
	my $out = sql($db, join(';', map { ("SELECT '== $_'", $sql{$_}) } @aspects));
	my %seen = map { /^(\w+)\n?(.*)\z/s ? ($1 => $2) : () } split(/^== /m, $out);
	s/\n\z// for values %seen;
	return \%seen;
}

# Create an empty database with the extension, to compare with.
sub create_extension
{
	my ($db, $source) = @_;
	my $s = schema_of($source);
	my @as = (extra_params => [ "-U", $source->{installer} // "boss" ]);
	sql('postgres', "CREATE DATABASE $db OWNER boss");
	$node->safe_psql($db, 'CREATE SCHEMA auth', @as) if $s eq 'auth';
	$node->safe_psql($db, "CREATE EXTENSION jwt SCHEMA $s", @as);
	return;
}

for my $name (sort keys %source)
{
	my $source = $source{$name};
	create_extension("source_$name", $source);
	sql_as_owner("source_$name", 'SET search_path = ' . schema_of($source) . "; $base; $source->{sql}");
	$source->{seen} = look_at("source_$name", $source);
	my @wrong;
	my %verdict = map { split / / } split(/\n/, $source->{seen}{verdicts});
	my $n = 0;
	for my $token (@tokens, @{ $source->{tokens} // [] })
	{
		my ($what, $expected) = @$token;
		my $got = $verdict{ ++$n };
		push @wrong, "$what: $got, not $expected" unless ref $expected ? $got =~ $expected : $got eq $expected;
	}
	is(join("\n", @wrong), '', "$name: the verdicts are as they should be");
}

#
# Dumps
#

my %flag = (custom => [ '-Fc' ], directory => [ '-Fd' ], plain => [ '-Fp' ], inserts => [ '-Fp', '--rows-per-insert=7' ]);

# Dump a source as a role. mode applies to a format that psql restores. Returns the name
# of the dump.
my %dumped;
sub dump_of
{
	my ($name, $format, $by, $mode) = @_;
	my @flags = ($flag{$format}[0] eq '-Fp' && $mode ne 'whole' ? flags_of($mode) : ());
	my $file = join('.', "$dir/dump", $name, $format, $by, map { s/^-*//r } @flags);
	return $file if $dumped{$file}++;
	my @jobs = $format eq 'directory' ? ('-j', 2) : ();
	my ($out, $err);
	IPC::Run::run([ 'pg_dump', '-U', $by, @{ $flag{$format} }, @jobs, @flags, '-f', $file, $node->connstr("source_$name") ], '>', \$out, '2>', \$err)
	  or die "pg_dump: $err";
	die "pg_dump: $err" if $err ne '';
	return $file;
}

sub flags_of
{
	my ($mode) = @_;
	return { whole => [], clean => [ '--clean', '--if-exists' ], single => [], data => [ '--data-only' ], replica => [ '--data-only', '--disable-triggers' ] }->{$mode}->@*;
}

# The contents of an archive in its order.
for my $format (qw(custom directory))
{
	my ($out) = run_command([ 'pg_restore', '-l', dump_of('all', $format, 'boss', 'whole') ]);
	is(join(' ', $out =~ /TABLE DATA auth (\S+)/g), join(' ', @tables), "$format: revocations come before issuers and keys, and the state is left out");
}
for my $format (qw(plain inserts))
{
	my %seen;
	my $text = slurp_file(dump_of('all', $format, 'boss', 'whole'));
	is(join(' ', grep { !$seen{$_}++ } $text =~ /^(?:COPY|INSERT INTO) auth\.(\S+)/mg), join(' ', @tables), "$format: the same");
}

#
# Restores
#

# Start a session that verifies tokens repeatedly, each time in a new transaction. The
# returned function lets it verify once more, ends it, and returns the numbers of all
# tokens that were ever accepted, and the number of rounds. Revoked tokens are verified
# most often.
sub ask_all_the_time
{
	my ($db, $source) = @_;
	my @texts = map { $_->[2] } @tokens, @{ $source->{tokens} // [] };
	my $all = join(',', map { "($_,'$texts[$_ - 1]')" } 1 .. @texts);
	my $revoked = join(',', $source->{seen}{verdicts} =~ /^(\d+) 28J11$/mg);
	my $s = schema_of($source);
	my $end = "$dir/end.$db";
	my ($in, $out, $err) = ('', '', '');
	my $h = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db) ], '<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(180));
	$in = qq{
		CREATE TEMP TABLE token AS VALUES $all;
		CREATE TEMP TABLE revoked AS SELECT * FROM token WHERE column1 IN ($revoked);
		CREATE TEMP TABLE accepted (n integer PRIMARY KEY);
		CREATE TEMP TABLE errors (message text PRIMARY KEY);
		CREATE TEMP SEQUENCE asked;
		SELECT 'pid ' || pg_backend_pid();
		DO \$do\$
		DECLARE
			ended boolean;
		BEGIN
			FOR i IN 1 .. 1000000000 LOOP
				ended := (pg_stat_file('$end', true)).size IS NOT NULL;
				BEGIN
					EXECUTE format('INSERT INTO accepted SELECT column1 FROM %I WHERE (SELECT valid FROM $s.jwt_inspect(column2)) ON CONFLICT DO NOTHING',
						CASE WHEN ended OR i % 10 = 0 THEN 'token' ELSE 'revoked' END);
					PERFORM nextval('asked');
				EXCEPTION WHEN OTHERS THEN
					-- the restore has not come that far
					INSERT INTO errors VALUES (SQLSTATE || ' ' || SQLERRM) ON CONFLICT DO NOTHING;
				END;
				COMMIT;
				EXIT WHEN ended;
			END LOOP;
		END \$do\$;
		SELECT 'accepted ' || coalesce(string_agg(n::text, ' ' ORDER BY n), '') FROM accepted;
		SELECT 'asked ' || last_value FROM asked;
		SELECT 'error ' || message FROM errors ORDER BY 1;
	};
	$h->pump until $out =~ /^pid (\d+)$/m;
	return sub {
		append_to_file($end, '');
		$in .= "\\q\n";
		$h->finish;
		note $_ for $out =~ /^error (.*)/mg;
		return $out =~ /^accepted (.*)\nasked (\d+)/m && $err eq '' ? ($1, $2) : die "$out$err";
	};
}

my ($restores, $databases) = (0, 0);

# Compare lines, and show only the lines that differ.
sub same_lines
{
	my ($got, $expected, $what) = @_;
	my %count;
	$count{$_}++ for split(/\n/, $got);
	$count{$_}-- for split(/\n/, $expected);
	return is(join("\n", map { ($count{$_} > 0 ? '+ ' : '- ') . $_ } sort grep { $count{$_} } keys %count), '', $what);
}

# Restore as in a case, and check the result.
sub check_restore
{
	my ($case) = @_;
	my ($name, $format, $jobs, $by, $dumper, $mode) = @$case{qw(source format jobs by dumper mode)};
	my $source = $source{$name};
	my $what = "$name, $format by $dumper, $mode, " . ($jobs > 1 ? "-j $jobs " : '') . "by $by";
	my $db = 'target_' . ++$databases;
	my $file = dump_of($name, $format, $dumper, $mode);
	my $psql = $flag{$format}[0] eq '-Fp';
	my $data_only = $mode eq 'data' || $mode eq 'replica';
	my %expected = %{ $source->{seen} };

	if ($data_only) { create_extension($db, $source) }
	else { sql('postgres', "CREATE DATABASE $db OWNER boss") }
	my $ask = $jobs == 1 ? ask_all_the_time($db, $source) : undef;
	my @command = $psql ? ('psql', '-Xq', ($mode eq 'single' ? '-1' : ()), '-f', $file)
	  : ('pg_restore', ($jobs > 1 ? ('-j', $jobs) : ()), flags_of($mode), ($mode eq 'single' ? '-1' : ()), $file);
	my @errors;
	for my $time (1 .. ($mode eq 'clean' ? 2 : 1))
	{
		my ($out, $err) = ('', '');
		IPC::Run::run([ @command, '-U', $by, '-d', $node->connstr($db) ], '>', \$out, '2>', \$err);
		$restores++;
		# psql shows warnings; pg_restore does not
		my $warned = $err =~ s/^psql:\S+ WARNING:  \d+ rows? of "jwt_\w+" (?:was|were) stored and verif(?:y|ies) nothing\nDETAIL:  .*\nHINT:  .*\n//mg;
		is($warned ? 1 : 0, $mode ne 'replica' && $expected{status} =~ /verif(?:y|ies) nothing|cannot be used|have no row/ ? 1 : 0, "$what: warns of what verifies nothing") if $psql;
		$warned = $err =~ s/^psql:\S+ WARNING:  \d+ rows? of "jwt_\w+" (?:was|were) stored and (?:is|are) not as (?:it|they) should be\nDETAIL:  .*\nHINT:  .*\n//mg;
		is($warned ? 1 : 0, $mode ne 'replica' && $expected{status} =~ /No worker fetches|do not exist/ ? 1 : 0, "$what: warns of what is missing here") if $psql;
		push @errors, split(/\n/, $err);
	}
	if ($ask)
	{
		my ($accepted, $asked) = $ask->();
		is($accepted, join(' ', $expected{verdicts} =~ /^(\d+) valid$/mg), "only what was accepted before was accepted meanwhile, asked $asked times");
	}

	# The grantor of the owner's grants is pg_database_owner. Only a superuser can act
	# as that role.
	my @lost = $by eq 'boss' && !$data_only ? grep { /\|by pg_database_owner\|/ } split(/\n/, $expected{grants}) : ();
	if (@lost)
	{
		my @denied = grep { /permission denied to set session authorization "pg_database_owner"/ } @errors;
		is(scalar(@denied), @lost * ($mode eq 'clean' ? 2 : 1), 'an error for each grant of the owner of the database');
		is(join("\n", grep { /error:|ERROR:/ } @errors), join("\n", @denied), 'and no other error');
		# psql goes on after the error, and makes the grant as the owner
		$expected{grants} = join("\n", grep { !/\|by pg_database_owner\|/ } split(/\n/, $expected{grants})) unless $psql;
	}
	else
	{
		is(join("\n", @errors), '', "$what: no error");
	}

	my $seen = look_at($db, $source);
	if ($data_only)
	{
		delete $expected{grants};
		# PostgreSQL enables ALWAYS triggers as ordinary ones
		if ($mode eq 'replica')
		{
			my @mend = $seen->{status} =~ /A trigger does not fire .*? As a superuser: (ALTER TABLE [^;]*;)/g;
			cmp_ok(scalar(grep { /ENABLE ALWAYS TRIGGER/ } @mend), '>=', 6, 'the status says which triggers do not fire always any more');
			same_lines($seen->{verdicts}, $expected{verdicts}, 'the same verdicts');
			sql($db, join('', @mend));
			$seen = look_at($db, $source);
		}
	}
	same_lines($seen->{$_}, $expected{$_}, "the same $_") for grep { exists $expected{$_} } @aspects;
	is(sql($db, 'SELECT count(*) FROM ' . schema_of($source) . '.jwt_jwks_state'), 0, 'what was fetched is not known');
	if ($source->{later})
	{
		sql_as_owner($db, 'SET client_min_messages = error; SET search_path = ' . schema_of($source) . "; $source->{later}");
		my ($verdict) = sql($db, verdicts($source)) =~ / (\S+)\z/;
		is($verdict, $source->{then}, 'and what is added later');
	}
	sql('postgres', "DROP DATABASE $db");
	return;
}

# Cases that cover all pairs of values, chosen greedily.
my @factors = ([ source => grep { $_ ne 'big' } sort keys %source ], [ format => qw(custom directory plain inserts) ], [ jobs => 1, 2, 4 ],
	[ by => qw(admin boss) ], [ dumper => qw(admin boss) ], [ mode => qw(whole clean single data replica) ]);
sub possible
{
	my ($case) = @_;
	return 0 if $case->{jobs} > 1 && ($flag{ $case->{format} }[0] eq '-Fp' || $case->{mode} eq 'single');
	return 0 if $case->{mode} eq 'replica' && $case->{by} ne 'admin';
	# a single transaction fails at the first grant
	return 0 if $case->{mode} eq 'single' && $case->{by} ne 'admin' && $source{ $case->{source} }{seen}{grants} =~ /\|by pg_database_owner\|/;
	return 1;
}
sub pairs_of
{
	my ($case) = @_;
	my @values = map { "$_->[0]=$case->{ $_->[0] }" } @factors;
	return map { my $i = $_; map { "$values[$i] $values[$_]" } 0 .. $i - 1 } 1 .. $#values;
}
my @cases = ({});
for my $factor (@factors)
{
	my ($name, @values) = @$factor;
	@cases = map { my $case = $_; map { { %$case, $name => $_ } } @values } @cases;
}
@cases = map { [ $_, pairs_of($_) ] } grep { possible($_) } @cases;
my %open = map { $_ => 1 } map { @$_[ 1 .. $#$_ ] } @cases;
my $pairs = keys %open;
my @chosen;
while (%open)
{
	my ($best, $most) = (undef, 0);
	for my $case (@cases)
	{
		my $n = grep { $open{$_} } @$case[ 1 .. $#$case ];
		($best, $most) = ($case, $n) if $n > $most;
	}
	delete @open{ @$best[ 1 .. $#$best ] };
	push @chosen, $best->[0];
}
note "$pairs pairs in " . @chosen . ' cases';
check_restore($_) for @chosen;

# Copying many revocations takes so long that a session would notice keys that were
# restored before them.
check_restore({ source => 'big', format => 'custom', dumper => 'boss', mode => 'whole', %$_ })
  for { jobs => 4, by => 'admin' }, { jobs => 1, by => 'boss' };

# Without privileges, which the owner grants again, one transaction suffices.
for my $name (qw(grants all))
{
	my $source = $source{$name};
	my $db = 'target_' . ++$databases;
	for my $privileges (1, 0)
	{
		sql('postgres', "CREATE DATABASE $db OWNER boss");
		my ($out, $err) = ('', '');
		IPC::Run::run([ 'pg_restore', '-1', ($privileges ? () : '-x'), '-U', 'boss', '-d', $node->connstr($db), dump_of($name, 'custom', 'boss', 'whole') ],
			'>', \$out, '2>', \$err);
		$restores++;
		if ($privileges)
		{
			like($err, qr/permission denied to set session authorization "pg_database_owner"/, "$name, by the owner in one transaction: fails at a grant of the owner");
			is(sql($db, q{SELECT count(*) FROM pg_extension WHERE extname = 'jwt'}), '0', 'and leaves nothing');
		}
		else
		{
			is($err, '', 'without privileges: no error');
			my $seen = look_at($db, $source);
			same_lines($seen->{$_}, $source->{seen}{$_}, "the same $_") for qw(verdicts rows);
			same_lines($seen->{grants}, join("\n", grep { !/\|by pg_database_owner\|/ } split(/\n/, $source->{seen}{grants})), 'and the grants of the extension itself');
		}
		sql('postgres', "DROP DATABASE $db");
	}
}

#
# Beside a running worker
#

SKIP:
{
	skip 'there is no node', 1 unless grep { -x "$_/node" } split(/:/, $ENV{PATH});
	$node->stop;

	my %port = start_peer('endpoint', $dir);
	append_to_file("$dir/one", '{"keys":[' . join(',', map { slurp_file("$dir/$_.jwk") } qw(k1 k2 k3)) . ']}');

	my $issuer = 'https://set.example';
	my $live = PostgreSQL::Test::Cluster->new('live');
	$live->init;
	preload_fetcher($live, $dir);
	$live->start;
	my $hex = unpack('H*', $secret{k1});
	$live->safe_psql('postgres', 'CREATE ROLE admin SUPERUSER LOGIN; CREATE ROLE boss LOGIN; CREATE DATABASE source_live OWNER boss');
	$live->safe_psql('source_live', qq{
		CREATE EXTENSION jwt;
		INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('$issuer', '{api}', '{ES256}'), ('$idp', '{api}', '{HS256}');
		SELECT jwt_add_secret('$idp', '\\x$hex', 'HS256', 'k1'), jwt_revoke_id('$idp', 'out', 'infinity');
		INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('$issuer', 'https://localhost:$port{good}/set/one');
	}, extra_params => [ '-U', 'boss' ]);
	$live->poll_query_until('source_live', q{SELECT count(*) = 3 FROM jwt_key WHERE source = 'jwks'}) or die 'the worker does not fetch';
	# k2 is revoked, and so is k3, whose row is gone; and to copy keys and revocations
	# takes longer than to copy the source, which wakes a worker
	$live->safe_psql('source_live', qq{
		SELECT jwt_revoke_key('$issuer', 'k2'), jwt_revoke_key('$issuer', 'k3');
		DELETE FROM jwt_key WHERE kid = 'k3';
		SELECT jwt_import_counts('$issuer', '@{[ slurp_file("$dir/one") ]}');
		INSERT INTO jwt_key (issuer, kid, alg, jwk) SELECT '$idp', 'big' || n, 'HS256',
			jsonb_build_object('kty', 'oct', 'k', translate(encode(sha256(n::text::bytea), 'base64'), '+/=', '-_')) FROM generate_series(1, 5000) n;
		INSERT INTO jwt_denylist (issuer, kind, value) SELECT '$idp', 'jti', 'big' || n FROM generate_series(1, 10000) n});
	my @asked = (es256('k1'), es256('k2'), es256('k3'), hs256('k1', $idp), hs256('k1', $idp, jti => '"out"'));
	# no token of a revoked key is accepted, whether the key is stored, retired or
	# missing
	my $ask = 'SELECT ' . join(', ', map { "coalesce((SELECT sqlstate FROM jwt_inspect('$_', issuer => " . (/^\Q$asked[3]\E|^\Q$asked[4]\E/ ? "'$idp'" : "'$issuer'") . ")), 'valid')" } @asked);
	my $count = join(' UNION ALL ', map { "SELECT count(*) FROM $_" } qw(jwt_denylist jwt_issuer jwt_jwks_source), 'jwt_key_status WHERE verifies');
	my $verdicts_in = sub { return $live->safe_psql(shift, $ask) =~ s/28J(?:03|11)/refused/gr };
	my $counts = $live->safe_psql('source_live', $count);
	my $verdicts = 'valid|refused|refused|valid|refused';
	is($verdicts_in->('source_live'), $verdicts, 'the verdicts where a worker fetches');
	IPC::Run::run([ 'pg_dump', '-U', 'boss', '-Fc', '-f', "$dir/live", $live->connstr('source_live') ]) or die 'pg_dump';

	my ($early, $twice) = (0, 0);
	for my $n (1 .. 10)
	{
		my $by = $n % 2 ? 'admin' : 'boss';
		$live->safe_psql('postgres', "CREATE DATABASE target_$n OWNER boss");
		my ($stdout, $stderr) = ('', '');
		IPC::Run::run([ 'pg_restore', '-j', 4, '-U', $by, '-d', $live->connstr("target_$n"), "$dir/live" ], '>', \$stdout, '2>', \$stderr);
		$restores++;
		is($stderr, '', "beside a worker, -j 4 by $by: no error");
		is($verdicts_in->("target_$n"), $verdicts, 'the same verdicts');
		ok($live->poll_query_until("target_$n", q{SELECT count(*) = 1 FROM jwt_jwks_state WHERE last_success IS NOT NULL}), 'the worker comes');
		my $import = "SELECT jwt_import_counts('$issuer', '" . slurp_file("$dir/one") . "')";
		$early++ if $live->safe_psql("target_$n", q{SELECT count(*) > 0 FROM jwt_key WHERE kid = 'k3'}) eq 't';
		$twice++ if $live->safe_psql("target_$n", $count) ne $counts;
		# the next import removes duplicates
		$live->safe_psql("target_$n", $import);
		is($live->safe_psql("target_$n", $count), $counts, 'as many rows');
		is($verdicts_in->("target_$n"), $verdicts, 'and still the same verdicts');
		$live->safe_psql('postgres', "DROP DATABASE target_$n WITH (FORCE)");
	}
	note "The worker came before the revocations $early times of 10, and before the keys $twice times.";
	$live->stop;
}

note sprintf('%d restores in %.0f s', $restores, time() - $began);
done_testing();
