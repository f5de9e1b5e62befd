import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.JWSVerifier;
import com.nimbusds.jose.KeySourceException;
import com.nimbusds.jose.crypto.ECDSAVerifier;
import com.nimbusds.jose.crypto.Ed25519Verifier;
import com.nimbusds.jose.crypto.RSASSAVerifier;
import com.nimbusds.jose.jwk.Curve;
import com.nimbusds.jose.jwk.ECKey;
import com.nimbusds.jose.jwk.JWK;
import com.nimbusds.jose.jwk.JWKMatcher;
import com.nimbusds.jose.jwk.JWKSelector;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.RSAKey;
import com.nimbusds.jose.jwk.gen.ECKeyGenerator;
import com.nimbusds.jose.jwk.gen.OctetKeyPairGenerator;
import com.nimbusds.jose.jwk.gen.RSAKeyGenerator;
import com.nimbusds.jose.jwk.source.JWKSetCacheRefreshEvaluator;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.jwk.source.URLBasedJWKSetSource;
import com.nimbusds.jose.proc.BadJOSEException;
import com.nimbusds.jose.proc.DefaultJOSEObjectTypeVerifier;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.DefaultResourceRetriever;
import com.nimbusds.jose.util.JSONStringUtils;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.SignedJWT;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URL;
import java.security.KeyPairGenerator;
import java.security.Security;
import java.security.spec.ECGenParameterSpec;
import java.util.Base64;
import java.util.List;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.bouncycastle.jce.provider.BouncyCastleProvider;

/**
 * Verifies access tokens by Nimbus, and makes keys.
 *
 * <pre>java Peer URL ISSUER AUDIENCE</pre>
 *
 * The commands are those of jose.mjs. Java itself has no secp256k1 since version 16, so
 * Bouncy Castle provides it.
 */
public class Peer {
    static JWKSource<SecurityContext> keys;
    static DefaultJOSEObjectTypeVerifier<SecurityContext> types =
        new DefaultJOSEObjectTypeVerifier<>(new JOSEObjectType("at+jwt"));
    static DefaultJWTClaimsVerifier<SecurityContext> claims;

    static JWSVerifier verifier(JWK key) throws Exception {
        if (key instanceof RSAKey) {
            return new RSASSAVerifier(key.toRSAKey());
        }
        return key instanceof ECKey ? new ECDSAVerifier(key.toECKey()) : new Ed25519Verifier(key.toOctetKeyPair());
    }

    static void check(String token) throws Exception {
        SignedJWT jwt = SignedJWT.parse(token);
        List<JWK> found = keys.get(new JWKSelector(JWKMatcher.forJWSHeader(jwt.getHeader())), null);
        if (found.size() != 1) {
            throw new BadJOSEException(found.size() + " keys");
        }
        if (!jwt.verify(verifier(found.get(0)))) {
            throw new BadJOSEException("bad signature");
        }
        types.verify(jwt.getHeader().getType(), null);
        claims.verify(jwt.getJWTClaimsSet(), null);
    }

    static String make(String algorithm, String form) throws Exception {
        boolean okp = algorithm.startsWith("Ed");
        boolean ec = algorithm.startsWith("ES");
        Curve curve = okp ? Curve.Ed25519 : ec ? Curve.forJWSAlgorithm(JWSAlgorithm.parse(algorithm)).iterator().next() : null;

        if (form.equals("jwk")) {
            JWK key = okp ? new OctetKeyPairGenerator(curve).generate()
                : ec ? new ECKeyGenerator(curve).generate() : new RSAKeyGenerator(2048).generate();
            return key.toJSONString();
        }
        KeyPairGenerator generator = KeyPairGenerator.getInstance(okp ? "Ed25519" : ec ? "EC" : "RSA");
        if (ec) {
            generator.initialize(new ECGenParameterSpec(curve.getStdName()));
        }
        return JSONStringUtils.toJSONString("-----BEGIN PRIVATE KEY-----\n"
            + Base64.getMimeEncoder().encodeToString(generator.generateKeyPair().getPrivate().getEncoded())
            + "\n-----END PRIVATE KEY-----\n");
    }

    static String verify(String[] words) {
        int accepted = 0;
        String reason = "";
        for (int i = 1; i < words.length; i++) {
            try {
                check(words[i]);
                accepted++;
            } catch (Exception error) {
                if (reason.isEmpty()) {
                    reason = " " + error.getClass().getSimpleName() + " " + error.getMessage();
                }
            }
        }
        return accepted + reason;
    }

    public static void main(String[] args) throws Exception {
        Security.insertProviderAt(new BouncyCastleProvider(), 1);
        URL url = new URL(args[0]);
        Matcher maxAge = Pattern.compile("max-age=(\\d+)").matcher(url.openConnection().getHeaderField("Cache-Control"));
        maxAge.find();

        long fresh = Long.parseLong(maxAge.group(1)) * 1000;

        // a kid that the set lacks would cause an early request
        URLBasedJWKSetSource<SecurityContext> fetched = new URLBasedJWKSetSource<>(url, new DefaultResourceRetriever(30000, 30000)) {
            private long last = Long.MIN_VALUE / 2;

            @Override
            public JWKSet getJWKSet(JWKSetCacheRefreshEvaluator evaluator, long now, SecurityContext context) throws KeySourceException {
                if (now - last < fresh) {
                    throw new KeySourceException("unknown kid");
                }
                JWKSet set = super.getJWKSet(evaluator, now, context);
                last = now;
                return set;
            }
        };
        keys = JWKSourceBuilder.create(fetched).cache(fresh, 30000)
            .refreshAheadCache(false).rateLimited(false).build();
        claims = new DefaultJWTClaimsVerifier<>(args[2], new JWTClaimsSet.Builder().issuer(args[1]).build(),
            Set.of("sub", "iat", "nbf", "exp", "jti", "sid", "client_id", "scope"));
        claims.setMaxClockSkew(0);

        System.out.println("= ready");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = in.readLine()) != null;) {
            String[] words = line.split(" ");
            System.out.println("= " + (words[0].equals("make") ? make(words[1], words[2]) : verify(words)));
        }
    }
}
