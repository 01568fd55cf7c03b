package accesslog

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Headers of a batch over HTTP.
const (
	// HeaderBatch is the id of the batch. A batch that comes again has the same.
	HeaderBatch = "Tapedeck-Batch"
	// HeaderSignature is what [Sign] returns.
	HeaderSignature = "Tapedeck-Signature"
)

// ErrSignature means that the sender does not have the key, or its clock is wrong.
var ErrSignature = errors.New("bad signature")

// Sign is "t=<Unix seconds>,v1=<hex HMAC-SHA-256>" of the seconds, the id of the
// batch and the body, with dots between.
func Sign(key []byte, at time.Time, id string, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac(key, t, id, body))
}

func mac(key []byte, t, id string, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = io.WriteString(h, t+"."+id+".") // a hash takes all
	_, _ = h.Write(body)
	return h.Sum(nil)
}

// VerifySignature checks what [Sign] returned. The time in it may be off by skew.
// Its errors wrap [ErrSignature].
func VerifySignature(key []byte, signature, id string, body []byte, now time.Time, skew time.Duration) error {
	t, sum, ok := strings.Cut(strings.TrimPrefix(signature, "t="), ",v1=")
	got, err := hex.DecodeString(sum)
	secs, err2 := strconv.ParseInt(t, 10, 64)
	if !ok || err != nil || err2 != nil || !strings.HasPrefix(signature, "t=") {
		return fmt.Errorf("verify: %w: %.40q is not t=<seconds>,v1=<hex>", ErrSignature, signature)
	}
	if !hmac.Equal(got, mac(key, t, id, body)) {
		return fmt.Errorf("verify: %w: not made with this key over this batch", ErrSignature)
	}
	if at := time.Unix(secs, 0); at.Before(now.Add(-skew)) || at.After(now.Add(skew)) {
		return fmt.Errorf("verify: %w: its time is not within %s of %s", ErrSignature, skew, now.UTC().Format(time.RFC3339))
	}
	return nil
}
