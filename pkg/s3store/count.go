package s3store

import (
	"io"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Stats count what went over the wire, each attempt of a retried call included.
type Stats struct {
	Requests   int64 // HTTP requests sent
	Failed     int64 // of them, those without an answer or with a status of 400 or more
	Uploaded   int64 // bytes of request bodies, as they were announced
	Downloaded int64 // bytes of answers' bodies that were read
}

// Stats returns the counts since Open. Tests and load tests subtract two of
// them to tell how much a step has read.
func (s *Store) Stats() Stats {
	return Stats{
		Requests:   s.stats.requests.Load(),
		Failed:     s.stats.failed.Load(),
		Uploaded:   s.stats.up.Load(),
		Downloaded: s.stats.down.Load(),
	}
}

type counters struct{ requests, failed, up, down atomic.Int64 }

type countingClient struct {
	next aws.HTTPClient
	*counters
}

func (c *countingClient) Do(req *http.Request) (*http.Response, error) {
	c.requests.Add(1)
	if req.ContentLength > 0 {
		c.up.Add(req.ContentLength)
	}
	resp, err := c.next.Do(req)
	if err != nil {
		c.failed.Add(1)
		return nil, err
	}
	if resp.StatusCode >= 400 {
		c.failed.Add(1)
	}
	resp.Body = &countingBody{ReadCloser: resp.Body, n: &c.down}
	return resp, nil
}

type countingBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}
