package accesslog_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

func TestASignatureIsOfTimeIDAndBody(t *testing.T) {
	key, at, body := []byte("key"), time.Unix(1_700_000_000, 0), []byte(`[]`)
	signed := accesslog.Sign(key, at, "b-1", body)
	const want = "t=1700000000,v1=e0a3a165e67d832efdfe3ca53a9c7e2c9f8d77481bf4892074e75186f7d31ee9" // by Python's hmac
	if signed != want {
		t.Fatalf("signature %q, want %q", signed, want)
	}
	tests := []struct {
		name      string
		key       string
		signature string
		id, body  string
		now       time.Time
		good      bool
	}{
		{"as signed", "key", signed, "b-1", "[]", at, true},
		{"five minutes later", "key", signed, "b-1", "[]", at.Add(5 * time.Minute), true},
		{"too late", "key", signed, "b-1", "[]", at.Add(6 * time.Minute), false},
		{"too early", "key", signed, "b-1", "[]", at.Add(-6 * time.Minute), false},
		{"another key", "kez", signed, "b-1", "[]", at, false},
		{"another batch", "key", signed, "b-2", "[]", at, false},
		{"another body", "key", signed, "b-1", "[ ]", at, false},
		{"another time in it", "key", "t=1700000001" + signed[12:], "b-1", "[]", at, false},
		{"none", "key", "", "b-1", "[]", at, false},
		{"no time", "key", signed[13:], "b-1", "[]", at, false},
		{"no hex", "key", signed[:17] + "zz", "b-1", "[]", at, false},
		{"cut", "key", signed[:40], "b-1", "[]", at, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := accesslog.VerifySignature([]byte(test.key), test.signature, test.id, []byte(test.body), test.now, 5*time.Minute)
			if (err == nil) != test.good || err != nil && !errors.Is(err, accesslog.ErrSignature) {
				t.Fatalf("error %v", err)
			}
		})
	}
}
