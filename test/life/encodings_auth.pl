# Databases of other encodings: tokens have UTF-8, and signatures, sessions, refreshes and
# revocations agree on every name. A dump of one is restored into another.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use Encode qw(encode decode);
use IPC::Run;
use JSON::PP qw(decode_json);
use JwtTest;
use LifeTest;
use MIME::Base64 qw(decode_base64url encode_base64url);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "jwt_auth.key_file = '" . put_keys($node, key_line('k1')) . "'\nlog_statement = none");
$node->start;
utime time() - 7200, time() - 7200, $node->data_dir . '/postmaster.pid' or die;
sub open_db { my ($db, $encoding) = @_; return LifeTest->new($node->connstr($db), "SET client_encoding = '$encoding'", 'SET client_min_messages = error') }
sub payload { my ($token) = @_; return decode('UTF-8', decode_base64url((split /\./, $token)[1]), Encode::FB_CROAK) }

# The names as psql sends them: bytes of the encoding
my %word = (UTF8 => "\x{e9}\x{65e5}\x{1f600}", LATIN1 => "\x{e9}\x{fc}\x{df}", EUC_JP => "\x{65e5}\x{672c}", SQL_ASCII => "\x{e9}\x{65e5}");
my %perl = (UTF8 => 'UTF-8', LATIN1 => 'iso-8859-1', EUC_JP => 'euc-jp', SQL_ASCII => 'UTF-8');
my %kept;

