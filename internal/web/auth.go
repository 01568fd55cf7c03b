package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/web/token"
)

const cookieName = "tapedeck_token"

// cookieAge is how long a browser keeps its token.
const cookieAge = 30 * 24 * time.Hour

// nobody is who looks when no token is asked for.
var nobody = token.Token{Name: "anyone-here", Role: token.Admin}

type contextKey struct{}

// who is whose request it is. It is a token without a role, which may see
// nothing, where no handler has asked.
func who(ctx context.Context) token.Token {
	t, _ := ctx.Value(contextKey{}).(token.Token)
	return t
}

// authorized asks for a token.
func (s *Server) authorized(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t, err := s.tokenOf(r)
		if err != nil {
			s.fail(w, err)
			return
		}
		w.Header().Set("Cache-Control", "private, no-cache")
		w.Header().Add("Vary", "Cookie, Authorization")
		ctx, done := s.whileGood(context.WithValue(r.Context(), contextKey{}, t), t)
		defer done()
		next(w, r.WithContext(ctx))
	})
}

// errRevoked is why an answer ends that began with a token that was good.
var errRevoked = errors.New("the token is no longer good")

// whileGood is a context that is done soon after a token was taken away, with
// errRevoked as its cause: an answer may take hours, and is given to whom may see it.
func (s *Server) whileGood(parent context.Context, t token.Token) (ctx context.Context, done func()) {
	if s.cfg.NoAuth {
		return parent, func() {}
	}
	ctx, cancel := context.WithCancelCause(parent)
	var mu sync.Mutex // the first look might come before there is a timer to set anew
	mu.Lock()
	defer mu.Unlock()
	var timer *time.Timer
	timer = time.AfterFunc(s.cfg.Recheck, func() {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case ctx.Err() != nil:
		case s.still(t):
			timer.Reset(s.cfg.Recheck)
		default:
			cancel(errRevoked)
		}
	})
	return ctx, func() {
		cancel(nil)
		timer.Stop()
	}
}

func (s *Server) tokenOf(r *http.Request) (token.Token, error) {
	if s.cfg.NoAuth {
		return nobody, nil
	}
	secret := ""
	if scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		secret = strings.TrimSpace(rest)
	} else if c, err := r.Cookie(cookieName); err == nil {
		secret = c.Value
	}
	if secret == "" {
		return token.Token{}, &problem{http.StatusUnauthorized, "unauthorized", "A token is needed: open the link that names one, or log in."}
	}
	return s.find(r, secret)
}

func (s *Server) find(r *http.Request, secret string) (token.Token, error) {
	t, err := s.tokens.Find(secret)
	if errors.Is(err, token.ErrUnknown) {
		s.log.Warn("wrong token", "from", r.RemoteAddr)
		return t, &problem{http.StatusUnauthorized, "unauthorized", "This token is not known here; it may have been taken away."}
	}
	return t, err
}

// still says whether a token that opened a long answer is good as it was.
func (s *Server) still(t token.Token) bool {
	now, err := s.tokens.Named(t.Name)
	return err == nil && now.SHA256 == t.SHA256 && now.Role == t.Role && slices.Equal(now.Filter.User, t.Filter.User) && slices.Equal(now.Filter.Host, t.Filter.Host)
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Token == "" {
		s.fail(w, errBad(`The body must be JSON: {"token":"…"}.`))
		return
	}
	t := nobody
	if !s.cfg.NoAuth {
		var err error
		if t, err = s.find(r, in.Token); err != nil {
			s.fail(w, err)
			return
		}
		s.setCookie(w, in.Token, cookieAge)
	}
	writeJSON(w, http.StatusOK, meOf(t))
}

// loginLink is the link that `up` prints. A link on another site's page would log
// its reader in as somebody of that site's choosing, so it does not work from there.
func (s *Server) loginLink(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "none" && site != "same-origin" {
		s.fail(w, &problem{http.StatusForbidden, "cross_origin", "A link to log in does not work from another site's page: paste it into the address bar."})
		return
	}
	if secret := r.URL.Query().Get("token"); !s.cfg.NoAuth && secret != "" {
		if _, err := s.find(r, secret); err != nil {
			s.fail(w, err)
			return
		}
		s.setCookie(w, secret, cookieAge)
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Server) logout(w http.ResponseWriter, _ *http.Request) {
	s.setCookie(w, "", -time.Second)
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) setCookie(w http.ResponseWriter, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, Path: "/", MaxAge: int(age.Seconds()), HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: s.cfg.TLSCert != "" || s.public != nil && s.public.Scheme == "https",
	})
}

// me is who looks, as the page shows it.
type me struct {
	Name   string        `json:"name"`
	Role   string        `json:"role"`
	Filter *token.Filter `json:"filter,omitempty"`
}

func meOf(t token.Token) me {
	m := me{Name: t.Name, Role: t.Role}
	if !t.Filter.Empty() {
		m.Filter = &t.Filter
	}
	return m
}

func (s *Server) me(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, meOf(who(r.Context())))
}

// Link is the link that logs a browser in at the page at url.
func Link(url, secret string) string { return url + "login?token=" + secret }
