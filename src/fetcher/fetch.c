/*-------------------------------------------------------------------------
 *
 * fetch.c
 *	  Fetching documents over HTTPS, many at a time, within limits.
 *
 * All input may be hostile: the URL, which a role without privileges can
 * store; host names and addresses; the server, its certificate and its answer.
 * The time and the size of each fetch and the number of connections are
 * limited.  Certificates are always checked.  Redirects are not followed.
 * Cookies, credentials and proxies of the environment are not used.  The
 * address is checked when the socket is made, so it cannot change between
 * check and use.
 *
 * There are two messages. "error" is for the owner of the source, and must not
 * reveal whether a port is open or to which address a name resolves. "detail"
 * is for the server log.
 *
 * Callbacks of libcurl must not raise errors, so they use malloc().
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <curl/curl.h>
#include <signal.h>
#include <unistd.h>

#include "fetcher/address.h"
#include "fetcher/fetch.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/wait_event.h"

/* The interval between checks for interrupts while waiting. */
#define POLL_INTERVAL_MS	100

#define CONNECT_TIMEOUT_MS	5000
#define MAX_ETAG			256

/* CURLMOPT_QUICK_EXIT of libcurl 8.20; older headers lack it. */
#define MULTI_QUICK_EXIT	((CURLMoption) (CURLOPTTYPE_LONG + 21))

#define UNREACHABLE	"The endpoint could not be reached, or did not prove to be the host that was asked for."

/* A queued or running fetch; malloc'd with its strings. */
typedef struct Transfer
{
	dlist_node	node;			/* in the queue or the list of active fetches */
	FetchPool  *pool;
	void	   *owner;
	char	   *url;
	char	   *etag;			/* or NULL */
	CURL	   *easy;
	struct curl_slist *headers;
	HostPermission permission;
	bool		plain;			/* http, not https */
	bool		address_refused;
	bool		too_large;
	char	   *body;
	size_t		len;
	char		new_etag[MAX_ETAG + 1];
	int			max_age;
	char		curl_error[CURL_ERROR_SIZE];
} Transfer;

struct FetchPool
{
	const FetchLimits *limits;
	void		(*while_waiting) (void);
	CURLM	   *multi;
	int			n;				/* queued and active */
	int			n_active;
	dlist_head	queue;
	dlist_head	active;
};

static void pool_reset(void *arg);

/*
 * Make a pool in the current memory context.  Its fetches end when the context
 * is reset. limits may change while the pool is used. while_waiting is called
 * before each fetch and repeatedly during it, and may raise an error.
 */
FetchPool *
fetch_pool_create(const FetchLimits *limits, void (*while_waiting) (void))
{
	FetchPool  *pool = palloc0(sizeof(FetchPool));
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));
	static bool initialised;

	if (!initialised && curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not initialize libcurl")));
	initialised = true;
	pool->limits = limits;
	pool->while_waiting = while_waiting;
	dlist_init(&pool->queue);
	dlist_init(&pool->active);
	pool->multi = curl_multi_init();
	if (pool->multi == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));

	/*
	 * Since 8.20, libcurl joins its resolver threads when the handle is
	 * freed, and these cannot be interrupted.  A libcurl without this option
	 * does not join them.
	 */
	(void) curl_multi_setopt(pool->multi, MULTI_QUICK_EXIT, 1L);
	callback->func = pool_reset;
	callback->arg = pool;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return pool;
}

static void
free_transfer(Transfer *transfer)
{
	if (transfer->easy != NULL)
	{
		curl_multi_remove_handle(transfer->pool->multi, transfer->easy);
		curl_easy_cleanup(transfer->easy);
	}
	curl_slist_free_all(transfer->headers);
	free(transfer->url);
	free(transfer->etag);
	free(transfer->body);
	free(transfer);
}

static void
pool_reset(void *arg)
{
	FetchPool  *pool = arg;
	dlist_head *lists[] = {&pool->queue, &pool->active};

	for (int i = 0; i < (int) lengthof(lists); i++)
		while (!dlist_is_empty(lists[i]))
		{
			Transfer   *transfer = dlist_head_element(Transfer, node, lists[i]);

			dlist_delete(&transfer->node);
			free_transfer(transfer);
		}
	if (pool->multi != NULL)
		curl_multi_cleanup(pool->multi);
	pool->multi = NULL;
}

/*
 * End a pool and its fetches.  The pool itself is freed with its memory
 * context.
 */
