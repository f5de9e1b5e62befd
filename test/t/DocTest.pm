# DocTest: runs the blocks of a page of the documentation, as a reader would paste them.
#
# A comment on the line before a block names the role that runs it:
#
#     <!-- run: ROLE [in DATABASE] [, refused SQLSTATE] [, gives] [, since VERSION]
#     [, needs EXTENSION] -->
#
# psql runs SQL blocks. Consecutive blocks of one role in one database run in one psql,
# so they share settings and variables. "superuser" is the bootstrap superuser; "shell"
# means a block of shell commands. "refused": the block ends with an error of that
# SQLSTATE. "gives": the block prints what the next block of the page shows, except for
# trailing spaces. "since" and "needs": older servers, and servers without the
# extension, skip the block.
#
# The block after a comment <!-- file: NAME --> is a file. A test writes and runs it.
package DocTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use File::Temp ();
use IPC::Run;
use MIME::Base64 qw(encode_base64url);
use PostgreSQL::Test::Utils ();
use Test::More;

our @EXPORT = qw(doc_blocks doc_file doc_run ed25519_token);

# A token signed by an Ed25519 key, given as 32 bytes in hex. claims are JSON.
sub ed25519_token
{
	my ($seed, $kid, $claims) = @_;
	my $key   = File::Temp->new;
	my $input = File::Temp->new;
	my $text  = encode_base64url(qq({"alg":"EdDSA","kid":"$kid"})) . '.' . encode_base64url($claims);
	my $signature;
	# PKCS #8, RFC 8410 section 7
	print $key pack('H*', "302e020100300506032b657004220420$seed");
	print $input $text;
	$_->flush for $key, $input;
	IPC::Run::run([ qw(openssl pkeyutl -sign -rawin -keyform DER -inkey), $key->filename, '-in', $input->filename ],
		'>', \$signature) or die 'openssl cannot sign';
	return "$text." . encode_base64url($signature);
}