# Log in, refresh and revoke by these names.
for my $encoding (qw(UTF8 LATIN1 EUC_JP SQL_ASCII))
{
	my $db = lc "in_$encoding";
	my $word = $word{$encoding};
	my $w = encode($perl{$encoding}, $word);
	$node->safe_psql('postgres', "CREATE DATABASE $db ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	my $s = open_db($db, $encoding);
	my $issuer = "https://$w.example";
	$s->must("CREATE EXTENSION jwt_auth CASCADE; SELECT jwt_add_issuer('$issuer', '{api-$w}', '{ES256,EdDSA}'); INSERT INTO jwt_token_policy (issuer, audience, grace) VALUES ('$issuer', '{api-$w}', '0'); SELECT jwt_create_signing_key('$issuer', 'EdDSA', 'kid-$w')");
	my $login = sub { my ($sub) = @_; my $json = $s->must(qq{SELECT jwt_start_session('$issuer', '$sub', '{"name": "n-$w", "$w": ["$w", {"$w": 1}]}', 'client-$w')}); return [ $json =~ /"access_token": "([^"]*)"/, $json =~ /"refresh_token": "([^"]*)"/ ] };
	my $redeem = sub { my ($token, $client) = @_; return $s->ask("SELECT coalesce(a ->> 'error', 'tokens'), a ->> 'refresh_token' FROM jwt_refresh('$token', '$client') a") =~ s/^ERROR:  //r };
	my $verdict = sub { my ($token) = @_; return $s->must(verdict($token)) };
	my ($access, $refresh) = @{ $login->("sub-$w") };
	my $claims = payload($access);
	like($claims, qr/"$_-$word"/, "$encoding: the token has $_ in UTF-8") for qw(sub api client n);
	like($claims, qr/"iss":"https:\/\/$word\.example"/, "$encoding: the issuer");
	like($claims, qr/"$word":\["$word",\{"$word":1\}\]/, "$encoding: members and values in depth");
	like(decode('UTF-8', decode_base64url((split /\./, $access)[0])), qr/"kid":"kid-$word"/, "$encoding: the header");
	is($s->must("SELECT c ->> 'sub', c ->> 'iss', c ->> 'client_id', c #>> '{$w,1,$w}' FROM jwt_verify('$access', 'api-$w', '$issuer') c"), "sub-$w|$issuer|client-$w|1", "$encoding: jwt_verify() reads the same");
	is($redeem->($refresh, "client-x"), 'invalid_grant|', "$encoding: not for another client");
	my ($answer, $next) = split /\|/, $redeem->($refresh, "client-$w");
	is($answer, 'tokens', "$encoding: for its own");
	is($s->must("SELECT sub, issuer, claims ->> 'name' FROM jwt_refresh_session('$next', 'client-$w')"), "sub-$w|$issuer|n-$w", "$encoding: jwt_refresh_session() reads the same");
	is($s->must("SELECT jwt_unverified_claims(jwt_refresh_with('$next', '{\"role\": \"r-$w\"}', 'client-$w') ->> 'access_token') ->> 'role'"), "r-$w", "$encoding: new claims");

	# each kind of revocation ends refreshing and the access tokens alike
	for my $revoke ("jwt_revoke_subject('$issuer', 'sub-$w')", "jwt_revoke_issuer('$issuer')", "jwt_end_sessions('$issuer', 'sub-$w')", "jwt_logout(true) FROM (SELECT jwt_authenticate('ACCESS', false)) a")
	{
		my ($access, $refresh) = @{ $login->("sub-$w") };
		my $other = $login->("sub-${w}x");
		is($verdict->($access), 'valid', "$encoding: valid before");
		$s->must('SELECT ' . $revoke =~ s/ACCESS/$access/r);
		is(join(' ', $verdict->($access), $redeem->($refresh, "client-$w")), '28J11 invalid_grant|', "$encoding: after " . $revoke =~ s/\(.*//r);
		$s->must("RESET jwt.token; DELETE FROM jwt_denylist WHERE kind IN ('sub', 'iss')");
		is(join(' ', $verdict->($other->[0]), $redeem->($other->[1], "client-$w") =~ s/\|.*//r), 'valid tokens', "$encoding: another subject goes on");
	}
	# for the restore
	my $live = $login->("sub-$w");
	$kept{$encoding} = [ @$live, $s->must("SELECT jwt_revoke_subject('$issuer', 'gone-$w', 'infinity')") ? @{ $login->("x-$w") } : () ];
	$s->finish;
}

# Names that are no UTF-8 are not signed.
{
	my $s = open_db('in_sql_ascii', 'SQL_ASCII');
	my $w = encode('UTF-8', $word{SQL_ASCII});
	is($s->ask("SELECT jwt_start_session('https://$w.example', E'\\xe9')"), 'ERROR:  22023', 'SQL_ASCII: a subject that is no UTF-8');
	is($s->ask("SELECT jwt_sign(jsonb_build_object('sub', E'\\xe9'), 'https://$w.example')"), 'ERROR:  22023', 'SQL_ASCII: the same in claims');
	is($s->must('SELECT count(*) FROM jwt_session WHERE sub NOT LIKE \'%sub%\' AND sub NOT LIKE \'x-%\' AND sub NOT LIKE \'gone%\''), '0', 'SQL_ASCII: and no session is left');
	$s->finish;
}

# A restore into another encoding: keys open, sessions are refreshed.
my $dir = PostgreSQL::Test::Utils::tempdir();
for my $case ([ 'LATIN1', 'UTF8' ], [ 'EUC_JP', 'UTF8' ], [ 'SQL_ASCII', 'UTF8' ])
{
	my ($from, $to) = @$case;
	my ($db, $file) = (lc "from_$from", "$dir/$from");
	my $w = encode('UTF-8', $word{$from});
	$node->safe_psql('postgres', "CREATE DATABASE $db ENCODING '$to' LOCALE 'C' TEMPLATE template0");
	IPC::Run::run([ 'pg_dump', '-E', ($from eq 'SQL_ASCII' ? 'UTF8' : $from), '-Fc', '-f', $file, $node->connstr(lc "in_$from") ]) or die;
	IPC::Run::run([ 'pg_restore', '-d', $node->connstr($db), $file ]) or die;
	my $s = open_db($db, 'UTF8');
	my ($access, $refresh) = @{ $kept{$from} };
	is($s->must(verdict($access)), 'valid', "$from to $to: a token verifies");
	is($s->ask("SELECT jwt_unverified_claims(jwt_sign('{\"sub\": \"x\"}')) ->> 'iss'"), "https://$w.example", "$from to $to: a key opens");
	is($s->ask("SELECT coalesce(jwt_refresh('$refresh', 'client-$w') ->> 'error', 'tokens')"), 'tokens', "$from to $to: a session is refreshed");
	$s->finish;
}

# A character of EUC_JP that is another one when it comes back from a token. A token of such a
# subject would not be refused after the subject is revoked.
{
	my $s = open_db('in_euc_jp', 'EUC_JP');
	my $issuer = 'https://' . encode('euc-jp', $word{EUC_JP}) . '.example';
	is($s->must(q{SELECT convert_to(convert_from('\xadf0', 'EUC_JP'), 'UTF8') = convert_to(convert_from('\xa2e2', 'EUC_JP'), 'UTF8')}), 't', 'EUC_JP has two codes for a character');
	is($s->ask("SELECT jwt_start_session('$issuer', convert_from('\\xadf0', 'EUC_JP'))"), 'ERROR:  22023', 'the first one is refused');
	is($s->ask("SELECT jwt_verify(jwt_start_session('$issuer', convert_from('\\xa2e2', 'EUC_JP')) ->> 'access_token') ->> 'sub' = convert_from('\\xa2e2', 'EUC_JP')"), 't', 'the second one comes back');
	$s->finish;
}

$node->stop;
done_testing();