void
fetch_pool_free(FetchPool *pool)
{
	pool_reset(pool);
}

/*
 * Can this entity tag be sent in a header line?
 */
static bool
is_etag(const char *etag, int len)
{
	for (int i = 0; i < len; i++)
		if (etag[i] <= ' ' || etag[i] >= 0x7f)
			return false;
	return len > 0 && len <= MAX_ETAG;
}

/*
 * Add a fetch of a URL.  With an entity tag, a document that has not changed
 * is not sent again.  The tag may be NULL.
 */
void
fetch_add(FetchPool *pool, const char *url, const char *etag, void *owner)
{
	Transfer   *transfer = calloc(1, sizeof(Transfer));

	/* other roles can write to its table */
	if (etag != NULL && !is_etag(etag, (int) strlen(etag)))
		etag = NULL;
	if (transfer == NULL ||
		(transfer->url = strdup(url)) == NULL ||
		(etag != NULL && (transfer->etag = strdup(etag)) == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	transfer->pool = pool;
	transfer->owner = owner;
	transfer->max_age = -1;
	dlist_push_tail(&pool->queue, &transfer->node);
	pool->n++;
}

/*
 * Would a new fetch start at once?
 */
bool
fetch_has_room(const FetchPool *pool)
{
	return pool->n < pool->limits->max_connections;
}

/*
 * Check whether the URL is allowed.  Returns NULL or the error.
 */
static const char *
check_url(Transfer *transfer)
{
	const FetchLimits *limits = transfer->pool->limits;
	CURLU	   *url = curl_url();
	char	   *scheme = NULL;
	char	   *host = NULL;
	char	   *port = NULL;
	char	   *user = NULL;
	const char *error = NULL;

	if (url == NULL ||
		curl_url_set(url, CURLUPART_URL, transfer->url, 0) != CURLUE_OK ||
		curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
		curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
		curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK)
		error = "The URL cannot be read.";
	else if (curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_OK)
		error = "The URL has a user name.";
	else
	{
		transfer->plain = strcmp(scheme, "http") == 0;
		transfer->permission = address_host_permission(limits->allowed_hosts, host, atoi(port));
		if (!transfer->plain && strcmp(scheme, "https") != 0)
			error = "The URL is not https.";
		else if (transfer->plain && !limits->http_to_loopback)
			error = "The URL is not https; jwt_jwks.allow_http_to_loopback is off.";
		else if (limits->proxy[0] != '\0' &&
				 (transfer->plain || transfer->permission == HOST_AT_PUBLIC_ADDRESS))
			error = "Through a proxy, hosts must be listed by name and asked by https.";
		else if (transfer->permission == HOST_FORBIDDEN ||
				 (transfer->plain && transfer->permission != HOST_AT_ANY_ADDRESS))
			error = "The host of the URL, at its port, is not one of those in jwt_jwks.allowed_hosts.";
	}
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_free(user);
	curl_url_cleanup(url);
	return error;
}

/*
 * Make the socket if the address is allowed.
 */
static curl_socket_t
open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	Transfer   *transfer = arg;

	/*
	 * The settings may have changed since the fetch began.  With a proxy,
	 * which only a superuser can set, this is the address of the proxy.
	 */
	if (purpose != CURLSOCKTYPE_IPCXN || check_url(transfer) != NULL ||
		(transfer->pool->limits->proxy[0] == '\0' &&
		 (transfer->plain ? !address_is_loopback(&address->addr) :
		  transfer->permission != HOST_AT_ANY_ADDRESS && !address_is_public(&address->addr))))
	{
		transfer->address_refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/*
 * Collect the body.
 */
static size_t
receive(char *data, size_t size, size_t n, void *arg)
{
	Transfer   *transfer = arg;
	char	   *body;

	n *= size;
	if (transfer->len + n > (size_t) transfer->pool->limits->max_size)
	{
		transfer->too_large = true;
		return 0;
	}
	body = realloc(transfer->body, transfer->len + n + 1);
	if (body == NULL)
		return 0;
	memcpy(body + transfer->len, data, n);
	transfer->body = body;
	transfer->len += n;
	return n;
}

/*
 * The value of a header line if it has this name, else NULL.
 */
static const char *
header_value(const char *line, int len, const char *name, int *value_len)
{
	int			name_len = (int) strlen(name);

	if (len <= name_len || line[name_len] != ':' || pg_strncasecmp(line, name, name_len) != 0)
		return NULL;
	line += name_len + 1;
	len -= name_len + 1;
	while (len > 0 && (*line == ' ' || *line == '\t'))
	{
		line++;
		len--;
	}
	while (len > 0 && (unsigned char) line[len - 1] <= ' ')
		len--;
	*value_len = len;
	return line;
}

/*
 * Read a header line: ETag (RFC 9110 section 8.8.3) and the max-age of
 * Cache-Control (RFC 9111 section 5.2.2.1).
 */
static size_t
receive_header(char *data, size_t size, size_t n, void *arg)
{
	Transfer   *transfer = arg;
	const char *value;
	int			len;

	n *= size;
	if ((value = header_value(data, (int) n, "etag", &len)) != NULL && is_etag(value, len))
	{
		memcpy(transfer->new_etag, value, len);
		transfer->new_etag[len] = '\0';
	}
	else if ((value = header_value(data, (int) n, "cache-control", &len)) != NULL)
		for (const char *p = value; p + 8 < value + len; p++)
			if ((p == value || p[-1] == ' ' || p[-1] == ',') && pg_strncasecmp(p, "max-age=", 8) == 0)
			{
				transfer->max_age = 0;
				for (p += 8; p < value + len && *p >= '0' && *p <= '9' && transfer->max_age < 100000000; p++)
					transfer->max_age = transfer->max_age * 10 + (*p - '0');
				break;
			}
	return n;
}

/*
 * Start a fetch.  Returns NULL or the error.
 */
static const char *
start(Transfer *transfer)
{
	const FetchLimits *limits = transfer->pool->limits;
	const char *error = check_url(transfer);
	CURL	   *easy;
	bool		good = true;

	if (error != NULL)
		return error;
	transfer->easy = easy = curl_easy_init();
	if (easy == NULL)
		return "Out of memory.";
	transfer->headers = curl_slist_append(NULL, "Accept: application/jwk-set+json, application/json");
	if (transfer->etag != NULL)
	{
		char		line[MAX_ETAG + 32];

		snprintf(line, sizeof(line), "If-None-Match: %s", transfer->etag);
		transfer->headers = curl_slist_append(transfer->headers, line);
	}
#define SET(option, value) (good = good && curl_easy_setopt(easy, option, value) == CURLE_OK)
	SET(CURLOPT_URL, transfer->url);
	SET(CURLOPT_PRIVATE, transfer);
	SET(CURLOPT_ERRORBUFFER, transfer->curl_error);
#if LIBCURL_VERSION_NUM >= 0x075500
	SET(CURLOPT_PROTOCOLS_STR, transfer->plain ? "http" : "https");
#else
	SET(CURLOPT_PROTOCOLS, transfer->plain ? CURLPROTO_HTTP : CURLPROTO_HTTPS);
#endif
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (limits->ca_file[0] != '\0')
	{
		/* instead of the system's file and folder */
		SET(CURLOPT_CAINFO, limits->ca_file);
		SET(CURLOPT_CAPATH, NULL);
	}
	SET(CURLOPT_NOPROXY, "");	/* nor the environment's exceptions from the
								 * proxy */
	SET(CURLOPT_PROXY, limits->proxy);	/* "" also switches off the
										 * environment's */
	SET(CURLOPT_NOSIGNAL, 1L);
#if LIBCURL_VERSION_NUM >= 0x075700
	SET(CURLOPT_QUICK_EXIT, 1L);	/* do not wait for the resolver threads */
#endif
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) Min(CONNECT_TIMEOUT_MS, limits->timeout));
	SET(CURLOPT_TIMEOUT_MS, (long) limits->timeout);
	SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
	SET(CURLOPT_OPENSOCKETDATA, transfer);
	SET(CURLOPT_WRITEFUNCTION, receive);
	SET(CURLOPT_WRITEDATA, transfer);
	SET(CURLOPT_HEADERFUNCTION, receive_header);
	SET(CURLOPT_HEADERDATA, transfer);
	SET(CURLOPT_HTTPHEADER, transfer->headers);
	SET(CURLOPT_USERAGENT, "jwt_jwks");
	/* the connection of another fetch was checked for that fetch only */
	SET(CURLOPT_FRESH_CONNECT, 1L);
	SET(CURLOPT_FORBID_REUSE, 1L);
#undef SET
	if (!good || transfer->headers == NULL ||
		curl_multi_add_handle(transfer->pool->multi, easy) != CURLM_OK)
		return "The HTTP client cannot be set up.";
	return NULL;
}

/*
 * Make the result of a finished fetch.
 */
static void
make_result(Transfer *transfer, CURLcode code, Fetched *fetched)
{
	const FetchLimits *limits = transfer->pool->limits;
	long		status = 0;

	(void) curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	fetched->status = FETCH_FAILED;
	if (code != CURLE_OK)
	{
		/* a status means that the certificate of the host was good */
		if (transfer->too_large)
			fetched->error = psprintf("The endpoint's answer is larger than %d bytes.", limits->max_size);
		else if (status != 0 && code == CURLE_OPERATION_TIMEDOUT)
			fetched->error = psprintf("The endpoint's answer took longer than %d ms.", limits->timeout);
		else if (status != 0)
			fetched->error = "The endpoint's answer broke off.";
		else
			fetched->error = UNREACHABLE;
		fetched->detail = transfer->address_refused ?
			"The host has no address that may be connected to; see jwt_jwks.allowed_hosts." :
			pstrdup(transfer->curl_error[0] ? transfer->curl_error : curl_easy_strerror(code));
	}
	else if (status == 304 && transfer->etag != NULL)
		fetched->status = FETCH_NOT_MODIFIED;
	else if (status == 304)
		fetched->error = "The endpoint answered that nothing has changed (HTTP status 304), without having been asked that.";
	else if (status >= 300 && status < 400)
		fetched->error = psprintf("The endpoint redirects (HTTP status %ld), and no redirect is followed.", status);
	else if (status != 200)
		fetched->error = psprintf("The endpoint answered with HTTP status %ld.", status);
	else
	{
		fetched->status = FETCH_DONE;
		fetched->body = palloc(transfer->len + 1);
		if (transfer->len > 0)
			memcpy(fetched->body, transfer->body, transfer->len);
		fetched->body[transfer->len] = '\0';
		fetched->len = (int) transfer->len;
	}
	fetched->max_age = transfer->max_age;
	if (transfer->new_etag[0] != '\0')
		fetched->etag = pstrdup(transfer->new_etag);
}

/*
 * Let libcurl work.  It may start resolver threads, which must not handle our
 * signals.
 */
static void
perform(FetchPool *pool)
{
	sigset_t	all;
	sigset_t	before;
	int			running;
	CURLMcode	code;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = curl_multi_perform(pool->multi, &running);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (code != CURLM_OK)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("libcurl failed: %s", curl_multi_strerror(code))));
}

