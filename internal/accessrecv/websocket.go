package accessrecv

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// pingEvery is how often a websocket has to show that its other side is there.
const pingEvery = 30 * time.Second

// upgrade makes a websocket of the request. Who sends is checked once, here: the
// signature is over no batch and no body.
func (r *receiver) upgrade(w http.ResponseWriter, req *http.Request) {
	if !strings.EqualFold(req.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "post batches here, or open a websocket", http.StatusMethodNotAllowed)
		return
	}
	if err := errors.Join(r.auth.bearer(req), r.auth.signature(req, "", nil)); err != nil {
		a := answerTo("", 0, err)
		r.told(req, "websocket", &a)
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, a.Error, a.Status)
		return
	}
	r.sockets.Add(1)
	defer r.sockets.Done()
	c, err := websocket.Accept(w, req, nil) // it has answered; no compression, no other origin
	if err != nil {
		r.log.Debug("websocket not opened", "remote", req.RemoteAddr, "err", err)
		return
	}
	defer func() { _ = c.CloseNow() }()     // it may be closed already
	c.SetReadLimit(int64(r.limits.Encoded)) // beyond, the library says so and closes
	err = r.socket(req, c)
	r.log.Debug("websocket closed", "remote", req.RemoteAddr, "err", err)
}

// socket answers messages until the other side goes or the receiver stops. A
// message that is being stored then is answered first.
func (r *receiver) socket(req *http.Request, c *websocket.Conn) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(req.Context()))
	defer cancel()
	go func() { // ends with ctx
		defer cancel()
		for ping(ctx, c) == nil {
		}
	}()
	var working sync.Mutex // while a message is stored and answered
	stop := context.AfterFunc(r.stopping, func() {
		working.Lock()
		defer working.Unlock()
		_ = c.Close(websocket.StatusGoingAway, "the receiver stops") // a peer that is gone needs none
	})
	defer stop()
	for {
		b, err := r.message(ctx, c)
		if err != nil {
			return err
		}
		working.Lock()
		a := r.batch(ctx, "", "", b)
		if a.Status != 0 { // 0: the other side went meanwhile
			r.told(req, "websocket", &a)
			err = say(ctx, c, a)
		}
		working.Unlock()
		if err != nil {
			return err
		}
	}
}

// message waits for a message, however long, and for its end bodyTime.
func (r *receiver) message(ctx context.Context, c *websocket.Conn) ([]byte, error) {
	_, msg, err := c.Reader(ctx)
	if err != nil {
		return nil, err
	}
	late := time.AfterFunc(bodyTime, func() { _ = c.CloseNow() })
	defer late.Stop()
	return io.ReadAll(msg)
}

func say(ctx context.Context, c *websocket.Conn, a Answer) error {
	ctx, cancel := context.WithTimeout(ctx, bodyTime)
	defer cancel()
	b, err := json.Marshal(struct {
		Type string `json:"type"`
		Data Answer `json:"data"`
	}{AnswerType, a})
	if err != nil {
		return err
	}
	return c.Write(ctx, websocket.MessageText, b)
}

func ping(ctx context.Context, c *websocket.Conn) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pingEvery):
	}
	ctx, cancel := context.WithTimeout(ctx, pingEvery)
	defer cancel()
	return c.Ping(ctx)
}
