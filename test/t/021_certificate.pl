# Tokens that are bound to a client certificate: it must be that of the connection.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use JwtTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $order = order_maker();
my $secret = JwtTest::secret();
sub bound { return $order->(token => { sub => 'alice', cnf => $_[0] }, secret => $secret) }

my $node = PostgreSQL::Test::Cluster->new('main');
my $dir = PostgreSQL::Test::Utils::tempdir;
sub openssl { system_or_bail('openssl', @_); return }
openssl(qw(req -x509 -newkey rsa:2048 -nodes -days 9 -subj /CN=authority -keyout), "$dir/ca.key", '-out', "$dir/ca.pem");
for my $who (qw(server alice mallory))
{
	my $cn = $who eq 'server' ? 'localhost' : $who;
	openssl(qw(req -newkey rsa:2048 -nodes -subj), "/CN=$cn", '-keyout', "$dir/$who.key", '-out', "$dir/$who.csr");
	openssl(qw(x509 -req -days 9 -CAcreateserial -CA), "$dir/ca.pem", '-CAkey', "$dir/ca.key", '-in', "$dir/$who.csr", '-out', "$dir/$who.pem");
	chmod 0600, "$dir/$who.key";
}
my %thumbprint = map { $_ => $order->(certificate => "$dir/$_.pem") } qw(alice mallory);
my $alice = bound({ 'x5t#S256' => $thumbprint{alice} });
my $mallory = bound({ 'x5t#S256' => $thumbprint{mallory} });

$node->init;
$node->append_conf('postgresql.conf', qq{
	listen_addresses = '127.0.0.1'
	ssl = on
	ssl_ca_file = '$dir/ca.pem'
	ssl_cert_file = '$dir/server.pem'
	ssl_key_file = '$dir/server.key'
	log_min_error_statement = panic
});
$node->append_conf('pg_hba.conf', "hostssl all all 127.0.0.1/32 trust");
$node->start;
setup_trust($node);
setup_notes($node);
$node->safe_psql('postgres', q{
	-- whose only use of the library is within
	CREATE FUNCTION within() RETURNS text LANGUAGE plpgsql PARALLEL SAFE AS $$ BEGIN RETURN jwt_subject(); END $$;
});

# The output and the errors of a client with or without a certificate.
sub client
{
	my ($who, $sql) = @_;
	my $connstr = 'host=127.0.0.1 port=' . $node->port . ' dbname=postgres sslmode=require sslcert=' .
		($who ? "$dir/$who.pem sslkey=$dir/$who.key" : 'none');
	my ($out, $err);
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $connstr ], '<', \$sql, '>', \$out, '2>', \$err, IPC::Run::timeout(60));
	return $out . $err;
}
my $refused = qr/^ERROR:  28J13: sender of the JSON Web Token is not confirmed\nDETAIL:  The token is bound to a client certificate, which is not that of this connection/m;
my $parallel = 'SET ROLE reader; SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET parallel_leader_participation = off; ';
my $count = 'SELECT count(*), min(owner) FROM note';

for my $preloaded (0, 1)
{
	my $how = $preloaded ? 'preloaded: ' : '';
	if ($preloaded)
	{
		$node->append_conf('postgresql.conf', 'shared_preload_libraries = jwt');
		$node->restart;
	}
	for my $sql ("SELECT jwt_authenticate('TOKEN') ->> 'sub'", "SET jwt.token = 'TOKEN'; SELECT jwt_subject()", "SELECT jwt_verify('TOKEN') ->> 'sub'",
		"SELECT jwt_authenticate('TOKEN', false) ->> 'sub'", "SELECT claims ->> 'sub' FROM jwt_inspect('TOKEN') WHERE valid")
	{
		my $inspect = $sql =~ /inspect/;
		my ($good, $bad) = map { $sql =~ s/TOKEN/$_/gr } $alice, $mallory;
		my $name = $how . $sql =~ s/SELECT |'TOKEN'|TOKEN//gr;
		is(client('alice', $good), "alice\n", "$name: with the certificate");
		is(client('mallory', $good), '', "$name: with another") if $inspect;
		next if $inspect;
		like(client('mallory', $good), $refused, "$name: with another");
		like(client(undef, $good), $refused, "$name: with none");
		like(client('alice', $bad), $refused, "$name: another's token");
	}
	my $err;
	$node->psql('postgres', "SELECT jwt_authenticate('$alice')", stderr => \$err);
	like($err, qr/sender of the JSON Web Token is not confirmed/, "${how}without TLS");

	# Workers have no connection, and use the certificate of their leader.
	like(client('alice', "$parallel EXPLAIN (COSTS OFF) $count"), qr/Workers Planned/, "${how}a parallel plan");
	is(client('alice', "$parallel SET jwt.token = '$alice'; $count"), "2500|alice\n", "${how}parallel workers, with the certificate");
	like(client('mallory', "$parallel SET jwt.token = '$alice'; $count"), $refused, "${how}parallel workers, with another");
	like(client(undef, "$parallel SET jwt.token = '$alice'; $count"), $refused, "${how}parallel workers, with none");
	for my $before ("SELECT jwt_authenticate('$alice', false) ->> 'sub'; DISCARD ALL; $parallel", 'RESET ALL; ', 'RESET jwt.certificate;', 'BEGIN; SELECT jwt_subject(); ROLLBACK; ')
	{
		my $out = client('alice', "$before$parallel SET jwt.token = '$alice'; $count");
		like($out, qr/^2500\|alice\n\z/m, $how . $before =~ s/eyJ[^']*//r =~ s/SET ROLE.*//sr);
	}
	like(client('mallory', "SET jwt.certificate = '$thumbprint{alice}'; $parallel SET jwt.token = '$alice'; $count"), $refused, "${how}the certificate cannot be set");
	like(client(undef, "SET jwt.certificate = '$thumbprint{alice}'; $parallel SET jwt.token = '$alice'; SELECT count(within()) FROM note"), $refused, "${how}nor by who has none");
	like(client('alice', "$parallel SET jwt.token = '$alice'; SELECT DISTINCT within() FROM note"), $preloaded ? qr/^alice$/ : qr/^alice$|$refused/m, "${how}a function that alone uses the library");
}
is(client('alice', "SELECT jwt_authenticate('$alice'); SHOW jwt.certificate") =~ s/^\{.*\n//r, "$thumbprint{alice}\n", 'the certificate that workers know of');

# Both.
{
	my $both = bound({ 'x5t#S256' => $thumbprint{alice}, jkt => $order->(key => 'alice', alg => 'ES256') });
	like(client('alice', "SELECT jwt_authenticate('$both')"), qr/bound to a key/, 'a key and a certificate: the certificate alone is not enough');
	my $sql;
	for (1 .. 100)
	{
		my $proof = $order->(proof => 'alice', token => $both);
		$sql = "BEGIN; SELECT jwt_authenticate('$both', true, NULL, '$proof', 'GET', 'https://api.example/things') ->> 'sub'; $parallel $count; COMMIT";
		last if client('alice', $sql) !~ /before this server started/;
		sleep 1;
		$sql = undef;
	}
	my $proof = $order->(proof => 'alice', token => $both);
	$sql = "BEGIN; SELECT jwt_authenticate('$both', true, NULL, '$proof', 'GET', 'https://api.example/things') ->> 'sub'; $parallel $count; COMMIT";
	like(client('mallory', $sql), $refused, 'nor the key');
	is(client('alice', $sql), "alice\n2500|alice\n", 'both are, in workers, too');
}

$node->stop;
done_testing();
