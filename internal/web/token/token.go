// Package token keeps the named tokens that let people and programs look at
// recordings in the browser and over HTTP.
//
// A [File] is one file that only its owner can read. It holds no token but the
// SHA-256 of each: a token has 160 random bits, so its hash tells nothing about
// it, and a lost one is replaced, not recovered. A running server reads the file
// again when it has changed, so that a token that was taken away is refused from
// the next request on.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

// The roles.
const (
	Admin   = "admin"   // sees every session
	Auditor = "auditor" // sees the sessions that its filter lets through
)

// Prefix is what every token begins with, so that a scanner for secrets knows one.
const Prefix = "tdk_"

// maxToken bounds what is hashed of a request.
const maxToken = 256

// Errors that a caller can test for.
var (
	ErrUnknown = errors.New("no such token")
	ErrExists  = errors.New("there is a token of that name")
)

// A Filter says whose sessions a token lets its holder see. Each list holds
// patterns in which * stands for any run of characters; a session passes if one
// of each list that is not empty matches. What is not known of a session matches
// nothing, and neither does what has a NUL in it, which no name has: SQL reads a text
// up to there, and would take one name for another.
type Filter struct {
	User []string `json:"user,omitempty"`
	Host []string `json:"host,omitempty"`
}

// Empty says that the filter lets every session through.
func (f Filter) Empty() bool { return len(f.User) == 0 && len(f.Host) == 0 }

// Allows says whether a session of user on host passes.
func (f Filter) Allows(user, host string) bool {
	return anyMatch(f.User, user) && anyMatch(f.Host, host)
}

func anyMatch(patterns []string, s string) bool {
	if len(patterns) == 0 {
		return true
	}
	for _, p := range patterns {
		if s != "" && !strings.Contains(p+s, "\x00") && match(p, s) {
			return true
		}
	}
	return false
}

// match is whether s is what pattern says, with * for any run of characters.
func match(pattern, s string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return s == pattern
	}
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	for {
		part, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(s, part)
		}
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s, rest = s[at+len(part):], more
	}
}

// A Token is what is known of one.
type Token struct {
	Name    string    `json:"name"`
	Role    string    `json:"role"` // Admin or Auditor
	Filter  Filter    `json:"filter,omitzero"`
	Created time.Time `json:"created"`
	SHA256  string    `json:"sha256"` // of the token, in hexadecimal
}

// May says whether the token's holder may see a session of user on host.
func (t Token) May(user, host string) bool {
	return t.Role == Admin || t.Role == Auditor && t.Filter.Allows(user, host)
}

// maxPatterns and maxPattern bound a filter: it becomes part of every query.
const (
	maxPatterns = 50
	maxPattern  = 200
)

// Validate says everything that is wrong with what a person chose, at once.
func (t Token) Validate() error {
	var errs []error
	if err := bus.ValidName(t.Name); err != nil {
		errs = append(errs, fmt.Errorf("token: %w", err))
	}
	if t.Role != Admin && t.Role != Auditor {
		errs = append(errs, fmt.Errorf("token %s: role %q is not admin or auditor", t.Name, t.Role))
	}
	if t.Role == Admin && !t.Filter.Empty() {
		errs = append(errs, fmt.Errorf("token %s: an admin sees everything; a filter goes with the role auditor", t.Name))
	}
	for what, patterns := range map[string][]string{"user": t.Filter.User, "host": t.Filter.Host} {
		if len(patterns) > maxPatterns {
			errs = append(errs, fmt.Errorf("token %s: %d patterns for the %s, at most %d", t.Name, len(patterns), what, maxPatterns))
		}
		for _, p := range patterns {
			if p == "" || len(p) > maxPattern {
				errs = append(errs, fmt.Errorf("token %s: a pattern for the %s of %d bytes (1 to %d)", t.Name, what, len(p), maxPattern))
			}
		}
	}
	return errors.Join(errs...)
}

// secret makes a token.
func secret() string { return Prefix + rand.Text() }

// hash is what the file keeps of a token.
func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
