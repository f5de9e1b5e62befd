/*-------------------------------------------------------------------------
 *
 * session.c
 *	  The current token: the setting jwt.token, and its claims.
 *
 * The setting needs no protection from the SQL user, because a token is
 * signed: only a valid token gives claims.  Rollback, savepoints, RESET,
 * DISCARD and parallel workers follow from PostgreSQL's own handling of
 * settings.  The token is verified when its claims are read, not when it is
 * set.  So it can be set before a transaction begins, and by options of the
 * connection.
 *
 * But the token is secret, because it works for everybody who has it.  So it
 * is refused from configuration files, ALTER ROLE and ALTER DATABASE, which
 * every role can read, and no message shows it.
 *
 * The setting jwt.issuer has the issuer argument of jwt_authenticate(), so
 * that later verifications, also in parallel workers, try the same keys.  It
 * only restricts, so it needs no protection either.  The settings about the
 * token's sender are guarded; see confirmation.c.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "session/confirmation.h"
#include "session/replay.h"
#include "session/session.h"
#include "token/json.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"

/* jwt.token; PostgreSQL owns the string */
static char *token_setting;

/* jwt.issuer; empty for any */
static char *issuer_setting;

/* Has jwt.issuer ever been set in this session? */
static bool issuer_was_named = false;

uint64		session_events = 1;

static const Slice nothing = {NULL, 0};

static bool check_token(char **value, void **extra, GucSource source);
static void assign_token(const char *value, void *extra);
static void assign_issuer(const char *value, void *extra);
static const char *show_token(void);

/*
 * The token is checked again in each transaction, because a statement that
 * calls a procedure can have several.
 */
static void
transaction_ended(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		session_events++;
}

/*
 * Define the settings.
 */
void
session_init(void)
{
	RegisterXactCallback(transaction_ended, NULL);
	DefineCustomStringVariable("jwt.token",
							   "Sets the current JSON Web Token, by whose claims policies decide.",
							   NULL,
							   &token_setting,
							   "",
							   PGC_USERSET,
							   GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							   check_token, assign_token, show_token);
	DefineCustomStringVariable("jwt.issuer",
							   "Sets the issuer that the current JSON Web Token must be of; empty for any.",
							   NULL,
							   &issuer_setting,
							   "",
							   PGC_USERSET,
							   GUC_NOT_IN_SAMPLE,
							   NULL, assign_issuer, NULL);
}

/*
 * Accept a token from SET, set_config() and options of the connection only.
 * PGC_S_TEST is the source for values that will be stored in a catalog.
 * PostgreSQL's own message must not appear, because it shows the value.
 */
static bool
check_token(char **value, void **extra, GucSource source)
{
	(void) extra;
	if (*value == NULL || **value == '\0')
		return true;
	/* a parallel worker may be the first to verify it */
	confirmation_publish_certificate();
	if (source == PGC_S_SESSION || source == PGC_S_CLIENT ||
		source == PGC_S_INTERACTIVE || source == PGC_S_OVERRIDE)
		return true;
	GUC_check_errcode(ERRCODE_CANT_CHANGE_RUNTIME_PARAM);
	GUC_check_errmsg("parameter \"jwt.token\" cannot be stored");
	GUC_check_errdetail("Configuration files and the settings of roles, databases and functions can be read by others.");
	GUC_check_errhint("Use SET LOCAL or set_config() in the session.");
	return false;
}

static void
assign_token(const char *value, void *extra)
{
	(void) value;
	(void) extra;
	session_events++;
}

/*
 * The setting is write-only.  Otherwise a function or a trigger of another
 * owner that runs in this session could read the token and pass it on.
 * Parallel workers get the value itself.
 */
static const char *
show_token(void)
{
	return token_setting == NULL || token_setting[0] == '\0' ? "" : "(a token)";
}

static void
assign_issuer(const char *value, void *extra)
{
	(void) extra;
	session_events++;
	if (value != NULL && value[0] != '\0')
		issuer_was_named = true;
}

/*
 * The claims of the current token, or NULL without a token.  Returns false
 * with the failure if the token does not verify.  The claims belong to the
 * cache of verified tokens; see verify_claims().  *stamp is the
 * session_stamp() of the result.
 */
bool
session_claims(const Jsonb **claims, uint64 *stamp, Failure *failure)
{
	VerifyRequest request = {.at = verify_now(), .sender = SENDER_CONFIRMED};
	VerifiedClaims verified;

	*claims = NULL;
	catalog_accept_changes();
	*stamp = session_stamp();
	if (token_setting == NULL || token_setting[0] == '\0')
		return true;
	request.token = slice_of(token_setting);
	if (issuer_setting != NULL && issuer_setting[0] != '\0')
		request.issuer = slice_of(issuer_setting);
	if (!verify_claims(&request, &verified, failure))
		return false;
	*claims = verified.claims;
	return true;
}

/*
 * Change a setting as SET or SET LOCAL does.
 */
static void
set_setting(const char *name, const char *value, bool is_local)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 is_local ? GUC_ACTION_LOCAL : GUC_ACTION_SET, true, 0, false);
}

/*
 * Restrict the current token to an issuer.  With null data there is no
 * restriction.  There is none either for the empty name, which is the issuer of
 * tokens without iss, because the setting cannot store it.
 */
