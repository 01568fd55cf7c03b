package accessrecv

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// errUnauthorized: the sender is not who may send.
var errUnauthorized = errors.New("not authorized")

// signatureSkew is how far the clocks of sender and receiver may be apart. A
// request that somebody repeats within it changes nothing.
const signatureSkew = 5 * time.Minute

// auth is what a sender must show. What is empty is not asked for.
type auth struct {
	token string
	key   []byte
}

// bearer checks the token.
func (a *auth) bearer(r *http.Request) error {
	if a.token == "" {
		return nil
	}
	scheme, got, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || got == "" {
		return fmt.Errorf("%w: no bearer token", errUnauthorized)
	}
	want, have := sha256.Sum256([]byte(a.token)), sha256.Sum256([]byte(strings.TrimSpace(got)))
	if subtle.ConstantTimeCompare(want[:], have[:]) == 0 {
		return fmt.Errorf("%w: wrong bearer token", errUnauthorized)
	}
	return nil
}

// signature checks the signature over id and body. The handshake of a websocket
// has no body.
func (a *auth) signature(r *http.Request, id string, body []byte) error {
	if len(a.key) == 0 {
		return nil
	}
	got := r.Header.Get(accesslog.HeaderSignature)
	if got == "" {
		return fmt.Errorf("%w: no %s", errUnauthorized, accesslog.HeaderSignature)
	}
	if err := accesslog.VerifySignature(a.key, got, id, body, time.Now(), signatureSkew); err != nil {
		return fmt.Errorf("%w: %w", errUnauthorized, err)
	}
	return nil
}
