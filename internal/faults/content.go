package faults

import (
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// A Session is what one session of a run is like, as its id tells.
type Session struct {
	ID     string
	Kind   string
	Events int64         // in all
	size   int           // of the data of an event, about
	random bool          // data that does not shrink
	pace   time.Duration // between two bursts
	burst  int           // events that come at once
	key    uint64
	late   int64 // messages of it that cannot be recorded
}

// kinds are the sorts of sessions, with how many of a hundred are such.
var kinds = []struct {
	name         string
	share        int
	events, size [2]int
	random       bool
	seconds      [2]int // from the first to the last event, if nothing is in the way
}{
	{"empty", 4, [2]int{0, 0}, [2]int{1, 2}, false, [2]int{0, 1}},
	{"typing", 40, [2]int{3, 60}, [2]int{1, 80}, false, [2]int{1, 12}},
	{"busy", 36, [2]int{50, 1500}, [2]int{20, 1200}, false, [2]int{1, 8}},
	{"flood", 12, [2]int{2000, 9000}, [2]int{10, 200}, false, [2]int{0, 2}},
	{"large", 8, [2]int{100, 320}, [2]int{40_000, 61_000}, true, [2]int{1, 10}},
}

// SessionID is the id of the n-th session of a slot of a producer.
func SessionID(seed uint64, producer, slot, n int) string {
	return fmt.Sprintf("f%x-%d-%d-%d", seed, producer, slot, n)
}

// NewSession says what the session with that id is like.
func NewSession(id string) Session {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	s := Session{ID: id, key: h.Sum64()}
	rng := rand.New(rand.NewPCG(s.key, 1))
	draw := rng.IntN(100)
	for _, k := range kinds {
		if draw -= k.share; draw >= 0 {
			continue
		}
		between := func(r [2]int) int { return r[0] + rng.IntN(r[1]-r[0]+1) }
		s.Kind, s.random = k.name, k.random
		s.Events, s.size = int64(between(k.events)), between(k.size)
		s.burst = 1 + rng.IntN(1+int(s.Events)/20)
		bursts := max(int(s.Events)/s.burst, 1)
		s.pace = time.Duration(between(k.seconds)) * time.Second / time.Duration(bursts)
		break
	}
	return s
}

// epoch is when all sessions begin, by the clock of their events.
var epoch = time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)

// Data is what event index prints.
func (s Session) Data(index int64) []byte {
	rng := rand.New(rand.NewPCG(s.key, uint64(index)+2))
	b := make([]byte, 1+rng.IntN(s.size)/2+s.size/2)
	if s.random {
		for i := 0; i+8 <= len(b); i += 8 {
			v := rng.Uint64()
			for k := range 8 {
				b[i+k] = byte(v >> (8 * k))
			}
		}
		return b
	}
	word := fmt.Appendf(nil, "%s %d %x ", s.ID, index, rng.Uint32())
	for i := range b {
		b[i] = word[i%len(word)]
	}
	return b
}

// Event is the encoded event with that index.
func (s Session) Event(index int64) ([]byte, error) {
	data := s.Data(index)
	one, err := events.Wrap(&events.SessionPrint{
		Metadata:   &events.Metadata{Index: index, Type: "print", Time: timestamppb.New(epoch.Add(time.Duration(index) * 7 * time.Millisecond))},
		ChunkIndex: index, Data: data, Bytes: int64(len(data)), DelayMilliseconds: index * 7, Offset: index * int64(s.size),
	})
	if err != nil {
		return nil, err
	}
	return events.Marshal(one)
}

// play appends the session's events from next on to out, at their pace.
func (s Session) play(ctx context.Context, out *bus.Stream, next int64) error {
	for i := next; i < s.Events; i++ {
		b, err := s.Event(i)
		if err != nil {
			return err
		}
		if err := out.Append(ctx, b, i); err != nil {
			return err
		}
		if (i+1)%int64(s.burst) == 0 {
			select {
			case <-time.After(s.pace):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return nil
}
