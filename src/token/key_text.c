/*-------------------------------------------------------------------------
 *
 * key_text.c
 *	  Conversion of a JWK, PEM public key or PEM certificate to a JWK.
 *
 * A private key is refused with a message that says so.  As in jwk.c, a reason
 * is a palloc'd sentence without a byte of the key.
 *
 *-------------------------------------------------------------------------
 */
#include "compat.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "token/failure.h"
#include "token/json.h"
#include "token/jwk.h"
#include "token/key_text.h"
#include "token/openssl_errors.h"

#define TEXT_MAX_SIZE	65536

/* Set the reason why a key is refused; gives false. */
#define refuse(reason, ...)	(*(reason) = psprintf(__VA_ARGS__), false)

/*
 * The public key in a PEM block, or NULL.  A certificate is only a container:
 * adding it is the decision to trust it.  So only its key usage is checked,
 * which must allow signatures, and not its dates, issuer and chain.
 */
static EVP_PKEY *
pkey_from_der(const char *label, const unsigned char *der, long len, bool *wrong_usage)
{
	const unsigned char *p = der;
	EVP_PKEY   *pkey = NULL;

	if (strcmp(label, PEM_STRING_PUBLIC) == 0)
		pkey = d2i_PUBKEY(NULL, &p, len);
	else if (strcmp(label, PEM_STRING_RSA_PUBLIC) == 0)
		pkey = d2i_PublicKey(EVP_PKEY_RSA, NULL, &p, len);
	else
	{
		X509	   *cert = d2i_X509(NULL, &p, len);

		if (cert != NULL)
		{
			/* all bits set: no key usage */
			*wrong_usage = !(X509_get_key_usage(cert) & (KU_DIGITAL_SIGNATURE | KU_NON_REPUDIATION));
			pkey = X509_get_pubkey(cert);
		}
		X509_free(cert);
	}
	if (pkey != NULL && p != der + len)
	{
		EVP_PKEY_free(pkey);
		pkey = NULL;
	}
	return pkey;
}

/*
 * Convert a PEM text with one block (RFC 7468) to a JWK.
 */
static bool
jwk_from_pem(const char *text, int len, Jsonb **jsonb, char **reason)
{
	Jwk			jwk = {0};
	BIO		   *bio;
	char	   *label = NULL;
	char	   *header = NULL;
	char	   *second_label = NULL;
	unsigned char *der = NULL;
	long		der_len = 0;
	EVP_PKEY   *pkey = NULL;
	bool		wrong_usage = false;
	bool		supported = false;
	char		shown_label[32] = "";
	enum
	{
		BAD_PEM, ENCRYPTED, SECOND_BLOCK, BAD_LABEL, READ
	}			state = BAD_PEM;

	for (int i = 0; i < 2; i++)
		jwk.part[i].data = palloc(JWK_MAX_PART_SIZE);

	/* no error can be raised from here to the label */
	bio = BIO_new_mem_buf(text, len);
	if (bio != NULL && PEM_read_bio(bio, &label, &header, &der, &der_len) == 1)
	{
		strlcpy(shown_label, label, sizeof(shown_label));
		if (header[0] != '\0')
			state = ENCRYPTED;
		else if (strcmp(label, PEM_STRING_PUBLIC) != 0 &&
				 strcmp(label, PEM_STRING_RSA_PUBLIC) != 0 &&
				 strcmp(label, PEM_STRING_X509) != 0)
			state = BAD_LABEL;
		else
		{
			char	   *second_header = NULL;
			unsigned char *second_der = NULL;
			long		second_len = 0;

			state = READ;
			if (PEM_read_bio(bio, &second_label, &second_header, &second_der, &second_len) == 1)
				state = SECOND_BLOCK;
			OPENSSL_free(second_header);
			OPENSSL_free(second_der);
		}
	}
	if (state == READ)
	{
		pkey = pkey_from_der(label, der, der_len, &wrong_usage);
		supported = pkey != NULL && jwk_from_pkey(pkey, &jwk);
	}
	EVP_PKEY_free(pkey);
	OPENSSL_free(label);
	OPENSSL_free(second_label);
	OPENSSL_free(header);
	OPENSSL_free(der);
	BIO_free(bio);

	switch (state)
	{
		case BAD_PEM:
			return refuse(reason, "The text is not a PEM block.");
		case ENCRYPTED:
			return refuse(reason, "The PEM block has a header, as encrypted private keys have.");
		case SECOND_BLOCK:
			return refuse(reason, "The text has more than one PEM block.");
		case BAD_LABEL:
			return refuse(reason, "The PEM block is \"%s\"; accepted are PUBLIC KEY, RSA PUBLIC KEY and CERTIFICATE.",
						  quote_string(shown_label));
		case READ:
			break;
	}
	if (pkey == NULL)
		return refuse(reason, "The contents of the PEM block %s cannot be decoded, or OpenSSL does not know the type of key.",
					  shown_label);
	if (wrong_usage)
		return refuse(reason, "The key usage of the certificate does not allow digital signatures.");
	if (!supported)
		return refuse(reason, "The key is of a type or on a curve that no accepted algorithm uses, or an RSASSA-PSS key that does not name one of theirs; accepted are RSA, P-256, P-384, P-521, secp256k1, Ed25519, Ed448 and ML-DSA.");
	if (!jwk_check_point(&jwk, reason))
		return false;
	*jsonb = jwk_normal_form(&jwk, true);
	return true;
}

/*
 * Convert a JWK, a PEM public key or a PEM certificate to a JWK.  The text is
 * UTF-8 in every server encoding.  A JWK is returned with all its members; it
 * has passed jwk_read() and jwk_check_point().
 */
bool
key_text_to_jwk(const char *text, int len, Jsonb **jsonb, char **reason)
{
	static const char private_label[] = "PRIVATE KEY-----";
	const char *not_object;
	JsonbValue	object;
	Jwk			jwk;

	if (len > TEXT_MAX_SIZE)
		return refuse(reason, "The key is longer than %d bytes.", TEXT_MAX_SIZE);
	for (int i = 0; i + (int) strlen(private_label) <= len; i++)
		if (memcmp(text + i, private_label, strlen(private_label)) == 0)
			return refuse(reason, "The PEM block is a private key; a database that verifies needs the public key only.");
	while (len > 0 && (*text == ' ' || *text == '\t' || *text == '\n' || *text == '\r'))
	{
		text++;
		len--;
	}
	if (len > 0 && *text == '-')
		return openssl_retry(jwk_from_pem(text, len, jsonb, reason));
	if (len == 0 || *text != '{')
		return refuse(reason, "The key is neither a JWK nor a PEM block.");

	not_object = json_read_object(text, len, &object);
	if (not_object != NULL)
		return refuse(reason, "The JWK %s.", not_object);
	*jsonb = JsonbValueToJsonb(&object);
	return jwk_read(*jsonb, &jwk, reason) && jwk_check_point(&jwk, reason);
}
