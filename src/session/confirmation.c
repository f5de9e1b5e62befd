/*-------------------------------------------------------------------------
 *
 * confirmation.c
 *	  Confirmation: is the sender of a token its owner (RFC 7800)?
 *
 * The claim "cnf" binds a token to something that only its owner has.  Two of
 * its members are understood, and each that is present must be confirmed:
 *
 *   x5t#S256	a client certificate (RFC 8705), which is that of this connection;
 *   jkt		a key (RFC 9449), by a DPoP proof that comes with the token.
 *
 * The result for a proof is valid while the token is the current one, also in
 * parallel workers, and a rollback reverts it.  So it is a setting,
 * jwt.confirmed: the word "dpop" and the digest of the token.  A second
 * setting, jwt.certificate, has the thumbprint of the client certificate for
 * parallel workers, which have no connection.
 *
 * The check hooks refuse every value that is not set by this file or passed by
 * the leader to a parallel worker.  InitializingParallelWorker is true only
 * while a worker restores the leader's settings, before it runs a statement.
 * They refuse an empty value, too: a function with such a SET clause would bring
 * back a result that jwt_authenticate() has cleared within it.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/x509.h>

/*
 * The struct of a connection uses types of GSSAPI, whose headers may be absent.
 * Without them its layout is the same.
 */
#undef ENABLE_GSS
#include "libpq/libpq-be.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "session/confirmation.h"
#include "session/replay.h"
#include "token/json.h"
#include "token/openssl_errors.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define NAME_OF_CONFIRMED	"jwt.confirmed"
#define NAME_OF_CERTIFICATE	"jwt.certificate"

/* The start of jwt.confirmed, before the digest of the token. */
#define BY_DPOP	"dpop "

static char *confirmed_setting;
static char *certificate_setting;

/* The value that this file is setting, or NULL. */
static const char *value_being_set;

uint64		confirmation_events;

static bool
check_guarded(const char *name, const char *value, GucSource source)
{
	if ((source == PGC_S_DEFAULT && value[0] == '\0') || InitializingParallelWorker ||
		(value_being_set != NULL && strcmp(value, value_being_set) == 0))
		return true;
	GUC_check_errcode(ERRCODE_CANT_CHANGE_RUNTIME_PARAM);
	GUC_check_errmsg("parameter \"%s\" cannot be set", name);
	GUC_check_errdetail("It holds what the server itself has found out about the sender of a token.");
	return false;
}

static bool
check_confirmed(char **value, void **extra, GucSource source)
{
	(void) extra;
	return check_guarded(NAME_OF_CONFIRMED, *value, source);
}

static bool
check_certificate(char **value, void **extra, GucSource source)
{
	(void) extra;
	return check_guarded(NAME_OF_CERTIFICATE, *value, source);
}

static void
assign_guarded(const char *value, void *extra)
{
	(void) value;
	(void) extra;
	confirmation_events++;
}

/*
 * Define the settings.
 */
void
confirmation_init(void)
{
	DefineCustomStringVariable(NAME_OF_CONFIRMED,
							   "Shows the token whose sender was confirmed by a DPoP proof; cannot be set.",
							   NULL,
							   &confirmed_setting,
							   "",
							   PGC_USERSET,
							   GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							   check_confirmed, assign_guarded, NULL);
	DefineCustomStringVariable(NAME_OF_CERTIFICATE,
							   "Shows the thumbprint of the client's certificate; cannot be set.",
							   NULL,
							   &certificate_setting,
							   "",
							   PGC_USERSET,
							   GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE | GUC_DISALLOW_IN_FILE,
							   check_certificate, assign_guarded, NULL);
	confirmation_publish_certificate();
}

/*
 * Set one of the guarded settings.
 */
static void
set_guarded(const char *name, const char *value, GucSource source, GucAction action)
{
	PG_TRY();
	{
		value_being_set = value;
		(void) set_config_option(name, value, PGC_USERSET, source, action, true, 0, false);
	}
	PG_FINALLY();
	{
		value_being_set = NULL;
	}
	PG_END_TRY();
}

/*
 * The client certificate of the connection, which PostgreSQL has verified, or
 * NULL.
 */
static X509 *
connection_certificate(void)
{
#ifdef USE_OPENSSL
	return MyProcPort == NULL ? NULL : MyProcPort->peer;
#else
	return NULL;
#endif
}

/*
 * Encode a certificate in DER, palloc'd.
 */
static bool
encode_certificate(X509 *certificate, unsigned char **der, int *len)
{
	unsigned char *end;

	*len = i2d_X509(certificate, NULL);
	if (*len <= 0)
		return false;
	*der = end = palloc(*len);
	return i2d_X509(certificate, &end) == *len;
}

/*
 * The thumbprint of that certificate, or NULL.
 */
static const char *
connection_thumbprint(void)
{
	static char thumbprint[SHA256_TEXT_SIZE + 1];
	X509	   *certificate = connection_certificate();
	unsigned char *der = NULL;
	int			len = 0;

	if (certificate == NULL)
		return NULL;
	if (thumbprint[0] == '\0' && openssl_retry(encode_certificate(certificate, &der, &len)))
	{
		(void) sha256_text(der, len, thumbprint);
		pfree(der);
	}
	return thumbprint[0] == '\0' ? NULL : thumbprint;
}

/*
 * Pass the thumbprint of the client certificate to parallel workers.  Call this
 * before a token is set, because a worker may be the first to verify it.
 */
