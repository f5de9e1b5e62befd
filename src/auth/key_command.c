/*-------------------------------------------------------------------------
 *
 * key_command.c
 *	  The output of the command that prints the key file.
 *
 * The postmaster runs the command when it starts, and each time that it reloads
 * its configuration: PostgreSQL calls the assign hook of a setting in a
 * configuration file at each reload, also if the value is the same.  A setting
 * of the server's command line is assigned only once.
 *
 * The output is in a shared mapping that all processes inherit, so that a reload
 * changes the keys of the sessions that exist.  This is not PostgreSQL's shared
 * memory, which the postmaster must not touch while a session could hold a lock
 * on it.  The postmaster is the only writer and never waits: the generation is
 * odd while it writes, and a reader copies again if the generation has changed.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <openssl/crypto.h>

#include "auth/key_command.h"
#include "auth/key_lines.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "portability/instr_time.h"
#include "token/secret.h"
#include "utils/memutils.h"

/* How long the command may run, and how long a killed one has to end. */
#define TIMEOUT_MS			10000
#define KILL_TIMEOUT_MS		10000
#define TIMED_OUT			"It ran for longer than 10 seconds."

/* The files that the command may not inherit, such as the sockets. */
#define FIRST_FILE			3
#define LAST_FILE			1023

typedef struct Output
{
	pg_atomic_uint32 generation;
	int			len;			/* 0: no keys */
	char		text[KEY_TEXT_MAX];
} Output;

/* Null if the library is not preloaded by a postmaster. */
static Output *shared = NULL;

/*
 * Make room for the output.  Call before the setting is defined.
 */
void
key_command_init(void)
{
#ifndef EXEC_BACKEND
	void	   *mapping;

	if (!process_shared_preload_libraries_in_progress || !IsPostmasterEnvironment || IsUnderPostmaster)
		return;
	mapping = mmap(NULL, sizeof(Output), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (mapping == MAP_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map memory for the keys of jwt_auth: %m")));
#ifdef MADV_DONTDUMP
	(void) madvise(mapping, sizeof(Output), MADV_DONTDUMP);
#endif
	shared = mapping;
	pg_atomic_init_u32(&shared->generation, 0);
#endif
}

/*
 * Can a command give keys to this process?
 */
bool
key_command_is_supported(void)
{
	return shared != NULL;
}

/*
 * Copy the output into text, which has room for KEY_TEXT_MAX bytes and is memory
 * of secret_alloc().  Returns its length, 0 if there is none.
 */
int
key_command_output(char *text)
{
	for (;;)
	{
		uint32		before = pg_atomic_read_u32(&shared->generation);
		int			len;

		pg_read_barrier();
		len = shared->len;
		memcpy(text, shared->text, len);
		pg_read_barrier();
		if (before % 2 == 0 && pg_atomic_read_u32(&shared->generation) == before)
			return len;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(1000);
	}
}

static void
publish(const char *text, int len)
{
	pg_atomic_write_u32(&shared->generation, pg_atomic_read_u32(&shared->generation) + 1);
	pg_write_barrier();
	OPENSSL_cleanse(shared->text, sizeof(shared->text));
	memcpy(shared->text, text, len);
	shared->len = len;
	pg_write_barrier();
	pg_atomic_write_u32(&shared->generation, pg_atomic_read_u32(&shared->generation) + 1);
}

/*
 * The milliseconds of a timeout that are left.
 */
static int
time_left(instr_time start, int timeout)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, start);
	return Max(timeout - (int) INSTR_TIME_GET_MILLISEC(now), 0);
}

/*
 * Wait for the end of the command.
 */
static bool
wait_for(pid_t pid, instr_time start, int *status)
{
	pid_t		ended;

	while ((ended = waitpid(pid, status, WNOHANG)) != pid)
	{
		if ((ended < 0 && errno != EINTR) || time_left(start, TIMEOUT_MS) == 0)
			return false;
		pg_usleep(10000);
	}
	return true;
}

/*
 * Kill the processes of a command, and wait for their end.  For the postmaster's
 * handler, a process that is killed is a crashed backend, so that it would end
 * all sessions.  As the first process of a container, the postmaster inherits the
 * children of the command, too.
 */
