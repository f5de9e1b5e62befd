# No way to write a bad key puts a secret into the server's log or into a message to the
# client, with any log settings. Exceptions are statements that log_statement logs, and
# PostgreSQL's own errors about a statement that contains the secret, or about invalid
# JSON.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t";
use IPC::Run;
use JSON::PP qw(decode_json);
use JwtTest;
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();

# The secret, and a pattern for any ten characters of it.
my $secret = do { open(my $random, '<:raw', '/dev/urandom') or die; read($random, my $bytes, 32) == 32 or die; $bytes };
my $hex = unpack('H*', $secret);
my $base64 = encode_base64($secret, '');
my $base64url = JwtTest::base64url($secret);
my %windows = map { $_ => 1 } map { my $text = $_; map { substr($text, $_, 10) } 0 .. length($text) - 11 } $hex, uc $hex, $base64, $base64url;
my $shown = join('|', map { quotemeta } sort keys %windows);
$shown = qr/$shown/;
like("x$base64url", $shown, 'a secret is seen');
like('\x' . substr($hex, 20, 12), $shown, 'and a part of one');
unlike('x' x 100, $shown, 'and nothing else');

# A server that logs to a text file and to a JSON file.
sub new_node
{
	my ($name) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', q{
		logging_collector = on
		log_destination = 'stderr,jsonlog'
		log_directory = 'log'
		log_filename = 'server.log'
		log_rotation_age = 0
		log_rotation_size = 0
		log_statement = none
		wal_retrieve_retry_interval = '200ms'
	});
	$node->start;
	return $node;
}

my $node = new_node('main');
sub sql { my ($db, $sql) = @_; return $node->safe_psql($db, $sql) }

# The text and the records of a server's log since a mark.
sub log_mark { my ($of) = @_; return { map { ($_ => -s $of->data_dir . "/log/server.$_" || 0) } qw(log json) } }
sub logged_since
{
	my ($of, $mark) = @_;
	my %new = map { ($_ => substr(slurp_file($of->data_dir . "/log/server.$_"), $mark->{$_})) } qw(log json);
	return ($new{log}, map { decode_json($_) } split(/\n/, $new{json}));
}

# The log records that show the secret, except for logged statements.
sub leaks
{
	my (@records) = @_;
	my @leaks;
	for my $record (@records)
	{
		next if $record->{error_severity} eq 'LOG' && $record->{message} =~ /\A(?:statement: |execute |duration: )/;
		for my $field (sort keys %$record)
		{
			push @leaks, "$field of $record->{error_severity} $record->{state_code}: $record->{$field}" if $record->{$field} =~ $shown;
		}
	}
	return join("\n", @leaks);
}

#
# Keys, each with the result of inserting it: an SQLSTATE, WARNING for a stored row that
# verifies nothing, or nothing.
#