void
confirmation_publish_certificate(void)
{
	const char *thumbprint = connection_thumbprint();

	/* this source makes it the value after RESET */
	if (thumbprint != NULL && !IsInParallelMode() && strcmp(certificate_setting, thumbprint) != 0)
		set_guarded(NAME_OF_CERTIFICATE, thumbprint, PGC_S_OVERRIDE, GUC_ACTION_SET);
}

/*
 * Is this the thumbprint of the client certificate?  In a parallel worker it is
 * that of the leader.
 */
static bool
certificate_is(const char *thumbprint)
{
	const char *own = MyProcPort != NULL ? connection_thumbprint() : certificate_setting;

	return own != NULL && strlen(own) == SHA256_TEXT_SIZE && memcmp(own, thumbprint, SHA256_TEXT_SIZE) == 0;
}

/*
 * The value of jwt.confirmed for a token.  Returns false if OpenSSL fails.
 */
static bool
confirmed_value(const Slice *token, char *value)
{
	memcpy(value, BY_DPOP, strlen(BY_DPOP));
	value[strlen(BY_DPOP) + SHA256_TEXT_SIZE] = '\0';
	return sha256_text(token->data, token->len, value + strlen(BY_DPOP));
}

/*
 * Was the sender of this token confirmed by a proof, in this transaction?
 */
static bool
was_confirmed(const Slice *token)
{
	char		value[sizeof(BY_DPOP) + SHA256_TEXT_SIZE];

	return confirmed_setting != NULL && confirmed_setting[0] != '\0' &&
		confirmed_value(token, value) && strcmp(confirmed_setting, value) == 0;
}

/*
 * Set jwt.confirmed for a new current token whose sender was confirmed by a
 * proof.  With null data, reset it.
 */
void
confirmation_set(const Slice *token, bool is_local)
{
	char		value[sizeof(BY_DPOP) + SHA256_TEXT_SIZE] = "";

	if (token->data != NULL && !confirmed_value(token, value))
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("OpenSSL could not compute a digest")));
	if (strcmp(confirmed_setting, value) != 0)
		set_guarded(NAME_OF_CONFIRMED, value, PGC_S_SESSION, is_local ? GUC_ACTION_LOCAL : GUC_ACTION_SET);
}

/*
 * Read a member of "cnf" that is a thumbprint.  If it cannot be a thumbprint,
 * no key or certificate has it, so the token cannot be confirmed.
 */
static bool
read_thumbprint(const JsonbValue *cnf, const char *name, bool *present, char *thumbprint,
				Failure *failure)
{
	const JsonbPair *member = json_member(cnf, name);
	const char *text;
	int			len;

	*present = member != NULL;
	if (member == NULL)
		return true;
	text = json_string(&member->value, &len);
	if (text == NULL || len != SHA256_TEXT_SIZE)
		return fail(failure, FAILURE_CONFIRMATION,
					psprintf("The member \"%s\" of the claim \"cnf\" is not the SHA-256 thumbprint that it should be.", name));
	memcpy(thumbprint, text, len);
	return true;
}

/*
 * Read the binding of the token from its claims; NULL if it is not bound.
 * Returns false with the failure only if the binding must be confirmed.
 */
bool
confirmation_read(const JsonbValue *claims, bool must_confirm, const Binding **result, Failure *failure)
{
	const JsonbPair *member = json_member(claims, "cnf");
	Binding    *binding;
	bool		good;

	*result = NULL;
	if (member == NULL)
		return true;
	*result = binding = palloc0(sizeof(Binding));
	binding->must_confirm = must_confirm;
	if (member->value.type != jbvObject)
		return !must_confirm || fail(failure, FAILURE_CLAIM, "The claim \"cnf\" is not an object.");
	good = read_thumbprint(&member->value, "jkt", &binding->has_key, binding->key, failure) &&
		read_thumbprint(&member->value, "x5t#S256", &binding->has_certificate,
						binding->certificate, failure);
	if (good && !binding->has_key && !binding->has_certificate)
		good = fail(failure, FAILURE_CONFIRMATION,
					"The token is bound by a \"cnf\" that has neither \"jkt\" nor \"x5t#S256\", which are understood.");
	return good || !must_confirm;
}

/*
 * See confirmation_check().  binding may be NULL.
 */
bool
confirmation_check_sender(const VerifyRequest *request, const Binding *binding, Failure *failure)
{
	bool		must_confirm = binding != NULL && binding->must_confirm;

	if (request->sender == SENDER_IRRELEVANT)
		return true;
	if (must_confirm && binding->has_certificate && !certificate_is(binding->certificate))
		return fail(failure, FAILURE_CONFIRMATION,
					"The token is bound to a client certificate, which is not that of this connection.");
	if (request->proof != NULL)
	{
		if (binding == NULL || !binding->has_key)
			return fail(failure, FAILURE_CONFIRMATION,
						"The token comes with a DPoP proof, and is not bound to a key.");
		return replay_is_available(failure) &&
			dpop_check(request->proof, &request->token, binding->key, GetCurrentTimestamp(), failure);
	}
	if (must_confirm && binding->has_key &&
		!(request->sender == SENDER_CONFIRMED && was_confirmed(&request->token)))
		return fail_hint(failure, FAILURE_CONFIRMATION,
						 "The token is bound to a key, and its sender has not been confirmed to have it.",
						 "Pass the request's DPoP proof, its method and its URI to jwt_authenticate().");
	return true;
}
