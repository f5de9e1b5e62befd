# PeersTest: programs beside the server under test.
package PeersTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use IPC::Run;
use JwtTest;
use PostgreSQL::Test::Cluster ();
use PostgreSQL::Test::Utils qw(append_to_file);

our @EXPORT = qw(find_program setup_documents start_pgbouncer start_program start_script);

# The path of a program. Debian installs some outside of the PATH of users.
sub find_program
{
	my ($name) = @_;
	my ($path) = grep { -x } map { "$_/$name" } split(/:/, $ENV{PATH}), '/usr/sbin';
	return $path;
}

# Create the extension, and documents. A policy shows the role app those of the current
# subject.
sub setup_documents
{
	my ($node) = @_;
	$node->safe_psql('postgres', q{
		CREATE EXTENSION jwt;
		CREATE ROLE app LOGIN;
		CREATE TABLE document (owner text, body text);
		ALTER TABLE document ENABLE ROW LEVEL SECURITY;
		CREATE POLICY own ON document USING (owner = jwt_subject());
		GRANT SELECT ON document TO app;
	});
	return;
}

# Start a program that runs until the test ends. Its output goes to a reference.
my @programs;
END { local $?; $_->kill_kill(grace => 40) for reverse @programs }
sub start_program
{
	my ($command, $log) = @_;
	my $none = '';
	push @programs, IPC::Run::start($command, '<', \$none, '>', $log, '2>', $log);
	return $programs[-1];
}

# Start a script that writes "= ready", and then answers each line with a line that begins
# with "= ". Returns a function that sends a line and returns the answer. Without an
# argument it ends the script.
sub start_script
{
	my (@command) = @_;
	my ($in, $out, $err) = ('', '', '');
	my $timer  = IPC::Run::timeout(600);
	my $script = IPC::Run::start(\@command, '<', \$in, '>', \$out, '2>', \$err, $timer);
	my $answer = sub {
		$timer->start;
		$script->pump until $out =~ /^= .*\n/m || !$script->pumpable;
		my ($line) = $out =~ /^= (.*)\n/m;
		die join(' ', @_, $line // '', $err) if !defined $line || $line =~ /^error/;
		return $line;
	};
	push @programs, $script;
	$answer->(@command);
	return sub {
		my ($question) = @_;
		if (!defined $question)
		{
			@programs = grep { $_ != $script } @programs;
			return $script->kill_kill(grace => 40);
		}
		$out = '';
		$in .= "$question\n";
		return $answer->($question);
	};
}

# Start PgBouncer in front of a server for the user app. The pools are settings by name.
# Returns a connection string without dbname and user.
sub start_pgbouncer
{
	my ($node, %pools) = @_;
	my $dir     = PostgreSQL::Test::Utils::tempdir_short();
	my $port    = PostgreSQL::Test::Cluster::get_free_port();
	my $server  = 'host=' . $node->host . ' port=' . $node->port . ' dbname=postgres';
	my $log     = '';
	append_to_file("$dir/users", qq("app" ""\n));
	append_to_file("$dir/pgbouncer.ini", join("\n", '[databases]', map({ "$_ = $server $pools{$_}" } sort keys %pools), <<"END"));
[pgbouncer]
listen_addr =
listen_port = $port
unix_socket_dir = $dir
auth_type = trust
auth_file = $dir/users
pool_mode = transaction
max_client_conn = 100
ignore_startup_parameters = extra_float_digits
END
	start_program([ find_program('pgbouncer'), "$dir/pgbouncer.ini" ], \$log);
	wait_until(sub { -S "$dir/.s.PGSQL.$port" }) or die "pgbouncer: $log";
	return "host=$dir port=$port";
}

1;