# The marked blocks of a page in order, or those of one section. Each block has line,
# section, role and text, and optionally database, refused, gives, since and needs.
sub doc_blocks
{
	my ($path, $only) = @_;
	my (@blocks, $mark, $block, $wants, $section);
	my $n = 0;
	$section = '';
	for my $line (split(/^/, PostgreSQL::Test::Utils::slurp_file($path)))
	{
		$n++;
		if ($block && $line !~ /^\s*```/)
		{
			$$block .= $line;
		}
		elsif ($block)
		{
			$block = undef;
		}
		elsif ($line =~ /^<!-- run: (.*?) -->$/)
		{
			my ($who, @more) = split(/, /, $1);
			my ($role, $database) = $who =~ /^(\w+)(?: in (\w+))?$/ or die "$path:$n: whom is that for?";
			$mark = { line => $n, section => $section, role => $role, database => $database, text => '' };
			for my $more (@more)
			{
				if    ($more =~ /^refused (\w{5})$/) { $mark->{refused} = $1; }
				elsif ($more =~ /^since (\d+)$/)     { $mark->{since}   = $1; }
				elsif ($more =~ /^needs (\w+)$/)     { $mark->{needs}   = $1; }
				elsif ($more eq 'gives')             { $mark->{gives}   = ''; }
				else                                 { die "$path:$n: what is $more?"; }
			}
		}
		elsif ($line =~ /^\s*```(.*)/)
		{
			my $ignored = '';
			$block = $mark ? \$mark->{text} : $wants ? \$wants->{gives} : \$ignored;
			if ($mark)
			{
				die "$path:$n: a block of $1" unless $1 eq ($mark->{role} eq 'shell' ? 'sh' : 'sql');
				push @blocks, $mark;
				$wants = defined $mark->{gives} ? $mark : undef;
				$mark  = undef;
			}
			else
			{
				$wants = undef;
			}
		}
		elsif ($line =~ /^#+ (.*)/)
		{
			$section = $1;
		}
		die "$path:$n: the comment is not before a block" if $mark && $mark->{line} < $n;
	}
	@blocks = grep { $_->{section} eq $only } @blocks if defined $only;
	die "$path has no such block" unless @blocks;
	return @blocks;
}

# The text of a file that a page shows.
sub doc_file
{
	my ($path, $name) = @_;
	my ($text) = PostgreSQL::Test::Utils::slurp_file($path) =~ /^<!-- file: \Q$name\E -->\n```\w+\n(.*?)^```$/ms
	  or die "$path has no $name";
	return $text;
}

# Remove spaces at ends of lines, and empty lines at the start and at the end.
sub tidy
{
	my ($text) = @_;
	$text =~ s/[ \t]+$//mg;
	$text =~ s/\A\n+//;
	$text =~ s/\n*\z/\n/;
	return $text;
}

# Run a command with input. Returns its output, including errors, and its status.
sub run_command
{
	my ($command, $input) = @_;
	my $out = '';
	IPC::Run::run($command, '<', \$input, '>', \$out, '2>&1', IPC::Run::timeout(180));
	return ($out, $? >> 8);
}

sub report
{
	my ($name, $block, $out, $good) = @_;
	my $what = "$name:$block->{line}: " . ($block->{refused} ? "refused to $block->{role}" : "run by $block->{role}");
	if ($good && defined $block->{gives})
	{
		is(tidy($out), tidy($block->{gives}), "$what, and gives what it says");
		return;
	}
	ok($good, $what) or diag($block->{text}, $out);
	return;
}

# Run SQL blocks in one psql.
sub run_sql
{
	my ($name, $node, $database, $superuser, $variables, @blocks) = @_;
	my $role   = $blocks[0]{role} eq 'superuser' ? $superuser : $blocks[0]{role};
	my $script = "\\set ON_ERROR_STOP 1\n";
	my $i      = 0;
	for my $block (@blocks)
	{
		$script .= "\\echo \@\@ $i\n";
		$script .= "\\set ON_ERROR_STOP 0\n" if $block->{refused};
		$script .= $block->{text};
		$script .= "\\set ON_ERROR_STOP 1\n\\echo \@\@state :LAST_ERROR_SQLSTATE\n" if $block->{refused};
		$i++;
	}
	$script .= "\\echo \@\@ $i\n";

	my ($out, undef) = run_command([ 'psql', '-X', '-q', '-d', $node->connstr($database), '-U', $role,
			map { ('-v', "$_=$variables->{$_}") } sort keys %$variables ], $script);
	my %part = $out =~ /^\@\@ (\d+)\n(.*?)(?=^\@\@ \d|\z)/msg;
	for my $n (0 .. $#blocks)
	{
		my $block = $blocks[$n];
		my $text  = $part{$n} // '';
		my $state = $text =~ s/^\@\@state (\w{5})\n//m ? $1 : '';
		# psql reached the next block
		my $good = exists $part{ $n + 1 };
		$good = $good && $state eq $block->{refused} && $text =~ /^ERROR:/m if $block->{refused};
		report($name, $block, $text, $good);
	}
	return;
}

# Run the marked blocks of a page, or of one of its sections, on a server. SQL runs in
# the given database unless the block names one. Shell commands run in a folder. nodes
# has the servers of databases on other servers; variables are those of psql.
sub doc_run
{
	my ($node, $path, %options) = @_;
	my @blocks    = doc_blocks($path, $options{section});
	my $superuser = $options{superuser} // $node->safe_psql('postgres', 'SELECT current_user');
	my $name      = $path =~ s{.*/}{}r;
	@blocks = grep { !$_->{since} || $node->pg_version >= $_->{since} } @blocks;
	@blocks = grep { !$_->{needs} || $node->safe_psql('postgres', "SELECT name FROM pg_available_extensions WHERE name = '$_->{needs}'") ne '' } @blocks;
	while (my $block = shift @blocks)
	{
		if ($block->{role} eq 'shell')
		{
			local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGUSER => $superuser);
			my ($out, $status) = run_command([ 'bash', '-e' ], ($options{folder} ? "cd '$options{folder}'\n" : '') . $block->{text});
			report($name, $block, $out, $status == 0);
			next;
		}
		my @together = ($block);
		push @together, shift @blocks
		  while @blocks && $blocks[0]{role} eq $block->{role} && ($blocks[0]{database} // '') eq ($block->{database} // '');
		my $database = $block->{database} // $options{database} // 'postgres';
		run_sql($name, $options{nodes}{$database} // $node, $database, $superuser, $options{variables} // {}, @together);
	}
	return;
}

1;
