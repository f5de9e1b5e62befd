# Users sign in at real identity providers and read through a pool. Then they sign out, or
# the administrator signs them out. The next statement with a token of that session is
# refused, also in an open transaction; other sessions are not affected. The servers of
# doc/sign-out.md receive the provider's posts.
use strict;
use warnings FATAL => 'all';

use FindBin;
use lib "$FindBin::RealBin/../t", $FindBin::RealBin;
use DocTest;
use File::Temp qw(tempdir);
use HTTP::Tiny;
use JSON::PP;
use JwtTest;
use PeersTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $page     = "$FindBin::RealBin/../doc/sign-out.md";
my $node_js  = $ENV{NODE_MODULES} // '';
my $python   = $ENV{PYTHON_MODULES} // '';
my $programs = $ENV{JWT_PEERS} // '/var/cache/jwt-peers';
plan skip_all => 'there is no node' unless find_program('node');
plan skip_all => 'there is no oidc-provider' unless -r "$node_js/oidc-provider/package.json";
plan skip_all => 'there is no pgbouncer' unless find_program('pgbouncer');

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
setup_documents($node);
doc_run($node, $page, section => 'A server that receives events');
doc_run($node, $page, section => 'PostgREST');

my $pooler = start_pgbouncer($node, postgres => 'pool_size=20');

# Start a server of the page. Returns its URL.
my $dir  = tempdir(CLEANUP => 1);
my $http = HTTP::Tiny->new(proxy => undef, http_proxy => undef, timeout => 60);

sub start_receiver
{
	my ($file, $env, @command) = @_;
	my $own = PostgreSQL::Test::Cluster::get_free_port();
	append_to_file("$dir/$file", doc_file($page, $file));
	local %ENV = (%ENV, %$env, PGHOST => $node->host, PGPORT => $node->port, PGUSER => 'receiver', PGDATABASE => 'postgres', PORT => $own);
	start_program([ map { s/PORT/$own/r } @command ], \my $output);
	wait_until(sub { $http->get("http://127.0.0.1:$own/")->{status} == 404 }) or die $output;
	return "http://127.0.0.1:$own";
}
symlink($node_js, "$dir/node_modules") or die $!;
my %receiver = (Express => start_receiver('receiver.mjs', {}, 'node', "$dir/receiver.mjs"));
$receiver{FastAPI} = start_receiver('receiver.py', { PYTHONPATH => "$python:$dir" },
	qw(/usr/bin/python3 -m uvicorn --host 127.0.0.1 --port PORT receiver:app))
  if -d "$python/fastapi";

# The rows that a session sees, or the SQLSTATE of the refusal.
sub shown
{
	my ($session) = @_;
	my ($rows, $state) = $session->("SELECT string_agg(body, ' ') FROM document;\n\\echo state :SQLSTATE\n\\set done ") =~ /^(.*?)\n?state (\w{5})$/s
	  or die 'no state';
	return $state eq '00000' ? $rows : $state;
}

# Open a transaction with a token, through the pool. Returns the session.
sub open_with
{
	my ($token) = @_;
	my $session = open_session("$pooler dbname=postgres user=app");
	$session->("BEGIN;\nSELECT set_config('jwt.token', '$token', true) = ''");
	return $session;
}

# The rows that a token shows in a new transaction, or the SQLSTATE.
sub shown_anew
{
	my ($token) = @_;
	my $session = open_with($token);
	my $shown   = shown($session);
	$session->();
	return $shown;
}

sub verdict_of
{
	my ($token) = @_;
	return $node->safe_psql('postgres', verdict($token));
}

sub revocations
{
	return $node->safe_psql('postgres', 'SELECT count(*) FROM jwt_denylist');
}

