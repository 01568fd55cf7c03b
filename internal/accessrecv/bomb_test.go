//go:build !race

// The race detector takes several times the memory that is measured here.

package accessrecv

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tapedeck-io/tapedeck/internal/accessrecv/unpack/unpacktest"
	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// Fault 9 of the field: the receiver inflates without a limit. What a single bomb
// costs is tested where it is unpacked; this is a process, from many sides at once.
func TestFault9BombsFromAllSidesDoNotGrowTheProcess(t *testing.T) {
	p := startProcess(t, t.TempDir()+"/access.db", "127.0.0.1:0")
	mega := unpacktest.Bomb(t, 1000)
	bodies := [][]byte{unpacktest.Seal(mega), mega, unpacktest.Seal(unpacktest.Squeeze(t, []byte(`[{"x":"`+strings.Repeat("a", 4<<20-20)+`"}]`)))}
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			b, headers := bodies[i%3], []string{}
			if i%3 == 1 {
				headers = []string{"Content-Encoding", "deflate"}
			}
			a, err := post(t.Context(), http.DefaultClient, p.url, b, headers...)
			for err == nil && a.Status == http.StatusServiceUnavailable { // all workers are busy
				a, err = post(t.Context(), http.DefaultClient, p.url, b, headers...)
			}
			want := []int{413, 413, 422}[i%3]
			if err != nil || a.Status != want {
				t.Errorf("bomb %d: %+v, %v", i, a, err)
			}
		})
	}
	wg.Wait()
	const ceiling = 300 << 20
	peak := p.peak(t)
	if peak > ceiling {
		t.Errorf("the process grew to %d bytes, limit %d", peak, ceiling)
	}
	t.Logf("the process grew to %d MiB", peak>>20)
	if a, err := post(t.Context(), http.DefaultClient, p.url, plain(t, rec(1, accesslog.KindEnd, 1))); err != nil || a.Status != 200 {
		t.Errorf("afterwards: %v, %v", fmt.Sprint(a), err)
	}
}
