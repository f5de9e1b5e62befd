# A private key that is bound as a parameter reaches neither the server's log nor a client,
# whether the key is accepted or refused. One in a statement is not in the message of an
# error of this extension.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use JwtTest;
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();

# A new key of Ed25519 in each form, and a pattern for any ten characters of its secret.
my $der = `openssl genpkey -algorithm ed25519 -outform DER`;
is(length($der), 48, 'a private key');
my $seed = substr($der, 16);
my ($hex, $base64) = (unpack('H*', $seed), encode_base64($der, ''));
my $pem = "-----BEGIN PRIVATE KEY-----\n$base64\n-----END PRIVATE KEY-----\n";
append_to_file("$dir/key", $pem);
my $x = JwtTest::base64url(substr(`openssl pkey -in $dir/key -pubout -outform DER`, -32));
my $d = JwtTest::base64url($seed);
my %windows = map { $_ => 1 } map { my $text = $_; map { substr($text, $_, 10) } 0 .. length($text) - 10 } $hex, uc $hex, $d, encode_base64($seed, ''), substr($base64, 24);
my $shown = join('|', map { quotemeta } sort keys %windows);
$shown = qr/$shown/;
like($_, $shown, 'a key is seen') for $pem, $d, "\\x$hex";
my $jwk = qq({"kty":"OKP","crv":"Ed25519","x":"$x","d":"$d"});
my $unfit = qq({"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"$d"});
(my $traditional = $pem) =~ s/PRIVATE/RSA PRIVATE/g;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
append_to_file("$dir/keys", 'k1:' . encode_base64('k' x 32, '') . ":*\n");
chmod(0600, "$dir/keys") or die;
# as doc/issuing.md asks for: no parameters
$node->append_conf('postgresql.conf', qq{
	jwt_auth.key_file = '$dir/keys'
	log_min_messages = debug5
	log_error_verbosity = verbose
	log_parameter_max_length = 0
	log_parameter_max_length_on_error = 0
});
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION jwt_auth CASCADE;
	SELECT jwt_add_issuer('https://login.example', '{api}', '{EdDSA}');
	INSERT INTO jwt_token_policy (issuer, audience) VALUES ('https://login.example', '{api}');
	CREATE FUNCTION nested(key text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		RETURN jwt_import_signing_key('https://login.example', nested.key);
	END $$;
});

# The log since the last call.
my $read = 0;
sub new_log
{
	my $log = substr(slurp_file($node->logfile), $read);
	$read += length($log);
	return $log;
}

# pgbench sends its variables as parameters. Gives what it says.
sub bound
{
	my ($sql, $key, $options) = @_;
	local $ENV{PGOPTIONS} = $options;
	my $script = "$dir/script";
	unlink $script;
	append_to_file($script, "BEGIN;\n$sql;\nROLLBACK;\n");
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'pgbench', '-n', '-t', 1, '-M', 'extended', '-D', "key=$key", '-f', $script, $node->connstr('postgres') ], '>', \$out, '2>', \$err);
	return "$out$err";
}

my $import = q{SELECT jwt_import_signing_key('https://login.example', :key)};
my $sign = q{SELECT jws_sign('x', :key, 'EdDSA')};
my $refused = qr/ERROR:  key is not acceptable/;
my @cases = (
	[ 'imported, PEM', $import, $pem, qr/processed: 1\/1/ ],
	[ 'imported, JWK', $import, $jwk, qr/processed: 1\/1/ ],
	[ 'imported within a function', 'SELECT nested(:key)', $jwk, qr/processed: 1\/1/ ],
	[ 'signed with', $sign, $jwk, qr/processed: 1\/1/ ],
	[ 'halves that do not fit', $import, $unfit, $refused ],
	[ 'the same within a function', 'SELECT nested(:key)', $unfit, $refused ],
	[ 'the same, to sign', $sign, $unfit, $refused ],
	[ 'PEM in another format', $import, $traditional, $refused ],
	[ 'a JWK that is cut', $import, substr($jwk, 0, -1), $refused ],
	[ 'a member twice', $import, substr($jwk, 0, -1) . qq(,"d":"$d"}), $refused ],
	[ 'another algorithm', q{SELECT jwt_import_signing_key('https://login.example', :key, 'ES256')}, $jwk, $refused ],
	[ 'a key in the header', q{SELECT jws_sign('x', :key, 'EdDSA', jsonb_build_object('jwk', :key::jsonb))}, $jwk, qr/ERROR:  header is not acceptable/ ],
	[ 'no such issuer', q{SELECT jwt_import_signing_key('https://nobody.example', :key)}, $jwk, qr/ERROR:  issuer "https:\/\/nobody.example"/ ],
	[ 'read only', "SET TRANSACTION READ ONLY;\n$import", $jwk, qr/ERROR:  cannot execute jwt_import_signing_key/ ]);
for my $options ('-c log_statement=all -c log_min_duration_statement=0', '-c log_statement=none -c log_min_error_statement=debug5')
{
	new_log();
	for my $case (@cases)
	{
		my ($what, $sql, $key, $expected) = @$case;
		my $answer = bound($sql, $key, $options);
		like($answer, $expected, "$what, a bound key, $options");
		unlike($answer, $shown, 'no client is told it');
		my $log = new_log();
		like($log, $options =~ /all/ ? qr/execute .*:.* SELECT/ : qr/COMMIT|ROLLBACK|CommitTransaction|ERROR/, 'this was logged');
		unlike($log, $shown, 'and the key was not');
	}
}

# log_statement logs a key that is a literal. An error about a key does not.
for my $case (grep { $_->[3] !~ /processed/ } @cases)
{
	my ($what, $sql, $key) = @$case;
	new_log();
	local $ENV{PGOPTIONS} = '-c log_statement=none';
	my ($rc, $out, $err) = $node->psql('postgres', "BEGIN;\n" . $sql =~ s/:key\b/'$key'/gr . ';');
	isnt($rc, 0, "$what, a key in a statement");
	unlike("$out$err", $shown, 'no client is told it');
	my $log = new_log();
	like($log, qr/ERROR: /, 'the error was logged');
	unlike($log, $shown, 'and the key was not');
}

$node->stop;
done_testing();
