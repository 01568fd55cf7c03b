package web

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// csp is what the page may load: what it brings, and nothing from elsewhere.
const csp = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; " +
	"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// maxBody bounds what a request may bring.
const maxBody = 16 << 10

// bodyTime is how long a request may take to bring it.
const bodyTime = 10 * time.Second

// guard is around every handler.
//
// The Host check keeps a name that somebody points at this machine's address (DNS
// rebinding) from becoming an origin of ours. What is no plain read must come from
// a page of ours, or from no browser at all: the standard library looks at
// Sec-Fetch-Site and Origin. The cookie is SameSite=Strict besides.
func (s *Server) guard(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	if s.public != nil {
		if err := cross.AddTrustedOrigin(s.public.Scheme + "://" + s.public.Host); err != nil {
			panic(err) // Validate has parsed it
		}
	}
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.fail(w, &problem{http.StatusForbidden, "cross_origin", "This request comes from another site's page, and is refused."})
	}))
	checked := cross.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w.Header())
		if !s.ourHost(r.Host) {
			s.fail(w, &problem{http.StatusMisdirectedRequest, "bad_host",
				"The Host header names neither this server's address nor its public URL; set --public-url if a proxy stands before it."})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		ctl := http.NewResponseController(w)
		if r.ContentLength != 0 {
			_ = ctl.SetReadDeadline(time.Now().Add(s.bodyTime)) // a test's writer has none, and needs none
		}
		checked.ServeHTTP(&patient{ResponseWriter: w, ctl: ctl, stall: s.cfg.Stall}, r)
	})
}

func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", csp)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
}

// ourHost: an address cannot be rebound, so only names are asked about.
func (s *Server) ourHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err == nil || strings.EqualFold(host, "localhost") {
		return true
	}
	listens, _, _ := net.SplitHostPort(s.cfg.Listen)
	return listens != "" && strings.EqualFold(host, listens) || s.public != nil && strings.EqualFold(hostport, s.public.Host) ||
		s.public != nil && strings.EqualFold(host, (&url.URL{Host: s.public.Host}).Hostname())
}

// A patient writer waits for its reader for as long as that takes something now
// and then, and no longer.
type patient struct {
	http.ResponseWriter
	ctl   *http.ResponseController
	stall time.Duration
}

func (p *patient) Write(b []byte) (int, error) {
	// A test's writer has no deadlines, and needs none.
	_ = p.ctl.SetWriteDeadline(time.Now().Add(p.stall))
	return p.ResponseWriter.Write(b)
}

// Flush sends what is buffered.
func (p *patient) Flush() {
	_ = p.ctl.SetWriteDeadline(time.Now().Add(p.stall))
	_ = p.ctl.Flush()
}

// Unwrap is for http.ResponseController.
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }
