# A private key that is imported as a parameter, and refresh tokens that are redeemed, by
# functions as in doc/issuing.md, are neither in the plans of auto_explain, nor in
# pg_stat_statements, nor in the server's log. Verbose plans and debug_print_plan have them,
# as that page says.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../t";
use IPC::Run;
use JSON::PP qw(decode_json);
use JwtTest;
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "jwt_auth.key_file = '" . put_keys($node, key_line('k1')) . "'" . q{
	shared_preload_libraries = 'pg_stat_statements, auto_explain'
	pg_stat_statements.track = all
	log_statement = none
	log_parameter_max_length = 0
	log_parameter_max_length_on_error = 0
	track_activity_query_size = 64kB
});
$node->start;
setup_issuing($node, 'postgres', q{grace = '0'});
utime time() - 7200, time() - 7200, $node->data_dir . '/postmaster.pid' or die;
sub sql { return $node->safe_psql('postgres', shift) }
sql(q{
	CREATE EXTENSION pg_stat_statements;
	UPDATE jwt_issuer SET algorithms = '{ES256,EdDSA}';
	CREATE TABLE account (id text PRIMARY KEY, role text);
	INSERT INTO account SELECT i, 'member' FROM generate_series(1, 10) i;
	CREATE FUNCTION refresh_sql(refresh_token text) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jwt_refresh_with($1, (SELECT jsonb_build_object('role', a.role) FROM jwt_refresh_session($1) s JOIN account a ON a.id = s.sub));
	$$;
	CREATE FUNCTION refresh_plpgsql(refresh_token text) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		answer jsonb;
	BEGIN
		SELECT jwt_refresh_with(refresh_token, jsonb_build_object('role', a.role)) INTO answer FROM jwt_refresh_session(refresh_token) s JOIN account a ON a.id = s.sub WHERE refresh_token <> '';
		RETURN answer;
	END $$;
	CREATE FUNCTION import_plpgsql(key text) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		RETURN (SELECT jwt_import_signing_key('https://login.example', import_plpgsql.key, kid => gen_random_uuid()::text));
	END $$;
	CREATE TABLE answer (answer jsonb);
});

# pgbench sends its variables as parameters.
sub bound
{
	my ($mode, $options, $sql, %variables) = @_;
	local $ENV{PGOPTIONS} = $options;
	my $script = "$dir/script";
	unlink $script;
	append_to_file($script, "$sql;\n");
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'pgbench', '-n', '-t', 1, '-M', $mode, (map { ('-D', "$_=$variables{$_}") } sort keys %variables), '-f', $script, $node->connstr('postgres') ], '>', \$out, '2>', \$err);
	return "$out$err";
}

my @secrets;
sub new_key
{
	my $der = `openssl genpkey -algorithm ed25519 -outform DER`;
	my $seed = substr($der, 16);
	push @secrets, [ 'private key', substr(encode_base64($der, ''), 24), JwtTest::base64url($seed), unpack('H*', $seed), join(' ', map { ord } split //, substr(encode_base64($der, ''), 24)) ];
	return "-----BEGIN PRIVATE KEY-----\n" . encode_base64($der, '') . "\n-----END PRIVATE KEY-----\n";
}
sub new_token
{
	my $token = decode_json(sql(q{SELECT jwt_start_session('https://login.example', '1')}))->{refresh_token};
	push @secrets, [ 'refresh token', $token, unpack('H*', $token), join(' ', map { ord } split //, $token) ];
	return $token;
}
# also the tokens that were given out
sub answers
{
	push @secrets, map { [ 'refresh token', $_, join(' ', map { ord } split //, $_) ] } split /\n/, sql(q{SELECT answer ->> 'refresh_token' FROM answer WHERE answer ? 'refresh_token'});
	sql('TRUNCATE answer');
	return;
}
sub shown_in
{
	my ($text) = @_;
	$text =~ s/\s+/ /g;
	my %shown = map { $_->[0] => 1 } grep { my ($name, @forms) = @$_; grep { index($text, $_) >= 0 } @forms } @secrets;
	return join(', ', sort keys %shown);
}
like(shown_in('x' . new_token() . 'x'), qr/refresh token/, 'a token is seen');

my $plans = '-c auto_explain.log_min_duration=0 -c auto_explain.log_nested_statements=on -c auto_explain.log_analyze=on -c auto_explain.log_triggers=on -c auto_explain.log_settings=on'
  . ($node->pg_version >= 16 ? ' -c auto_explain.log_parameter_max_length=0' : '');
my %options = (
	'plans' => $plans,
	'statements' => '-c log_statement=all -c log_min_duration_statement=0 -c log_error_verbosity=verbose',
	'errors' => '-c log_min_error_statement=debug5 -c log_min_messages=debug5 -c log_error_verbosity=verbose',
	'verbose plans' => "$plans -c auto_explain.log_verbose=on",
	'debug_print_parse' => '-c debug_print_parse=on',
	'debug_print_rewritten' => '-c debug_print_rewritten=on',
	'debug_print_plan' => '-c debug_print_plan=on');
my @calls = (
	[ 'import', q{SELECT jwt_import_signing_key('https://login.example', :secret, kid => gen_random_uuid()::text)}, \&new_key ],
	[ 'import in PL/pgSQL', q{SELECT import_plpgsql(:secret)}, \&new_key ],
	[ 'refused import', q{SELECT jwt_import_signing_key('https://login.example', :secret || 'x', 'ES256')}, \&new_key ],
	[ 'refresh', q{INSERT INTO answer SELECT jwt_refresh(:secret)}, \&new_token ],
	[ 'refresh in SQL', q{INSERT INTO answer SELECT refresh_sql(:secret)}, \&new_token ],
	[ 'refresh in PL/pgSQL', q{INSERT INTO answer SELECT refresh_plpgsql(:secret)}, \&new_token ],
	[ 'refresh that fails after', q{INSERT INTO answer SELECT jwt_refresh(:secret) WHERE 1 / (random() * 0)::int = 1}, \&new_token ]);
for my $what (sort keys %options)
{
	for my $mode ('extended', 'prepared')
	{
		my $from = -s $node->logfile;
		my @seen;
		for my $call (@calls)
		{
			my ($name, $sql, $new) = @$call;
			my $at = -s $node->logfile;
			my $answer = bound($mode, $options{$what}, $sql, secret => $new->());
			like($answer, $name =~ /refused|fails/ ? qr/ERROR/ : qr/processed: 1\/1/, "$what, $mode, $name") or diag $answer;
			answers();
			my $shown = shown_in(substr(slurp_file($node->logfile), $at));
			push @seen, "$name: $shown" if $shown;
			is(shown_in($answer), '', 'no client is told');
		}
		my $log = substr(slurp_file($node->logfile), $from);
		like($log, $what =~ /plans/ ? qr/Query Text: .*jwt_refresh/ : $what eq 'statements' ? qr/execute .*jwt_refresh/ : $what eq 'errors' ? qr/ERROR: / : qr/(parse|rewritten parse tree|plan)/, 'it is logged');
		if ($what eq 'verbose plans') { like("@seen", qr/import: private key.* refresh: refresh token/, "$what, $mode: have all") }
		elsif ($what ne 'debug_print_plan') { is("@seen", '', "$what, $mode: without a key or a token") }
	}
}
my $statements = sql('SELECT string_agg(query, $$ $$) FROM pg_stat_statements');
like($statements, qr/jwt_refresh_with/, 'pg_stat_statements has the statements');
is(shown_in($statements), '', 'without a key or a token');
$node->stop;
done_testing();
