package accesslog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// HeaderID is on notifications: the id that they have on the bus. A notification
// that comes again has the same.
const HeaderID = "Tapedeck-Id"

// maxRetryAfter is the longest that a receiver may send us away for.
const maxRetryAfter = time.Hour

type httpSink struct {
	client   *http.Client
	url      string
	format   string
	idHeader string
	token    string
	key      []byte
}

func newHTTPSink(cfg SinkConfig, client *http.Client) (*httpSink, error) {
	token, err1 := secret("token", cfg.TokenFile, cfg.TokenEnv)
	key, err2 := secret("HMAC key", cfg.SecretFile, cfg.SecretEnv)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if client == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = cfg.InFlight
		client = &http.Client{Transport: t}
	}
	c := *client
	// A redirected POST would come as GET, or take the token elsewhere.
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s := &httpSink{client: &c, url: cfg.URL, format: cfg.Format, idHeader: accesslog.HeaderBatch, token: token, key: []byte(key)}
	if cfg.Kind == KindWebhook {
		s.idHeader = HeaderID
	}
	return s, nil
}

// Send posts the batch. Any status from 200 to 299 means that the receiver has it.
func (s *httpSink) Send(ctx context.Context, b *Batch) error {
	req, err := s.request(ctx, b)
	if err != nil {
		return err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL, which may hold a password
		}
		return fmt.Errorf("post batch %s to %s: %w", b.ID, req.URL.Host, err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // and so the connection can be used again
	if resp.StatusCode/100 == 2 {
		return nil
	}
	return statusError(resp, fmt.Errorf("post batch %s to %s: status %d: %.200q", b.ID, req.URL.Host, resp.StatusCode, said))
}

func (s *httpSink) request(ctx context.Context, b *Batch) (*http.Request, error) {
	body := b.Body()
	switch s.format {
	case FormatEnvelope:
		body = b.Envelope()
	case FormatJSONZ:
		body = b.Deflated()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("post batch %s: %w", b.ID, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "tapedeck")
	req.Header.Set(s.idHeader, b.ID)
	if s.format == FormatJSONZ {
		req.Header.Set("Content-Encoding", "deflate") // which is zlib's format
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	if len(s.key) > 0 {
		req.Header.Set(accesslog.HeaderSignature, accesslog.Sign(s.key, time.Now(), b.ID, body))
	}
	return req, nil
}

// statusError adds to err what the status says of trying again.
func statusError(resp *http.Response, err error) error {
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if after := retryAfter(resp.Header.Get("Retry-After"), time.Now()); after > 0 {
		return &RetryAfterError{After: min(after, maxRetryAfter), Err: err}
	}
	return err
}

// retryAfter is 0 if there is none, or none that can be read.
func retryAfter(value string, now time.Time) time.Duration {
	if n, err := strconv.ParseInt(value, 10, 32); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return at.Sub(now)
	}
	return 0
}