static void
restrict_to_issuer(const Slice *issuer, bool is_local)
{
	if (issuer->len > 0 || issuer_was_named)
		set_setting("jwt.issuer", issuer->len > 0 ? pnstrdup(issuer->data, issuer->len) : "", is_local);
}

/*
 * Set the role that the claims name, as SET ROLE does: it must exist, and the
 * session user must be a member.  The issuer must be allowed to give the role,
 * too.
 */
static bool
switch_role(const Jsonb *claims, bool is_local, Failure *failure)
{
	JsonbValue	value;
	const char *name = "";
	int			len = 0;
	TrustIssuer *issuer;
	char	   *role;

	/* the token is valid, so iss is the issuer of the key */
	if (jsonb_member(claims, "iss", &value))
		name = json_string(&value, &len);
	issuer = rows_find_issuer(name, len);
	/* the row may have changed since the token was verified */
	if (issuer == NULL || issuer->unusable != NULL)
		return fail(failure, FAILURE_ISSUER, "The token's issuer is not trusted any more.");
	if (issuer->role_claim == NULL)
		return true;

	if (!jsonb_member(claims, issuer->role_claim, &value) ||
		(name = json_string(&value, &len)) == NULL)
		return fail(failure, FAILURE_CLAIM,
					psprintf("The token has no string \"%s\", which names a role.",
							 quote_string(issuer->role_claim)));
	role = pnstrdup(name, len);
	for (int i = 0; i < issuer->n_roles; i++)
		if (strcmp(issuer->roles[i], role) == 0)
		{
			set_setting("role", role, is_local);
			return true;
		}
	return fail(failure, FAILURE_CLAIM,
				psprintf("The role \"%s\" is not one that the issuer \"%s\" may give.",
						 quote_untrusted(name, len), quote_string(issuer->policy.issuer)));
}

/*
 * Verify a token and make it the current token of the transaction or session.
 * Also set the role that it names, if its issuer may give one. issuer
 * restricts the token, unless its data is NULL. proof is the DPoP proof of the
 * sender, or NULL.  With a proof, is_local must be true.
 */
bool
session_authenticate(const Slice *token, bool is_local, const Slice *issuer, DpopProof *proof,
					 const Jsonb **claims, Failure *failure)
{
	VerifyRequest request = {
		.token = *token, .issuer = *issuer, .at = verify_now(), .proof = proof
	};
	VerifiedClaims verified;

	Assert(proof == NULL || is_local);
	if (!verify_claims(&request, &verified, failure))
		return false;
	if (proof != NULL && !replay_enter(proof, verified.binding->key, failure))
		return false;
	if (verified.switches_role && !switch_role(verified.claims, is_local, failure))
		return false;
	restrict_to_issuer(issuer, is_local);
	set_setting("jwt.token", pnstrdup(token->data, token->len), is_local);
	confirmation_set(proof != NULL ? token : &nothing, is_local);
	*claims = verified.claims;
	return true;
}

/*
 * Remove the current token.
 */
void
session_remove_token(bool is_local)
{
	restrict_to_issuer(&nothing, is_local);
	set_setting("jwt.token", "", is_local);
	confirmation_set(&nothing, is_local);
}

/*
 * A claim by its path, as the operator #>> returns it; NULL if there is none.
 */
text *
session_claim_text(const Jsonb *claims, ArrayType *path)
{
	LOCAL_FCINFO(call, 2);
	Datum		result;

	InitFunctionCallInfoData(*call, NULL, 2, InvalidOid, NULL, NULL);
	call->args[0].value = JsonbPGetDatum(claims);
	call->args[0].isnull = false;
	call->args[1].value = PointerGetDatum(path);
	call->args[1].isnull = false;
	result = jsonb_extract_path_text(call);
	return call->isnull ? NULL : DatumGetTextPP(result);
}

/*
 * Is a scope in a list that is separated by spaces (RFC 6749 section 3.3)?
 */
static bool
list_has_scope(const char *list, int list_len, const char *scope, int len)
{
	const char *end = list + list_len;

	while (list < end)
	{
		const char *space = memchr(list, ' ', end - list);
		int			item_len = (int) ((space ? space : end) - list);

		if (item_len == len && memcmp(list, scope, len) == 0)
			return true;
		list += item_len + 1;
	}
	return false;
}

/*
 * Do the claims grant a scope?  It is in "scope" (RFC 8693 section 4.2), or in
 * "scp", which is a string or an array, depending on the issuer.
 */
bool
session_has_scope(const Jsonb *claims, const char *scope, int len)
{
	JsonbValue	value;
	const char *list;
	int			list_len;

	if (len == 0 || memchr(scope, ' ', len) != NULL)
		return false;			/* a scope cannot have such a name */
	if (jsonb_member(claims, "scope", &value) &&
		(list = json_string(&value, &list_len)) != NULL &&
		list_has_scope(list, list_len, scope, len))
		return true;
	if (!jsonb_member(claims, "scp", &value))
		return false;
	if ((list = json_string(&value, &list_len)) != NULL)
		return list_has_scope(list, list_len, scope, len);
	if (value.type == jbvBinary && JsonContainerIsArray(value.val.binary.data))
		for (uint32 i = 0; i < JsonContainerSize(value.val.binary.data); i++)
		{
			JsonbValue *element = getIthJsonbValueFromContainer(value.val.binary.data, i);

			list = json_string(element, &list_len);
			if (list != NULL && list_len == len && memcmp(list, scope, len) == 0)
				return true;
		}
	return false;
}
