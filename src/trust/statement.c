/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  How many statements this backend has begun.
 *
 * GetCurrentStatementStartTimestamp() is the time of a message of the client, which
 * may hold many statements.  What is true of one statement only goes by this
 * number besides.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "executor/executor.h"
#include "tcop/utility.h"
#include "trust/statement.h"

uint64		statement_number;

static ExecutorStart_hook_type next_executor_start;
static ProcessUtility_hook_type next_process_utility;

static void
start_executor(QueryDesc * query, int flags)
{
	statement_number++;
	if (next_executor_start)
		next_executor_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
}

static void
process_utility(PlannedStmt *statement, const char *text, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *receiver, QueryCompletion *completion)
{
	statement_number++;
	if (next_process_utility)
		next_process_utility(statement, text, read_only_tree, context, params,
							 environment, receiver, completion);
	else
		standard_ProcessUtility(statement, text, read_only_tree, context, params,
								environment, receiver, completion);
}

/*
 * Begin to count.
 */
void
statement_init(void)
{
	next_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = start_executor;
	next_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