/*
 * Wait until the next fetch ends, in any order.  Returns false if there is no
 * fetch.
 */
bool
fetch_next(FetchPool *pool, Fetched *fetched)
{
	memset(fetched, 0, sizeof(*fetched));
	for (;;)
	{
		CURLMsg    *message;
		int			n_messages;

		CHECK_FOR_INTERRUPTS();
		pool->while_waiting();

		/* by the current settings */
		while (pool->n_active < pool->limits->max_connections && !dlist_is_empty(&pool->queue))
		{
			Transfer   *transfer = dlist_head_element(Transfer, node, &pool->queue);
			const char *error;

			dlist_delete(&transfer->node);
			error = start(transfer);
			if (error != NULL)
			{
				fetched->owner = transfer->owner;
				fetched->status = FETCH_FAILED;
				fetched->error = error;
				fetched->max_age = -1;
				free_transfer(transfer);
				pool->n--;
				return true;
			}
			dlist_push_tail(&pool->active, &transfer->node);
			pool->n_active++;
		}
		if (pool->n_active == 0)
			return false;

		perform(pool);
		while ((message = curl_multi_info_read(pool->multi, &n_messages)) != NULL)
		{
			Transfer   *transfer;

			if (message->msg != CURLMSG_DONE)
				continue;
			curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &transfer);
			fetched->owner = transfer->owner;
			make_result(transfer, message->data.result, fetched);
			dlist_delete(&transfer->node);
			pool->n_active--;
			pool->n--;
			free_transfer(transfer);
			return true;
		}

		pgstat_report_wait_start(JWT_WAIT_EVENT("JwksFetch"));
		(void) curl_multi_poll(pool->multi, NULL, 0, POLL_INTERVAL_MS, NULL);
		pgstat_report_wait_end();
	}
}
