package uploadlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tapedeck-io/tapedeck/internal/embed"
	"github.com/tapedeck-io/tapedeck/internal/embed/embedtest"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
)

func TestOwnersChangeHandsOnlyWhereTheyMust(t *testing.T) {
	const p = 64
	members := []string{"a", "b", "c", "d"}
	before := Owners(members, p)
	count := map[string]int{}
	for _, o := range before {
		count[o]++
	}
	for _, m := range members {
		if count[m] < p/4/3 {
			t.Errorf("member %s has %d of %d partitions", m, count[m], p)
		}
	}
	slices.Reverse(members)
	if !slices.Equal(before, Owners(members, p)) {
		t.Error("the order of members matters")
	}
	for i, o := range Owners([]string{"a", "b", "d"}, p) {
		if before[i] != "c" && o != before[i] {
			t.Errorf("partition %d went from %s to %s when c left", i, before[i], o)
		}
	}
	if got := Owners(nil, 2); got[0] != "" || got[1] != "" {
		t.Errorf("owners without members: %q", got)
	}
}

// member runs a member until the returned function is called.
func member(t *testing.T, conn *bus.Conn, id string) (*Members, func()) {
	t.Helper()
	m := NewMembers(conn, id, 1, nil)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = m.Run(ctx) })
	stop := sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return m, stop
}

func sees(m *Members, want ...string) func() bool {
	return func() bool {
		live, _ := m.Live()
		return slices.Equal(live, want)
	}
}

func TestMembersSeeEachOtherComeAndGo(t *testing.T) {
	url := embedtest.NATS(t)
	a, _ := member(t, dial(t, url), "a")
	b, leave := member(t, dial(t, url), "b")
	killed := dial(t, url)
	c, _ := member(t, killed, "c")
	for _, m := range []*Members{a, b, c} {
		eventually(t, m.ID()+" sees all", sees(m, "a", "b", "c"))
	}
	_, changed := a.Live()
	start := time.Now()
	leave()
	<-changed
	if took := time.Since(start); took > time.Second {
		t.Errorf("a graceful leave was seen after %s", took)
	}
	eventually(t, "b is gone", sees(a, "a", "c"))
	start = time.Now()
	killed.Close()
	eventually(t, "c is gone", sees(a, "a"))
	if took := time.Since(start); took < time.Second || took > 4*time.Second {
		t.Errorf("a kill was seen after %s, want 2 s", took)
	}
}

func TestMembersComeBackAfterTheServerRestarts(t *testing.T) {
	dir := t.TempDir()
	n := embedtest.NATSServer(t, embed.NATSConfig{Dir: dir})
	port := n.Port()
	a, _ := member(t, dial(t, n.URL()), "a")
	b, _ := member(t, dial(t, n.URL()), "b")
	eventually(t, "both", sees(a, "a", "b"))
	n.Shutdown()
	time.Sleep(2500 * time.Millisecond)
	if live, _ := a.Live(); len(live) != 2 {
		t.Errorf("a member that hears nothing sees %v, want what it saw", live)
	}
	embedtest.NATSServer(t, embed.NATSConfig{Dir: dir, Port: port})
	// The bucket was in memory: it is made anew.
	_, leave := member(t, dial(t, fmt.Sprintf("nats://127.0.0.1:%d", port)), "c")
	eventually(t, "all three", func() bool { return sees(a, "a", "b", "c")() && sees(b, "a", "b", "c")() })
	leave()
	eventually(t, "two", sees(b, "a", "b"))
}

func TestOfTwoWithOneNameTheSecondIsRefused(t *testing.T) {
	url := embedtest.NATS(t)
	a, _ := member(t, dial(t, url), "same")
	eventually(t, "the first", sees(a, "same"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := NewMembers(dial(t, url), "same", 1, nil).Run(ctx); !errors.Is(err, ErrNameTaken) {
		t.Errorf("the second: %v", err)
	}
	if live, _ := a.Live(); !slices.Equal(live, []string{"same"}) {
		t.Errorf("the first sees %v", live)
	}
}

func TestANameWhoseOwnerWasKilledIsFreeSoon(t *testing.T) {
	url := embedtest.NATS(t)
	killed := dial(t, url)
	a, _ := member(t, killed, "same")
	eventually(t, "the first", sees(a, "same"))
	killed.Close()
	b, _ := member(t, dial(t, url), "same")
	start := time.Now()
	eventually(t, "the second", sees(b, "same"))
	t.Logf("after %s", time.Since(start))
}

// A laggard answers every other read of the bucket as a replica does that lags behind.
type laggard struct {
	jetstream.KeyValue
	old   jetstream.KeyValueEntry
	reads int
}

func (l *laggard) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	e, err := l.KeyValue.Get(ctx, key)
	if l.reads++; err == nil && l.reads%2 == 0 {
		return l.old, nil
	}
	return e, err
}

// A name whose owner was killed is not taken because a replica lags: an older answer
// does not mean that somebody refreshes it.
func TestAnOldAnswerIsNotAnothersName(t *testing.T) {
	m := NewMembers(dial(t, embedtest.NATS(t)), "same", 1, nil)
	kv, err := m.bucket(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Create(t.Context(), "same", []byte("killed")); err != nil {
		t.Fatal(err)
	}
	old, err := kv.Get(t.Context(), "same")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), "same", []byte("killed")); err != nil {
		t.Fatal(err)
	}
	slow := &laggard{KeyValue: kv, old: old}
	if err := m.announce(t.Context(), slow); err != nil {
		t.Fatal(err)
	}
	if slow.reads < 4 {
		t.Errorf("the name was free after %d reads: too soon for an old answer to matter", slow.reads)
	}
}
