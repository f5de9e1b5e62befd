# JwtTest: tokens and trust for the tests of whole servers.
package JwtTest;

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256);
use Exporter 'import';
use File::Temp ();
use FindBin;
use IPC::Run;
use JSON::PP ();
use MIME::Base64 qw(decode_base64url encode_base64);
use PostgreSQL::Test::Utils ();
use Time::HiRes qw(sleep);

our @EXPORT = qw(token setup_trust key_line put_keys setup_issuing age_server refresh_sid setup_notes verdict open_session wait_until logged make_fixtures preload_fetcher start_peer order_maker hold reload state due park turn);

my $secret = 'a secret of the tests of whole servers';

sub base64url
{
	my $text = encode_base64(shift, '');
	$text =~ tr{+/=}{-_}d;
	return $text;
}

sub secret { return $secret }

# A token of https://idp.example for a subject, signed by the key k1. Options are other
# claims (numbers, strings, objects), and another iss, kid or secret.
sub token
{
	my ($sub, %more) = @_;
	my ($iss, $kid, $key) = (delete $more{iss} // 'https://idp.example', delete $more{kid} // 'k1', delete $more{secret} // $secret);
	my $exp = time() + 3600;
	my $more = join('', map { qq(,"$_":) . (ref $more{$_} ? JSON::PP::encode_json($more{$_}) : $more{$_} =~ /^[0-9.]+$/ ? $more{$_} : qq("$more{$_}")) } sort keys %more);
	my $input = base64url(qq({"alg":"HS256","kid":"$kid"})) . '.'
	  . base64url(qq({"iss":"$iss","aud":"api","sub":"$sub","exp":$exp$more}));
	return "$input." . base64url(hmac_sha256($input, $key));
}

# The SQL that creates hmac(data, key, type), as the regression tests have it.
sub hmac_function
{
	my $init = PostgreSQL::Test::Utils::slurp_file("$FindBin::RealBin/../init.sql");
	return join('', $init =~ /^(CREATE FUNCTION (?:hmac_pad|hmac_sha256|hmac)\(.*?;\n)/msg);
}

# Install the extension, trust the issuer, add the key.
sub setup_trust
{
	my ($node, $db) = @_;
	my $hex = unpack('H*', $secret);
	$node->safe_psql($db // 'postgres', qq{
		CREATE EXTENSION jwt;
		INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://idp.example', '{api}', '{HS256}');
		SELECT jwt_add_secret('https://idp.example', '\\x$hex', 'HS256', 'k1');
	});
	return;
}

# A new line of a key file, for all databases or for some.
sub key_line
{
	my ($name, $databases) = @_;
	open my $random, '<:raw', '/dev/urandom' or die;
	read($random, my $key, 32) == 32 or die;
	return join(':', $name, encode_base64($key, ''), $databases // '*') . "\n";
}

# Give a server a key file, outside of its data directory, with these lines.
sub put_keys
{
	my ($node, @lines) = @_;
	my $file = $node->basedir . '/jwt_auth.keys';
	unlink "$file.new";
	PostgreSQL::Test::Utils::append_to_file("$file.new", join('', @lines));
	chmod(0600, "$file.new") or die;
	rename("$file.new", $file) or die;
	return $file;
}

# Install both extensions, and let https://login.example sign with a new key. $policy are
# columns of its policy. The server has a key file.
sub setup_issuing
{
	my ($node, $db, $policy) = @_;
	$node->safe_psql($db, qq{
		SET client_min_messages = warning;
		CREATE EXTENSION jwt_auth CASCADE;
		SELECT jwt_add_issuer('https://login.example', '{api}', '{ES256}');
		INSERT INTO jwt_token_policy (issuer, audience) VALUES ('https://login.example', '{api}');
		UPDATE jwt_token_policy SET $policy;
		SELECT jwt_create_signing_key('https://login.example');
	});
	return;
}

# Make a server appear to have started two hours ago, so that only a rotation begins a
# grace.
sub age_server
{
	my ($node) = @_;
	utime time() - 7200, time() - 7200, $node->data_dir . '/postmaster.pid' or die;
	return;
}

# The sid in a refresh token.
sub refresh_sid
{
	my ($token) = @_;
	my ($length, $rest) = unpack('xCa*', decode_base64url($token));
	return join('-', unpack("x${length}H8H4H4H4H12", $rest));
}

# Create notes of Alice and Bob, enough for parallel workers. A policy shows the role
# reader the notes of the current subject.
sub setup_notes
{
	my ($node) = @_;
	$node->safe_psql('postgres', q{
		CREATE TABLE note AS SELECT i, CASE i % 2 WHEN 0 THEN 'alice' ELSE 'bob' END AS owner FROM generate_series(1, 5000) i;
		ANALYZE note;
		ALTER TABLE note ENABLE ROW LEVEL SECURITY;
		CREATE POLICY own ON note USING (owner = jwt_subject());
		CREATE ROLE reader LOGIN;
		GRANT SELECT ON note TO reader;
	});
	return;
}

# The SQL for the verdict on a token: "valid" or an SQLSTATE.
sub verdict
{
	my ($token) = @_;
	return "SELECT coalesce(sqlstate, 'valid') FROM jwt_inspect('$token')";
}

# For FROM: the states of sources for their current uri.
sub state
{
	return '(SELECT t.* FROM jwt_jwks_state t JOIN jwt_jwks_source s USING (issuer) WHERE t.uri IS NOT DISTINCT FROM s.uri) t';
}

# The SQL that makes sources due, and the SQL that parks them.
sub due
{
	my ($where) = @_;
	$where = $where ? "WHERE $where" : '';
	return "UPDATE jwt_jwks_state SET next_attempt = now() $where; UPDATE jwt_jwks_source SET grace = grace $where";
}

sub park
{
	my ($where) = @_;
	$where = $where ? "WHERE $where" : '';
	return "INSERT INTO jwt_jwks_state (issuer, next_attempt) SELECT issuer, 'infinity' FROM jwt_jwks_source $where
		ON CONFLICT (issuer) DO UPDATE SET next_attempt = excluded.next_attempt";
}

# Wait until workers have finished all that was due or woken in a database. $uri is the
# URL of a key set that can be fetched.
sub turn
{
	my ($node, $db, $uri) = @_;
	$node->safe_psql($db, qq{INSERT INTO jwt_issuer (issuer, audience, algorithms) VALUES ('https://canary.example', '{api}', '{ES256}');
		INSERT INTO jwt_jwks_source (issuer, uri) VALUES ('https://canary.example', '$uri?canary')});
	my $done = $node->poll_query_until($db, q{SELECT last_success IS NOT NULL FROM jwt_jwks_state WHERE issuer = 'https://canary.example'}) &&
	  $node->poll_query_until($db, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jwt_jwks worker' AND datname = current_database()});
	$node->safe_psql($db, q{DELETE FROM jwt_issuer WHERE issuer = 'https://canary.example'});
	return $done;
}

# Change the configuration by "SET name = value" or "RESET ALL", and wait until the
# postmaster has read it. Later processes use it, and the others have their signal.
sub reload
{
	my ($node, @changes) = @_;
	my $before = $node->safe_psql('postgres', 'SELECT pg_conf_load_time()');
	$node->safe_psql('postgres', join('; ', (map { "ALTER SYSTEM $_" } @changes), 'SELECT pg_reload_conf()'));
	$node->poll_query_until('postgres', "SELECT pg_conf_load_time() <> '$before'") or die 'the configuration is not read';
	return;
}

# The folder of this file.
my $folder = __FILE__ =~ s{[^/]*\z}{}r;

# Make keys, tokens and certificates. Returns their folder, which lasts as long as the
# test.
sub make_fixtures
{
	my $dir = File::Temp::tempdir(CLEANUP => 1);
	system('/usr/bin/python3', "${folder}fixtures.py", $dir) == 0 or die 'fixtures.py failed';
	return $dir;
}

# Configure a server to preload both libraries and to fetch from local endpoints, whose
# certificates are in a folder of make_fixtures(). More settings can follow.
sub preload_fetcher
{
	my ($node, $dir, @settings) = @_;
	$node->append_conf('postgresql.conf', join("\n", "shared_preload_libraries = 'jwt, jwt_jwks'",
		"jwt_jwks.allowed_hosts = 'localhost:*'", "jwt_jwks.ca_file = '$dir/ca.pem'", @settings));
	return;
}

# Start endpoint.mjs or proxy.mjs, which serves the files of a folder. Returns its ports
# by name.
my @peers;
END { local $?; $_->kill_kill for @peers }
sub start_peer
{
	my ($peer, $dir) = @_;
	my ($in, $out, $err) = ('', '', '');
	push @peers, IPC::Run::start([ 'node', "$folder$peer.mjs", $dir ], '<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(300));
	$peers[-1]->pump until $out =~ /^ready$/m;
	return $out =~ /^(\S+) (\d+)$/mg;
}

# Start proofs.py, which makes keys, tokens and proofs. Returns a function that requests
# one of them.
sub order_maker
{
	my ($in, $out) = ('', '');
	my $timer = IPC::Run::timeout(60);
	my $maker = IPC::Run::start([ '/usr/bin/python3', "${folder}proofs.py" ], '<', \$in, '>', \$out, $timer);
	push @peers, $maker;
	return sub {
		$timer->start;	# for each request
		$out = '';
		$in .= JSON::PP::encode_json({@_}) . "\n";
		$maker->pump until $out =~ /\n/;
		chomp $out;
		return $out;
	};
}

# Let endpoint.mjs delay its answers to later requests of /held/NAME. Returns a function
# that ends the delay.
my $gates = 0;
sub hold
{
	my ($dir, $name) = @_;
	my $gate = "$name.open" . ++$gates;
	PostgreSQL::Test::Utils::append_to_file("$dir/$name.new", $gate);
	rename("$dir/$name.new", "$dir/$name.gate") or die;
	return sub { PostgreSQL::Test::Utils::append_to_file("$dir/$gate", 'x') };
}

# Wait until a function returns true. Returns false after the timeout of PostgreSQL's
# tests.
sub wait_until
{
	my ($condition) = @_;
	for (1 .. 20 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if $condition->();
		sleep 0.05;
	}
	return 0;
}

# The same for a pattern in a server's log, from an offset on.
sub logged
{
	my ($node, $pattern, $from) = @_;
	return wait_until(sub { substr(PostgreSQL::Test::Utils::slurp_file($node->logfile), $from) =~ $pattern });
}

# Open a session. Returns a function that runs SQL and returns the output. Without an
# argument it ends the session.
sub open_session
{
	my ($connstr) = @_;
	my ($in, $out, $err) = ('', '', '');
	my $timer = IPC::Run::timeout(180);
	my $h = IPC::Run::start([ 'psql', '-XAtq', '-d', $connstr ],
		'<', \$in, '>', \$out, '2>', \$err, $timer);
	return sub {
		my ($sql) = @_;
		$timer->start;	# for each statement
		if (!defined $sql)
		{
			$in .= "\\q\n";
			return $h->finish;
		}
		$out = '';
		$in .= "$sql;\n\\echo done\n";
		$h->pump until $out =~ /^done$/m;
		$out =~ s/^done\n//m;
		chomp $out;
		return $out;
	};
}

1;
