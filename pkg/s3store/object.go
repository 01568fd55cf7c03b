package s3store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// An Object is what the store says of an object.
type Object struct {
	Key      string
	Size     int64
	ETag     string            // without quotes
	Meta     map[string]string // names in lower case; nil from List
	Modified time.Time
}

// Head returns what the store says of an object. Its error wraps [ErrNotFound]
// if there is none.
func (s *Store) Head(ctx context.Context, key string) (Object, error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.opt.Bucket, Key: &key})
	if err != nil {
		return Object{}, wrap(err, "look at %s", key)
	}
	o := Object{
		Key: key, Size: aws.ToInt64(out.ContentLength), ETag: unquote(out.ETag),
		Modified: aws.ToTime(out.LastModified), Meta: make(map[string]string, len(out.Metadata)),
	}
	for k, v := range out.Metadata {
		o.Meta[strings.ToLower(k)] = v
	}
	return o, nil
}

// Put stores body as an object; it does not keep body. When it returns nil the
// object is durable. With ifAbsent its error wraps [ErrExists] if the key is
// taken, and the object there is as it was, and durable; without, the object is
// replaced.
// When the reply was lost, a second Put with ifAbsent finds the first one's
// object.
func (s *Store) Put(ctx context.Context, key string, body []byte, ifAbsent bool) error {
	in := &s3.PutObjectInput{
		Bucket:               &s.opt.Bucket,
		Key:                  &key,
		Body:                 bytes.NewReader(body),
		ContentLength:        aws.Int64(int64(len(body))),
		ContentType:          aws.String(contentType(key)),
		ChecksumAlgorithm:    s.algorithm(),
		ServerSideEncryption: types.ServerSideEncryption(s.opt.SSE),
	}
	if ifAbsent {
		in.IfNoneMatch = aws.String("*")
	}
	if s.opt.SSEKMSKeyID != "" {
		in.SSEKMSKeyId = &s.opt.SSEKMSKeyID
	}
	if s.opt.Checksum == checksumMD5 {
		in.ContentMD5 = contentMD5(body)
	}
	before := s.writing()
	_, err := s.client.PutObject(ctx, in)
	if err == nil || errors.Is(classify(err), ErrExists) {
		// What exists may be ours, stored by a try whose reply was lost.
		if derr := s.durable(ctx, before); derr != nil {
			err = derr
		}
	}
	return wrap(err, "put %s (%d bytes)", key, len(body))
}

// Delete removes an object. It returns nil if there is none.
func (s *Store) Delete(ctx context.Context, key string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.opt.Bucket, Key: &key})
	if kind := classify(err); errors.Is(kind, ErrNotFound) && !errors.Is(kind, ErrNoBucket) {
		return nil
	}
	return wrap(err, "delete %s", key)
}

// List yields the objects whose key begins with prefix and sorts after after,
// ordered by key. After an error it yields nothing more.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return s.list(ctx, prefix, after, nil)
}

// ListFolder is List without the objects that have a slash in what comes after
// prefix: what lies in other folders costs no request.
func (s *Store) ListFolder(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return s.list(ctx, prefix, after, aws.String("/"))
}

func (s *Store) list(ctx context.Context, prefix, after string, delimiter *string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &s.opt.Bucket, Prefix: &prefix, Delimiter: delimiter}
		if after != "" {
			in.StartAfter = &after
		}
		pages := s3.NewListObjectsV2Paginator(s.client, in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(Object{}, wrap(err, "list %s", prefix))
				return
			}
			for _, o := range page.Contents {
				if !yield(Object{Key: aws.ToString(o.Key), Size: aws.ToInt64(o.Size), ETag: unquote(o.ETag), Modified: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
		}
	}
}

// checkMeta refuses metadata that would not come back as it went: names are
// folded to lower case on the way, and values must be fit for an HTTP header.
func checkMeta(meta map[string]string) error {
	total := 0
	for k, v := range meta {
		total += len(k) + len(v)
		if k == "" || strings.Trim(k, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return fmt.Errorf("metadata name %q: not of a-z 0-9 -", k)
		}
		if strings.TrimSpace(v) != v || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
			return fmt.Errorf("metadata %s: value %q is not printable ASCII without spaces around it", k, v)
		}
	}
	if total > 2048 {
		return fmt.Errorf("metadata: %d bytes, 2048 at most", total)
	}
	return nil
}

func contentType(key string) string {
	if strings.HasSuffix(key, ".json") {
		return "application/json"
	}
	return "application/octet-stream"
}

func unquote(etag *string) string { return strings.Trim(aws.ToString(etag), `"`) }