static void
kill_group(pid_t group)
{
	instr_time	start;
	pid_t		ended;
	int			status;

	(void) kill(-group, SIGKILL);
	INSTR_TIME_SET_CURRENT(start);
	while ((ended = waitpid(-group, &status, WNOHANG)) >= 0 || errno == EINTR)
		if (ended == 0)
		{
			if (time_left(start, KILL_TIMEOUT_MS) == 0)
				break;
			pg_usleep(10000);
		}
}

/*
 * The child: run the command, without input, in a process group of its own.
 */
static void
execute(const char *command, int output)
{
	int			null = open("/dev/null", O_RDONLY);
	sigset_t	none;

	sigemptyset(&none);
	if (null < 0 || setpgid(0, 0) != 0 || dup2(null, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0)
		_exit(126);
	for (int file = FIRST_FILE; file <= LAST_FILE; file++)
		(void) close(file);
	(void) signal(SIGPIPE, SIG_DFL);
	(void) sigprocmask(SIG_SETMASK, &none, NULL);
	(void) execl("/bin/sh", "sh", "-c", command, (char *) NULL);
	_exit(127);
}

/*
 * Read the output of a command, until its end or one byte more than it may have.
 * Returns NULL on success, and otherwise why not.
 */
static const char *
read_output(int file, instr_time start, char *text, int *len)
{
	struct pollfd poll_file = {.fd = file, .events = POLLIN};

	*len = 0;
	for (;;)
	{
		int			ready = poll(&poll_file, 1, time_left(start, TIMEOUT_MS));
		ssize_t		n;

		if (ready == 0)
			return TIMED_OUT;
		n = ready < 0 ? -1 : read(file, text + *len, KEY_TEXT_MAX + 1 - *len);
		if (n == 0)
			return NULL;
		if (n < 0 && errno != EINTR)
			return "Its output could not be read.";
		if (n > 0)
			*len += (int) n;
		if (*len > KEY_TEXT_MAX)
			return "It printed more than 64 kB.";
	}
}

/*
 * Run a command and read its output into text, which has room for one byte more
 * than KEY_TEXT_MAX.  Returns NULL on success, and otherwise why not.
 */
static const char *
run(const char *command, char *text, int *len)
{
	int			pipes[2];
	instr_time	start;
	pid_t		pid;
	const char *reason;
	int			status;

	if (pipe(pipes) != 0)
		return "The server could not make a pipe.";
	INSTR_TIME_SET_CURRENT(start);
	pid = fork();
	if (pid == 0)
		execute(command, pipes[1]);
	(void) close(pipes[1]);
	if (pid < 0)
	{
		(void) close(pipes[0]);
		return "The server could not make a process.";
	}
	/* here, too, because the child may not have run yet */
	(void) setpgid(pid, pid);

	reason = read_output(pipes[0], start, text, len);
	(void) close(pipes[0]);
	if (reason == NULL && wait_for(pid, start, &status))
		return status == 0 ? NULL : wait_result_to_str(status);

	kill_group(pid);
	return reason ? reason : TIMED_OUT;
}

/*
 * The assign hook of the setting.  In the postmaster, run the command.  If it
 * fails, the keys of its last success stay, as a certificate does that cannot be
 * reloaded.  Raises no error.
 */
void
key_command_assign(const char *command, void *extra)
{
	MemoryContext context;
	MemoryContext old;
	char	   *text;
	FileKey    *key;
	const char *reason;
	char	   *fault;
	int			len;

	(void) extra;
	if (shared == NULL || IsUnderPostmaster)
		return;
	if (command == NULL || *command == '\0')
	{
		publish("", 0);
		return;
	}

	context = AllocSetContextCreate(CurrentMemoryContext, "key command", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	text = secret_alloc(KEY_TEXT_MAX + 1);
	key = secret_alloc(sizeof(*key));
	reason = run(command, text, &len);
	if (reason == NULL)
	{
		(void) key_lines_find(text, len, NULL, NULL, key, &fault);
		reason = fault;
	}
	if (reason == NULL)
		publish(text, len);
	else
		ereport(LOG,
				(errcode(ERRCODE_CONFIG_FILE_ERROR),
				 errmsg("the key command of jwt_auth has failed"),
				 errdetail_internal("%s", reason),
				 errhint("The keys that it has given before stay in use.")));
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
