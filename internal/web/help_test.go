package web_test

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

func valueOf(m proto.Message) protoreflect.Value {
	return protoreflect.ValueOfMessage(m.ProtoReflect())
}

// typeOf is the usual type of an event.
func typeOf(e events.Event) string {
	name := string(e.ProtoReflect().Descriptor().Name())
	for _, k := range events.Kinds() {
		if k.Name == name {
			return k.Type
		}
	}
	panic("no kind " + name)
}

// A read is a range of an object that was read.
type read struct {
	key    string
	off, n int64 // n is as many bytes as were taken
}

// A countingStore notes what is read.
type countingStore struct {
	*s3store.Store
	mu    sync.Mutex
	reads []*read
	open  int
	bad   bool
}

// fail has every read fail, or no longer.
func (c *countingStore) fail(bad bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bad = bad
}

func (c *countingStore) GetRange(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	c.mu.Lock()
	bad := c.bad
	c.mu.Unlock()
	if bad {
		return nil, errors.New("the store's secret address does not answer")
	}
	body, err := c.Store.GetRange(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := &read{key: key, off: off}
	c.reads = append(c.reads, r)
	c.open++
	return &countedBody{body, c, r}, nil
}

// reset forgets what was read.
func (c *countingStore) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads = nil
}

func (c *countingStore) all() []read {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []read
	for _, r := range c.reads {
		all = append(all, *r)
	}
	return all
}

func (c *countingStore) opened() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

type countedBody struct {
	io.ReadCloser
	c *countingStore
	r *read
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.c.mu.Lock()
	defer b.c.mu.Unlock()
	b.r.n += int64(n)
	return n, err
}

func (b *countedBody) Close() error {
	b.c.mu.Lock()
	b.c.open--
	b.c.mu.Unlock()
	return b.ReadCloser.Close()
}
