// Verifies access tokens by golang-jwt with the JWK Sets of keyfunc, and makes keys.
//
//	peer URL ISSUER AUDIENCE
//
// The commands are those of jose.mjs. The JWK Set is fetched each max-age.
package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

// What golang-jwt does not know by itself. It calls Validate.
type accessToken struct {
	jwt.RegisteredClaims
	Session string `json:"sid"`
	Client  string `json:"client_id"`
	Scope   string `json:"scope"`
}

func (c accessToken) Validate() error {
	if c.Subject == "" || c.ID == "" || c.IssuedAt == nil || c.NotBefore == nil || c.Session == "" || c.Client == "" || c.Scope == "" {
		return jwt.ErrTokenRequiredClaimMissing
	}
	return nil
}

var curves = map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}

func makeKey(algorithm, form string) (string, error) {
	var key any
	var err error
	if curve, found := curves[algorithm]; found {
		key, err = ecdsa.GenerateKey(curve, rand.Reader)
	} else if algorithm == "EdDSA" {
		_, key, err = ed25519.GenerateKey(rand.Reader)
	} else {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		return "", err
	}
	if form == "jwk" {
		jwk, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{Marshal: jwkset.JWKMarshalOptions{Private: true}})
		if err != nil {
			return "", err
		}
		text, err := json.Marshal(jwk.Marshal())
		return string(text), err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	return string(text), err
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Println("= error", err)
		os.Exit(1)
	}
	return value
}

func main() {
	url, issuer, audience := os.Args[1], os.Args[2], os.Args[3]
	response := must(http.Get(url))
	response.Body.Close()
	found := regexp.MustCompile(`max-age=(\d+)`).FindStringSubmatch(response.Header.Get("Cache-Control"))
	if found == nil {
		must(0, errors.New("no max-age"))
	}
	maxAge := must(strconv.Atoi(found[1]))

	failFast := false
	keys := must(keyfunc.NewDefaultOverrideCtx(context.Background(), []string{url}, keyfunc.Override{
		NoErrorReturnFirstHTTPReq: &failFast,
		RefreshInterval:           time.Duration(maxAge) * time.Second,
		RefreshUnknownKID:         rate.NewLimiter(0, 0),
	}))
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}),
		jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithIssuedAt())

	fmt.Println("= ready")
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if words[0] == "make" {
			fmt.Println("=", must(makeKey(words[1], words[2])))
			continue
		}
		accepted, reason := 0, ""
		for _, token := range words[1:] {
			_, err := parser.ParseWithClaims(token, &accessToken{}, keys.Keyfunc)
			if err == nil {
				accepted++
			} else if reason == "" {
				reason = " " + strings.ReplaceAll(err.Error(), "\n", " ")
			}
		}
		fmt.Printf("= %d%s\n", accepted, reason)
	}
}
