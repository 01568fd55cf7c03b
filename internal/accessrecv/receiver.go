package accessrecv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/tapedeck-io/tapedeck/internal/accessrecv/unpack"
	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

const (
	// bodyTime is how long a body may take to come.
	bodyTime = 30 * time.Second
	// workTime is how long a batch waits for a worker before it is sent away.
	workTime = 10 * time.Second
	// retryAfter is what a sender that was sent away is told, in seconds.
	retryAfter = 2
)

// A receiver answers requests. It keeps nothing but what is in the store.
type receiver struct {
	store   *Store
	auth    auth
	limits  accesslog.Limits
	workers chan struct{} // a place for each batch that may be worked on at once
	log     *slog.Logger
	metrics *metrics

	stopping context.Context // done when websockets are to close
	sockets  sync.WaitGroup
}

// routes are what the receiver answers to. A page in somebody's browser may not
// post here: loopback is no protection from those.
func (r *receiver) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /access", r.post)
	mux.HandleFunc("GET /access", r.upgrade)
	mux.HandleFunc("GET /healthz", r.health)
	return withDeadline(http.NewCrossOriginProtection().Handler(mux))
}

// withDeadline bounds the time in which a body comes, wanted or not. The server
// bounds that of headers, and a websocket has its own.
func withDeadline(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)); err != nil {
			return // the connection is gone
		}
		h.ServeHTTP(w, req)
	})
}

func (r *receiver) health(w http.ResponseWriter, req *http.Request) {
	if err := r.store.Check(req.Context()); err != nil {
		r.log.Error("the database cannot be read", "err", err)
		http.Error(w, "the database cannot be read", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n") // whoever asked may be gone
}

func (r *receiver) post(w http.ResponseWriter, req *http.Request) {
	a := r.take(w, req)
	if a.Status == 0 {
		return // nobody is there to hear it
	}
	r.told(req, "http", &a)
	w.Header().Set("Content-Type", "application/json")
	switch a.Status {
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(a.Status)
	_ = json.NewEncoder(w).Encode(a) // without an answer it comes again
}

// take reads a batch from a request and stores it.
func (r *receiver) take(w http.ResponseWriter, req *http.Request) Answer {
	id := req.Header.Get(accesslog.HeaderBatch)
	if err := errors.Join(r.auth.bearer(req), checkBatchID(id)); err != nil {
		return answerTo("", 0, err)
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, req.Body, int64(r.limits.Encoded)))
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // it could be set a moment ago
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return answerTo(id, 0, fmt.Errorf("read batch: %w: limit %d bytes", accesslog.ErrTooLarge, r.limits.Encoded))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return answerTo(id, 0, fmt.Errorf("read batch: %w: no end of it after %s", errBusy, bodyTime))
	case err != nil:
		r.log.Debug("batch not read", "batch", id, "remote", req.RemoteAddr, "err", err)
		return Answer{}
	}
	if err := r.auth.signature(req, id, b); err != nil {
		return answerTo("", 0, err)
	}
	return r.batch(req.Context(), id, req.Header.Get("Content-Encoding"), b)
}

// batch stores the batch in b. Everything that comes goes through here.
func (r *receiver) batch(ctx context.Context, id, encoding string, b []byte) Answer {
	ctx, cancel := context.WithTimeout(ctx, workTime)
	defer cancel()
	select {
	case r.workers <- struct{}{}:
		defer func() { <-r.workers }()
	case <-ctx.Done():
		return answerTo(id, 0, fmt.Errorf("store batch: %w: no worker was free for %s", errBusy, workTime))
	}
	in, err := unpack.Open(b, encoding, r.limits)
	if err == nil && id == "" {
		id, err = in.ID, checkBatchID(in.ID)
	}
	if err != nil {
		return answerTo(id, 0, err)
	}
	hash := sha256.Sum256(b)
	if id == "" {
		id = "sha256:" + hex.EncodeToString(hash[:])
	}
	n, known, err := r.store.Known(ctx, id, hash)
	if err != nil {
		return r.trouble(id, err)
	}
	if known {
		a := answerTo(id, n, nil)
		a.Repeated = true
		return a
	}
	return r.records(ctx, id, hash, in)
}

func (r *receiver) records(ctx context.Context, id string, hash [sha256.Size]byte, in unpack.Batch) Answer {
	recs, bad := in.Records(r.limits)
	batch := Batch{ID: id, Hash: hash, Records: recs}
	if bad != nil {
		batch.ID = "" // it is to get the same answer when it comes again
	}
	if bad == nil || len(recs) > 0 {
		if err := r.store.Put(ctx, batch); err != nil {
			return r.trouble(id, err)
		}
	}
	return answerTo(id, len(recs), bad)
}

func (r *receiver) trouble(id string, err error) Answer {
	if errors.Is(err, context.Canceled) {
		return Answer{} // the sender is gone
	}
	r.log.Error("batch not stored", "batch", id, "err", err)
	return answerTo(id, 0, fmt.Errorf("%w: %w", errStorage, err))
}

// told counts and logs an answer.
func (r *receiver) told(req *http.Request, transport string, a *Answer) {
	r.metrics.answered(req.Context(), transport, a)
	level := slog.LevelDebug
	if a.Status != http.StatusOK {
		level = slog.LevelWarn
	}
	r.log.Log(req.Context(), level, "batch answered", "batch", a.Batch, "status", a.Status, "records", a.Stored,
		"repeated", a.Repeated, "refused", len(a.Refused)+a.More, "remote", req.RemoteAddr, "err", a.Error)
}
