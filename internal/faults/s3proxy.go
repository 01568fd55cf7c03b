package faults

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Trouble is what the proxy does to a request.
type Trouble string

// What can happen to a request.
const (
	Refused   Trouble = "500"           // InternalError, not forwarded
	SlowDown  Trouble = "503"           // SlowDown, not forwarded
	Reset     Trouble = "reset"         // the connection is reset in the middle of the body
	LostReply Trouble = "lost reply"    // done, and the connection reset instead of an answer
	Slow      Trouble = "slow"          // done, after a while
	Error200  Trouble = "error in 200"  // complete: not done, and the error comes in the body of a 200
	Lost200   Trouble = "done, but 200" // complete: done, and all the same an error in the body of a 200
)

// Troubles are all of them.
var Troubles = []Trouble{Refused, SlowDown, Reset, LostReply, Slow, Error200, Lost200}

// A Proxy stands between the services and the gateway.
type Proxy struct {
	target  string
	ln      net.Listener
	srv     *http.Server
	forward *httputil.ReverseProxy
	counts  [8]atomic.Int64

	mu    sync.Mutex
	rules func(r *http.Request) Trouble
}

func newProxy(target string) (*Proxy, error) {
	ln, err := listen()
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, ln: ln}
	p.forward = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			// The host is signed, so it stays as the client has it.
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", target, r.In.Host
			r.Out.Header.Del("Expect")
		},
		Transport:    &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { cut(w) },
		ErrorLog:     nil,
	}
	p.srv = &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() { _ = p.srv.Serve(ln) }()
	return p, nil
}

// Addr is where the services find S3.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Close ends the proxy.
func (p *Proxy) Close() { _ = p.srv.Close() }

// Set has rules say what happens to each request from now on; nil: nothing. It may
// be called from several goroutines.
func (p *Proxy) Set(rules func(r *http.Request) Trouble) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = rules
}

// Random makes a share of all requests (0 to 1) meet one of the troubles given.
func (p *Proxy) Random(seed uint64, share float64, troubles ...Trouble) {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 3))
	p.Set(func(*http.Request) Trouble {
		mu.Lock()
		defer mu.Unlock()
		if rng.Float64() >= share {
			return ""
		}
		return troubles[rng.IntN(len(troubles))]
	})
}

// Met says how often requests met trouble of each kind.
func (p *Proxy) Met() map[string]int64 {
	m := map[string]int64{}
	for i, t := range Troubles {
		if n := p.counts[i].Load(); n > 0 {
			m[string(t)] = n
		}
	}
	return m
}

func (p *Proxy) count(t Trouble) {
	for i := range Troubles {
		if Troubles[i] == t {
			p.counts[i].Add(1)
		}
	}
}

func (p *Proxy) trouble(r *http.Request) Trouble {
	p.mu.Lock()
	rules := p.rules
	p.mu.Unlock()
	if rules == nil {
		return ""
	}
	t := rules(r)
	if (t == Error200 || t == Lost200) && Operation(r) != "complete" {
		t = Refused // only completing answers so
	}
	return t
}

// ServeHTTP passes a request on, or does something worse.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t := p.trouble(r)
	p.count(t)
	switch t {
	case "":
		p.forward.ServeHTTP(w, r)
	case Refused:
		refuse(w, r, http.StatusInternalServerError, "InternalError")
	case SlowDown:
		refuse(w, r, http.StatusServiceUnavailable, "SlowDown")
	case Reset:
		_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		cut(w)
	case LostReply:
		p.forward.ServeHTTP(&deaf{header: http.Header{}}, r)
		cut(w)
	case Slow:
		time.Sleep(1500 * time.Millisecond)
		p.forward.ServeHTTP(w, r)
	case Error200:
		refuse(w, r, http.StatusOK, "InternalError")
	case Lost200:
		p.forward.ServeHTTP(&deaf{header: http.Header{}}, r)
		refuse(w, r, http.StatusOK, "InternalError")
	}
}

// refuse answers with an S3 error.
func refuse(w http.ResponseWriter, r *http.Request, status int, code string) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>made up by the fault suite</Message><RequestId>1</RequestId></Error>`, code)
}

// cut resets the connection.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// deaf takes an answer and drops it.
type deaf struct{ header http.Header }

func (d *deaf) Header() http.Header         { return d.header }
func (d *deaf) Write(b []byte) (int, error) { return len(b), nil }
func (d *deaf) WriteHeader(int)             {}

// Operation names what a request asks of S3.
func Operation(r *http.Request) string {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && q.Has("uploads"):
		return "create"
	case r.Method == http.MethodPut && q.Has("partNumber"):
		return "part"
	case r.Method == http.MethodPost && q.Has("uploadId"):
		return "complete"
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		return "abort"
	case r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, ".manifest.json"):
		return "manifest"
	case r.Method == http.MethodPut && strings.Contains(r.URL.Path, ".late/"):
		return "late"
	}
	return strings.ToLower(r.Method)
}