my ($long, $uuid) = ('x' x 1025, '11111111-2222-3333-4444-555555555555');
my $jwk = qq({"kty":"oct","k":"$base64url"});
my @keys = (
	[ 'a good key', '', {} ],
	[ 'a good key, no kid', '', { kid => undef } ],
	[ 'too short for its algorithm', 'WARNING', { alg => 'HS512' } ],
	[ 'an unknown algorithm', 'WARNING', { alg => 'HS255' } ],
	[ 'an algorithm of other keys', 'WARNING', { alg => 'RS256' } ],
	[ 'an algorithm that is not allowed', 'WARNING', { alg => 'HS384', jwk => qq({"kty":"oct","k":"$base64url$base64url"}) } ],
	[ 'no algorithm', 'WARNING', { alg => undef } ],
	[ 'no such issuer', 'WARNING', { issuer => 'https://nobody.example' } ],
	[ 'base64 and no base64url', 'WARNING', { jwk => qq({"kty":"oct","k":"$base64"}) } ],
	[ 'no key type', 'WARNING', { jwk => qq({"k":"$base64url"}) } ],
	[ 'an unknown key type', 'WARNING', { jwk => qq({"kty":"secret","k":"$base64url"}) } ],
	[ 'a secret that is no string', 'WARNING', { jwk => qq({"kty":"oct","k":["$base64url"]}) } ],
	[ 'for encryption', 'WARNING', { jwk => qq({"kty":"oct","use":"enc","k":"$base64url"}) } ],
	[ 'another algorithm in the JWK', 'WARNING', { jwk => qq({"kty":"oct","alg":"HS512","k":"$base64url"}) } ],
	[ 'a secret as public key', 'WARNING', { alg => 'EdDSA', jwk => qq({"kty":"OKP","crv":"Ed25519","x":"$base64url$base64url"}) } ],
	[ 'a private key', '23514', { alg => 'EdDSA', jwk => qq({"kty":"OKP","crv":"Ed25519","x":"AAAA","d":"$base64url"}) } ],
	[ 'an array', '23514', { jwk => qq(["$base64url"]) } ],
	[ 'a string', '23514', { jwk => qq("$base64url") } ],
	[ 'too large', '23514', { jwk => qq({"kty":"oct","k":"$base64url","x":") . 'x' x 70000 . '"}' } ],
	[ 'a long issuer', '23514', { issuer => $long } ],
	[ 'a long kid', '23514', { kid => $long } ],
	[ 'a long kid in the JWK', '23514', { kid => undef, jwk => qq({"kty":"oct","kid":"$long","k":"$base64url"}) } ],
	[ 'no issuer', '23502', { issuer => undef } ],
	[ 'no id', '23502', { id => undef } ]);
$_->[2] = { id => $uuid, issuer => 'https://idp.example', kid => 'k1', alg => 'HS256', jwk => $jwk, %{ $_->[2] } } for @keys;

sub literal { my ($value) = @_; return defined $value ? "'" . $value =~ s/'/''/gr . "'" : 'NULL' }

my @columns = qw(id issuer kid alg jwk);
my $columns = join(', ', @columns);
sub values_of { my ($key) = @_; return join(', ', map { literal($key->{$_}) . ({ id => '::uuid', jwk => '::jsonb' }->{$_} // '') } @columns) }

sql('postgres', q{
	CREATE EXTENSION jwt;
	INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://idp.example', '{api}', '{HS256,HS512,EdDSA}');
	CREATE TABLE held AS SELECT id, issuer, kid, alg, jwk FROM jwt_key;
	CREATE TABLE target_row AS SELECT gen_random_uuid() AS id;
	CREATE FUNCTION add_row(iss text, key jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN INSERT INTO jwt_key (issuer, kid, alg, jwk) VALUES (iss, 'k', 'HS256', key); END $$;
});

#
# Statements with their results.
#

my @statements;

for my $n (0 .. $#keys)
{
	my ($what, $outcome, $key) = @{ $keys[$n] };
	my $values = values_of($key);
	my $good = values_of({ %{ $keys[0][2] }, id => '99999999-2222-3333-4444-555555555555' });
	# as files for COPY, in the order of the table and with the key first
	my $first = 'jwk, id, issuer, kid, alg';
	sql('postgres', "TRUNCATE held; INSERT INTO held VALUES ($values);"
		. join('', map { "COPY (SELECT $columns FROM held) TO '$dir/$n.$_' ($_);" } 'FORMAT text', 'FORMAT csv', 'FORMAT binary')
		. "COPY (SELECT $first FROM held) TO '$dir/$n.first'");
	my $update = join(', ', map { "$_ = " . literal($key->{$_}) } @columns);
	push @statements,
	  [ "INSERT: $what", $outcome, "INSERT INTO jwt_key ($columns) VALUES ($values)" ],
	  [ "INSERT, two rows: $what", $outcome, "INSERT INTO jwt_key ($columns) VALUES ($good), ($values)" ],
	  [ "INSERT, ON CONFLICT: $what", $outcome, "INSERT INTO jwt_key ($columns) VALUES ($values) ON CONFLICT (id) DO UPDATE SET jwk = excluded.jwk" ],
	  [ "a writable CTE: $what", $outcome, "WITH new AS (INSERT INTO jwt_key ($columns) VALUES ($values) RETURNING id) SELECT count(*) FROM new" ],
	  [ "UPDATE: $what", $outcome, "UPDATE jwt_key SET $update" ],
	  [ "MERGE: $what", $outcome, "MERGE INTO jwt_key k USING (SELECT $values) AS n ($columns) ON k.id = n.id WHEN NOT MATCHED THEN INSERT ($columns) VALUES (n.id, n.issuer, n.kid, n.alg, n.jwk)" ],
	  [ "EXECUTE: $what", $outcome, "DEALLOCATE ALL; PREPARE p AS INSERT INTO jwt_key ($columns) VALUES (\$1, \$2, \$3, \$4, \$5); EXECUTE p ($values)" ],
	  [ "DO: $what", $outcome, "DO \$do\$ BEGIN INSERT INTO jwt_key ($columns) VALUES ($values); END \$do\$" ],
	  [ "DO, EXECUTE: $what", $outcome, "DO \$do\$ BEGIN EXECUTE \$x\$ INSERT INTO jwt_key ($columns) VALUES ($values) \$x\$; END \$do\$" ],
	  (map { [ "COPY, $_: $what", $outcome, "\\copy jwt_key ($columns) FROM '$dir/$n.$_' ($_)" ] } 'FORMAT text', 'FORMAT csv', 'FORMAT binary'),
	  [ "COPY, the key first: $what", $outcome, "\\copy jwt_key ($first) FROM '$dir/$n.first'" ];
}

# The functions with a key as argument. They parse text themselves, and raise an error
# for an unusable key.
my ($idp, $nobody) = ('https://idp.example', 'https://nobody.example');
my $cut = substr($jwk, 0, -1);
my $pem = "-----BEGIN PRIVATE KEY-----\n$base64\n-----END PRIVATE KEY-----\n";
my $public_pem = $pem =~ s/PRIVATE/PUBLIC/gr;
my $signed = token('alice');
my @calls = (
	[ 'jwt_add_secret', '', "'$idp', '\\x$hex', 'HS256', 'new'" ],
	[ 'jwt_add_secret: too short', '22023', "'$idp', '\\x" . substr($hex, 0, 40) . "', 'HS256', 'new'" ],
	[ 'jwt_add_secret: the wrong algorithm', '22023', "'$idp', '\\x$hex', 'EdDSA', 'new'" ],
	[ 'jwt_add_secret: one that is not allowed', '22023', "'$idp', '\\x$hex', 'RS256', 'new'" ],
	[ 'jwt_add_secret: an unknown algorithm', '22023', "'$idp', '\\x$hex', 'HS255', 'new'" ],
	[ 'jwt_add_secret: no algorithm', '22004', "'$idp', '\\x$hex', NULL, 'new'" ],
	[ 'jwt_add_secret: no such issuer', '42704', "'$nobody', '\\x$hex', 'HS256', 'new'" ],
	[ 'jwt_add_secret: no issuer', '22004', "NULL, '\\x$hex', 'HS256', 'new'" ],
	[ 'jwt_add_secret: too long', '22023', "'$idp', '\\x" . $hex x 200 . "', 'HS256', 'new'" ],
	[ 'jwt_add_secret: a long kid', '22023|23514', "'$idp', '\\x$hex', 'HS256', '$long'" ],
	[ 'jwt_add_secret: a second key of a kid', '|42710', "'$idp', '\\x$hex', 'HS256', 'there'" ],
	[ 'jwt_add_secret: read only', '25006', "'$idp', '\\x$hex', 'HS256', 'new'", 'SET TRANSACTION READ ONLY' ],
	[ 'jwt_add_key', '', "'$idp', '$jwk', 'HS256', 'new'" ],
	[ 'jwt_add_key: no JSON', '22023', "'$idp', '$cut', 'HS256', 'new'" ],
	[ 'jwt_add_key: no JWK', '22023', "'$idp', '[$jwk]', 'HS256', 'new'" ],
	[ 'jwt_add_key: twice', '22023', qq('$idp', '$cut,"k":"$base64url"}', 'HS256', 'new') ],
	[ 'jwt_add_key: base64', '22023', qq('$idp', '{"kty":"oct","k":"$base64"}', 'HS256', 'new') ],
	[ 'jwt_add_key: bare', '22023', "'$idp', '$base64url', 'HS256', 'new'" ],
	[ 'jwt_add_key: a private JWK', '22023', qq('$idp', '{"kty":"OKP","crv":"Ed25519","x":"$base64url","d":"$base64url"}', 'EdDSA', 'new') ],
	[ 'jwt_add_key: a private PEM', '22023', "'$idp', '$pem', 'EdDSA', 'new'" ],
	[ 'jwt_add_key: a broken PEM', '22023', "'$idp', '$public_pem', 'EdDSA', 'new'" ],
	[ 'jwt_add_key: no such issuer', '42704', "'$nobody', '$jwk', 'HS256', 'new'" ],
	[ 'jwt_add_key: the wrong algorithm', '22023', "'$idp', '$jwk', 'EdDSA', 'new'" ],
	[ 'jwt_add_key: a window that ends before it begins', '22023', "'$idp', '$jwk', 'HS256', 'new', 'infinity', '-infinity'" ],
	[ 'jwt_add_key: read only', '25006', "'$idp', '$jwk', 'HS256', 'new'", 'SET TRANSACTION READ ONLY' ],
	[ 'jwt_jwk', '', "'$jwk'" ],
	[ 'jwt_jwk: no JSON', '22023', "'$cut'" ],
	[ 'jwt_jwk: a private PEM', '22023', "'$pem'" ],
	[ 'jwt_thumbprint', '', "'$jwk'" ],
	[ 'jwt_thumbprint: no key type', '22023', qq('{"k":"$base64url"}') ],
	[ 'jwt_import_jwks: a secret', '22023', qq('$idp', '{"keys":[$jwk]}') ],
	[ 'jwt_import_jwks: no JSON', '22023', qq('$idp', '{"keys":[$cut]}') ],
	[ 'jwt_import_jwks: no set', '22023', "'$idp', '$jwk'" ],
	[ 'jwt_import_jwks: a private JWK', '22023', qq('$idp', '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"$base64url","d":"$base64url"}]}') ],
	[ 'jwt_import_jwks: no such issuer', '42704', qq('$nobody', '{"keys":[$jwk]}') ],
	[ 'jws_verify: another key', '28J04', "'$signed', '$jwk', 'HS256'" ],
	[ 'jws_verify: a JWK that is none', '22023', qq('$signed', '{"k":"$base64url"}', 'HS256') ],
	[ 'jws_verify: an algorithm of other keys', '22023', "'$signed', '$jwk', 'RS256'" ],
	[ 'jws_verify: no token', '28J01', "'x', '$jwk', 'HS256'" ]);

for my $call (@calls)
{
	my ($what, $outcome, $arguments, $before) = @$call;
	my ($function) = $what =~ /^(\w+)/;
	$before = $before ? "$before; " : '';
	push @statements,
	  [ $what, $outcome, "${before}SELECT count(*) FROM $function($arguments)" ],
	  [ "DO, $what", $outcome, "${before}DO \$do\$ BEGIN PERFORM $function($arguments); END \$do\$" ],
	  [ "DO, EXECUTE, $what", $outcome, "${before}DO \$do\$ BEGIN EXECUTE \$x\$ SELECT $function($arguments) \$x\$; END \$do\$" ];
}

# A row that is there, and its change by hand.
push @statements,
  [ 'a private member is added', '23514', qq(UPDATE jwt_key SET jwk = jwk || '{"d":"$base64url"}') ],
  [ 'a function writes', 'WARNING', qq(SELECT add_row('$nobody', '$jwk')) ],
  [ 'a function writes what is refused', '23514', qq(SELECT add_row('$idp', '["$base64url"]')) ];

# Run all of them as one script, each in a transaction that is rolled back. Returns the
# messages to the client for each.
sub run_all
{
	my ($options) = @_;
	local $ENV{PGOPTIONS} = $options;
	my ($in, $out, $err) = ('', '', '');
	$in = "\\set VERBOSITY verbose\n\\set SHOW_CONTEXT always\n";
	$in .= "BEGIN;\nINSERT INTO jwt_key ($columns) SELECT gen_random_uuid(), issuer, 'there', 'EdDSA', '{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}' FROM jwt_issuer;\n"
	  . "\\warn == $_\n$statements[$_][2]" . ($statements[$_][2] =~ /^\\/ ? "\n" : ";\n") . "ROLLBACK;\n" for 0 .. $#statements;
	IPC::Run::run([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(300));
	my %told = map { /\A(\d+)\n(.*)\z/s ? ($1 => $2) : () } split(/^== /m, $err);
	return \%told;
}

# What is logged when, with the exceptions that leaks() makes, and without.
my @settings = (
	[ 'as PostgreSQL comes', '', 0 ],
	[ 'warnings with their statements', '-c log_min_error_statement=warning -c log_min_messages=info -c log_error_verbosity=verbose', 0 ],
	[ 'all statements', '-c log_statement=all -c log_min_error_statement=error -c log_error_verbosity=verbose -c log_min_messages=debug1 -c log_parameter_max_length_on_error=-1', 1 ]);
for my $setting (@settings)
{
	my ($what, $options, $statements_too) = @$setting;
	my $mark = log_mark($node);
	my $told = run_all($options);
	my (@wrong, @leaks);
	for my $n (0 .. $#statements)
	{
		my ($name, $outcome) = @{ $statements[$n] };
		my $was = $told->{$n} // 'not run';
		$outcome = qr/\A(?:$outcome)\z/;
		my $got = $was =~ /ERROR:  (\w{5}):/ ? $1 : $was =~ /WARNING:  01000: / ? 'WARNING' : $was;
		push @wrong, "$name: " . substr($got, 0, 500) . ", not $statements[$n][1]" if $got !~ $outcome;
		push @leaks, "$name: " . substr($was, 0, 1000) if $was =~ $shown;
	}
	is(join("\n", @wrong), '', "$what: what becomes of each of " . @statements . ' statements');
	is(join("\n", @leaks), '', 'no client is told the secret');
	my ($text, @records) = logged_since($node, $mark);
	cmp_ok(scalar(grep { $_->{error_severity} =~ /ERROR|WARNING/ } @records), '>', @statements / 2, 'errors and warnings are logged');
	is(substr(leaks(@records), 0, 10000), '', 'and none shows the secret');
	if ($statements_too) { like($text, $shown, 'but the statements that log_statement logs') }
	else { unlike($text, $shown, 'nor does anything else') }
}

#
# Bind parameters, which keep a secret out of logged statements
#

# pgbench sends its variables as parameters.
sub bound
{
	my ($options, $sql, %variables) = @_;
	local $ENV{PGOPTIONS} = $options;
	my $script = "$dir/bound";
	open(my $fh, '>', $script) or die;
	print $fh "BEGIN;\n$sql;\nROLLBACK;\n";
	close $fh;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'pgbench', '-n', '-t', 1, '-M', 'extended', (map { ('-D', "$_=$variables{$_}") } sort keys %variables), '-f', $script, $node->connstr('postgres') ],
		'>', \$out, '2>', \$err);
	return $err;
}

my $plan = '-c session_preload_libraries=auto_explain -c auto_explain.log_min_duration=0 -c auto_explain.log_nested_statements=on -c auto_explain.log_analyze=on -c auto_explain.log_triggers=on'
  . ($node->pg_version >= 16 ? ' -c auto_explain.log_parameter_max_length=0' : '');
my @bound = (
	[ 'INSERT, a good key', qr/\A\z/, "INSERT INTO jwt_key (issuer, kid, alg, jwk) VALUES ('$idp', 'bound', 'HS256', :jwk)", jwk => $jwk ],
	[ 'INSERT, one that verifies nothing', qr/WARNING:  1 row of "jwt_key"/, "INSERT INTO jwt_key (issuer, kid, alg, jwk) VALUES ('$idp', 'bound', 'HS512', :jwk)", jwk => $jwk ],
	[ 'INSERT, one that is refused', qr/ERROR:  column "jwk"/, "INSERT INTO jwt_key (issuer, kid, alg, jwk) VALUES ('$idp', 'bound', 'HS256', :jwk)", jwk => "[$jwk]" ],
	[ 'UPDATE', qr/ERROR:  column "jwk"/, "INSERT INTO jwt_key (issuer, alg, jwk) VALUES ('$idp', 'HS256', '{}');\nUPDATE jwt_key SET jwk = :jwk", jwk => "[$jwk]" ],
	[ 'jwt_add_secret', qr/\A\z/, "SELECT jwt_add_secret('$idp', :secret, 'HS256', 'bound')", secret => "\\x$hex" ],
	[ 'jwt_add_secret, too short', qr/ERROR:  key is not acceptable/, "SELECT jwt_add_secret('$idp', :secret, 'HS512', 'bound')", secret => "\\x$hex" ],
	[ 'jwt_add_secret, no such issuer', qr/ERROR:  issuer "https:\/\/nobody.example" does not exist/, "SELECT jwt_add_secret('$nobody', :secret, 'HS256', 'bound')", secret => "\\x$hex" ],
	[ 'jwt_add_secret, read only', qr/ERROR:  cannot execute jwt_add_secret/, "SET TRANSACTION READ ONLY;\nSELECT jwt_add_secret('$idp', :secret, 'HS256', 'bound')", secret => "\\x$hex" ],
	[ 'jwt_add_key, no JSON', qr/ERROR:  key is not acceptable/, "SELECT jwt_add_key('$idp', :key, 'HS256', 'bound')", key => $cut ],
	[ 'jwt_import_jwks', qr/ERROR:  JWK Set is not acceptable/, "SELECT count(*) FROM jwt_import_jwks('$idp', :key)", key => qq({"keys":[$jwk]}) ],
	[ 'jws_verify', qr/ERROR:  .*signature/, "SELECT jws_verify(:token, :key, 'HS256')", token => $signed, key => $jwk ]);
for my $setting (
	[ 'parameters of errors', '-c log_parameter_max_length_on_error=-1 -c log_error_verbosity=verbose -c log_min_error_statement=warning' ],
	[ 'plans', $plan ])
{
	my ($what, $options) = @$setting;
	my $mark = log_mark($node);
	my @leaks;
	for my $case (@bound)
	{
		my ($name, $told, $sql, %variables) = @$case;
		my $was = bound($options, $sql, %variables) =~ s/\A.*?^(?=pgbench: error|WARNING)|\A.*\z//smr;
		like($was, $told, "$what: $name, bound");
		push @leaks, "$name: $was" if $was =~ $shown;
	}
	is(join("\n", @leaks), '', 'no client is told the secret');
	my ($text) = logged_since($node, $mark);
	like($text, $what eq 'plans' ? qr/plan:\n\s*Query Text: INSERT/ : qr/ERROR:  22023: key is not acceptable/, 'it was logged');
	unlike($text, $shown, 'without the secret');
}

#
# Restores of a dump with bad rows
#

sql('postgres', 'CREATE DATABASE bad');
sql('bad', "CREATE EXTENSION jwt; INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('a', '{api}', '{HS256}'); ALTER TABLE jwt_key DISABLE TRIGGER jwt_key_check; SET client_min_messages = error;"
	. join('', map { "INSERT INTO jwt_key ($columns) VALUES (" . values_of({ %{ $_->[2] }, id => undef }) =~ s/\ANULL::uuid/gen_random_uuid()/r . ');' } @keys));
for my $case ([ 'COPY', '-Fc' ], [ 'INSERT', '-Fc', '--inserts' ], [ 'COPY, the data twice', '-Fc' ])
{
	my ($what, @flags) = @$case;
	my $file = join('', "$dir/bad", @flags);
	sql('postgres', 'CREATE DATABASE restored');
	# the second time the rows are there already: one of a short line
	sql('bad', "DELETE FROM jwt_key; INSERT INTO jwt_key (issuer, kid, alg, jwk) VALUES ('a', NULL, 'HS256', '$jwk'), ('a', 'b', 'HS256', '$jwk')") if $what =~ /twice/;
	IPC::Run::run([ 'pg_dump', @flags, '-f', $file, $node->connstr('bad') ]) or die 'pg_dump';
	my $mark = log_mark($node);
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'pg_restore', '-d', $node->connstr('restored'), @$_, $file ], '>', \$out, '2>', \$err) for [], ($what =~ /twice/ ? [ '--data-only' ] : ());
	# pg_restore itself shows the command that failed
	$err =~ s/^Command was: .*?(?=^pg_restore: )//gms;
	my ($text) = logged_since($node, $mark);
	like($text, $what =~ /twice/ ? qr/duplicate key.*CONTEXT:  COPY jwt_key, line 1: "/s : qr/column "jwk" of "jwt_key" is not acceptable/, "a restore by $what: has an error");
	unlike("$text$err", $shown, 'and neither the log nor the client shows the secret');
	sql('postgres', 'DROP DATABASE restored');
}

# A refused token may be valid later, or for another server.
{
	my ($token) = sql('bad', q{SELECT string_agg(rtrim(translate(encode(convert_to(part, 'UTF8'), 'base64'), '+/', '-_'), '='), '.')
		FROM unnest(ARRAY['{"alg":"HS256","kid":"nobody"}', '{"sub":"alice"}', 'signature']) part});
	my %ways = (
		'a literal' => sub { ($node->psql('bad', "SELECT jwt_verify('$token')"))[2] },
		'a literal in PL/pgSQL' => sub { ($node->psql('bad', "DO \$\$BEGIN PERFORM jwt_verify('$token'); END\$\$"))[2] =~ s/CONTEXT.*//sr },
		'a parameter' => sub { bound('-c log_parameter_max_length_on_error=-1', 'SELECT jwt_verify(:token)', token => $token) =~ s/CONTEXT.*//sr });
	for my $way (sort keys %ways)
	{
		my $mark = log_mark($node);
		my $told = $ways{$way}->();
		my ($text) = logged_since($node, $mark);
		like($text, qr/ERROR: .*JSON Web Token/, "a refused token, $way: it is logged");
		unlike("$text$told", qr/\Q$token/, 'without the token');
	}
}

#
# Logical replication: a subscriber refuses a row, in the initial copy and later
#

my $subscriber = new_node('subscriber');
sql('postgres', 'CREATE PUBLICATION keys FOR TABLE jwt_key');
sql('postgres', "ALTER TABLE jwt_key DISABLE TRIGGER jwt_key_check; INSERT INTO jwt_key ($columns) VALUES (" . values_of($keys[2][2]) . "), ('22222222-2222-3333-4444-555555555555', '$idp', 'x', 'HS256', '[$jwk]')");
$subscriber->safe_psql('postgres', 'CREATE EXTENSION jwt');
my $mark = log_mark($subscriber);
my $refused = sub {
	my ($from, $pattern, $what) = @_;
	my $text;
	for (1 .. 300)
	{
		($text) = logged_since($subscriber, $from);
		last if $text =~ $pattern;
		select(undef, undef, undef, 0.1);
	}
	like($text, $pattern, "$what: the subscriber logs an error");
};
$subscriber->safe_psql('postgres', sprintf("CREATE SUBSCRIPTION keys CONNECTION '%s' PUBLICATION keys", $node->connstr('postgres') =~ s/'/''/gr));
$refused->($mark, qr/column "jwk" of "jwt_key" is not acceptable/, 'initial sync');
sql('postgres', q{DELETE FROM jwt_key WHERE kid = 'x'});
$subscriber->poll_query_until('postgres', q{SELECT count(*) = 1 FROM jwt_key}) or die 'it does not copy';
$subscriber->wait_for_subscription_sync($node, 'keys');
my $apply = log_mark($subscriber);
sql('postgres', "INSERT INTO jwt_key ($columns) VALUES ('33333333-2222-3333-4444-555555555555', '$idp', 'y', 'HS256', '[$jwk]')");
$refused->($apply, qr/column "jwk" of "jwt_key" is not acceptable/, 'apply');
my ($logged) = logged_since($subscriber, $mark);
unlike($logged, $shown, 'and its log does not show the secret');

done_testing();