# An answer of the receiver in one line: status, headers, members of the body.
sub answer
{
	my ($answer) = @_;
	my $header = $answer->{headers};
	return join(' ', $answer->{status}, $header->{'cache-control'} // '-', $header->{'content-language'} // '-',
		map { "$_" } sort keys %{ $answer->{content} =~ /^\{/ ? decode_json($answer->{content}) : {} });
}

sub post_logout
{
	my ($receiver, $token) = @_;
	return answer($http->post_form("$receiver{$receiver}/logout", { logout_token => $token }));
}

sub post_event
{
	my ($receiver, $token) = @_;
	return answer($http->post("$receiver{$receiver}/events", { content => $token, headers => { 'content-type' => 'application/secevent+jwt' } }));
}

# The status that a function of the page gives to PostgREST, and its answer.
sub call_rest
{
	my ($function, $token) = @_;
	return $node->safe_psql('postgres', "BEGIN; SELECT api.$function('$token'); SELECT current_setting('response.status'); COMMIT",
		extra_params => [ '-U', 'receiver' ]) =~ s/\n/ /r;
}

sub sign_out_at
{
	my ($provider, $receiver, %option) = @_;
	my $name   = "$provider, $receiver";
	my $folder = tempdir(CLEANUP => 1);
	my $ask    = start_script('node', "$FindBin::RealBin/sign-out/people.mjs", $provider, $node_js, $programs, $folder, "$receiver{$receiver}/logout");
	my ($issuer, $client, $keys) = split(/ /, $ask->('issuer'), 3);
	$node->safe_psql('postgres', qq{
		SELECT jwt_add_issuer('$issuer', audience => '{api}', algorithms => '{$option{algorithm}}',
			event_audience => '{$client}', event_without_exp => $option{without_exp});
		SELECT jwt_import_jwks('$issuer', \$\$$keys\$\$);
	});

	$node->safe_psql('postgres', 'TRUNCATE document');
	my %token = (map({ $_ => $ask->("sign-in $_ alice") } qw(laptop phone desk)), tablet => $ask->('sign-in tablet bob'));
	$node->safe_psql('postgres', "INSERT INTO document SELECT jwt_unverified_claims('$token{$_->[0]}') ->> 'sub', '$_->[1]'")
	  for [ laptop => 'hers' ], [ tablet => 'his' ];
	my %session = map { $_ => open_with($token{$_}) } keys %token;
	$token{refreshed} = $ask->('refresh laptop');
	isnt($token{refreshed}, $token{laptop}, "$name: a token is refreshed");
	$session{refreshed} = open_with($token{refreshed});

	# Compare what each session sees, and what each token shows in a new transaction.
	my $look = sub {
		my ($what, %want) = @_;
		my %shown = map { $_ => shown($session{$_}) } keys %want;
		is_deeply(\%shown, \%want, "$name: $what: open transactions");
		%shown = map { $_ => shown_anew($token{$_}) } keys %want;
		is_deeply(\%shown, \%want, "$name: $what: new transactions");
		# the refusal has aborted the transaction
		$session{$_}->(), delete $session{$_} for grep { $want{$_} =~ /^28/ } keys %want;
		return;
	};
	$look->('signed in', laptop => 'hers', refreshed => 'hers', phone => 'hers', desk => 'hers', tablet => 'his');

	$ask->('sign-out laptop');
	my ($status, $cache, $logout) = split(/ /, $ask->('post 1'));
	note("$name: logout token: ", $node->safe_psql('postgres', "SELECT jwt_header('$logout'), jwt_unverified_claims('$logout')"));
	is("$status $cache", '200 no-store', "$name: the user signs out, and the receiver answers");
	$look->('she has signed out', laptop => '28J11', refreshed => '28J11', phone => 'hers', desk => 'hers', tablet => 'his');
	my $later = $ask->('refresh laptop');
	if ($option{refreshes})
	{
		is(shown_anew($later), '28J11', "$name: the provider goes on to refresh, and that is refused here");
	}
	else
	{
		is($later, 'refused', "$name: and the provider refreshes no more");
	}

	my $id_token = $ask->('id-token phone');
	$ask->('end phone');
	is($ask->('post 2') =~ s/ \S+$//r, '200 no-store', "$name: the administrator ends a session, and the receiver answers");
	$session{laptop} = open_with($token{laptop});
	$look->('he has ended hers', laptop => '28J11', phone => '28J11', desk => 'hers', tablet => 'his');

	# A token is for one purpose.
	my $before = revocations();
	is(post_logout($receiver, $logout), '200 no-store -', "$name: a logout token that comes again is received");
	is(post_logout($receiver, $_->[1]), '400 no-store - error error_description', "$name: $_->[0] is no logout token")
	  for [ 'an access token', $token{desk} ], [ 'an ID token', $id_token ], [ 'nothing', '' ], [ 'another signature', $logout =~ s/[^.]+$/(split(m{\.}, $token{desk}))[2]/er ];
	is(call_rest(logout => $logout), '{} 200', "$name: PostgREST's function receives it");
	like(call_rest(logout => $token{desk}), qr/^\{"error" : "invalid_request", "error_description" : ".+"\} 400$/, "$name: and no access token");
	is(revocations(), $before, "$name: none of these has written a row");
	$node->safe_psql('postgres', "UPDATE jwt_issuer SET audience = '{api,$client}' WHERE issuer = '$issuer'");
	is(verdict_of($_->[1]), '28J12', "$name: $_->[0] is no access token, whatever the audience")
	  for [ 'the logout token', $logout ], [ 'the ID token', $ask->('id-token desk') ];
	is(shown($session{desk}), 'hers', "$name: while the access token is one");

	# The provider's key signs Security Event Tokens as well.
	if ($option{signs})
	{
		my $claims = $node->safe_psql('postgres', "SELECT jwt_unverified_claims('$token{desk}') ->> 'sid'");
		my $event  = sub {
			my ($typ, $aud) = @_;
			return $ask->(join(' ', 'sign', encode_json({ typ => $typ }), encode_json({
				iss => $issuer, aud => $aud, jti => 'event', iat => time(), sub_id => { format => 'complex',
					session => { format => 'opaque', id => $claims } },
				events => { 'https://schemas.openid.net/secevent/caep/event-type/session-revoked' => { event_timestamp => time() } } })));
		};
		is(post_event($receiver, $event->('secevent+jwt', 'another')), '400 - en description err', "$name: an event for another is refused");
		is(post_event($receiver, $event->('at+jwt', $client)), '400 - en description err', "$name: and one of another type");
		is(post_event($receiver, ''), '400 - en description err', "$name: and nothing");
		$look->('no event has come', desk => 'hers', tablet => 'his');
		like(call_rest(events => ''), qr/^\{"err": "invalid_request", "description": ".+"\} 400$/, "$name: nor by PostgREST's function");
		my $good = $event->('secevent+jwt', $client);

		# The servers answer after COMMIT, and with the status of a failure if it fails.
		my $ends = $ask->(join(' ', 'sign', encode_json({ typ => 'logout+jwt' }), encode_json({
			iss => $issuer, aud => $client, jti => 'logout', iat => time(), sid => $claims,
			events => { 'http://schemas.openid.net/event/backchannel-logout' => {} } })));
		$node->safe_psql('postgres', q{
			CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no commit'; END $$;
			CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON jwt_denylist DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fail();
		});
		like(post_logout($receiver, $ends), qr/^400 no-store - error/, "$name: a logout token, and COMMIT fails");
		like(post_event($receiver, $good), qr/^500 /, "$name: an event, and COMMIT fails");
		$node->safe_psql('postgres', 'DROP TRIGGER fail ON jwt_denylist; DROP FUNCTION fail()');
		my $large = 'x' x 20_000;
		like(post_logout($receiver, $large), qr/^413 /, "$name: a form of 20 kB");
		like(post_event($receiver, $large), qr/^413 /, "$name: an event of 20 kB");
		like(post_logout($receiver, "x\0"), qr/^400 no-store - error/, "$name: a form with a byte that is no text");
		like(post_event($receiver, "x\0"), qr/^500 /, "$name: an event with such a byte");
		$look->('nothing was committed', desk => 'hers', tablet => 'his');

		is(post_event($receiver, $good), '202 - -', "$name: an event is received");
		is(call_rest(events => $good), ' 202', "$name: and again by PostgREST's function");
		$look->('an event has come', desk => '28J11', tablet => 'his');
	}

	$_->() for values %session;
	$ask->();
	return;
}

SKIP:
{
	sign_out_at('oidc-provider', 'Express', algorithm => 'ES256', without_exp => 'true', signs => 1);
	skip 'there is no FastAPI', 1 unless $receiver{FastAPI};
	sign_out_at('oidc-provider', 'FastAPI', algorithm => 'ES256', without_exp => 'true', signs => 1);
}
SKIP:
{
	skip 'CI has no time for Keycloak and Hydra', 1 if $ENV{CI} && !$ENV{JWT_PEERS};
	skip 'there is no Keycloak, which test/peers/fetch fetches', 1 unless -d "$programs/keycloak" && find_program('java');
	sign_out_at('keycloak', 'Express', algorithm => 'RS256', without_exp => 'false');
}
SKIP:
{
	skip 'CI has no time for Keycloak and Hydra', 1 if $ENV{CI} && !$ENV{JWT_PEERS};
	skip 'there is no Hydra, which test/peers/fetch builds', 1 unless -x "$programs/hydra";
	sign_out_at('hydra', $receiver{FastAPI} ? 'FastAPI' : 'Express', algorithm => 'RS256', without_exp => 'true', refreshes => 1);
}

$node->stop;
done_testing();
