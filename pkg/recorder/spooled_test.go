package recorder

import "testing"

// The end may be acknowledged, and the file be gone, while its sender is about to see
// whether it has sent all of it.
func TestASenderWhoseFileIsGoneHasSentIt(t *testing.T) {
	if sent, err := new(spooled).caughtUp(t.Context(), nil, 7, nil); !sent || err != nil {
		t.Errorf("sent: %t, %v", sent, err)
	}
}
