package s3store

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// MaxParts is the highest number that a part can have.
const MaxParts = 10_000

// A Part is one part of a multipart upload.
type Part struct {
	Number   int    // 1 to MaxParts; order in the object is by number
	ETag     string // the store's tag, without quotes
	Checksum string // "<algorithm>:<base64>" as the store confirmed it; empty if it keeps none
	Size     int64  // bytes
}

// An Upload is a multipart upload that is neither completed nor aborted.
type Upload struct {
	Key       string
	ID        string
	Initiated time.Time
}

// CreateUpload begins a multipart upload. The object that comes of it has meta
// as its metadata; names in it are a-z 0-9 - and values printable ASCII. When
// the reply is lost an upload may exist that nobody knows: ListUploads shows it.
func (s *Store) CreateUpload(ctx context.Context, key string, meta map[string]string) (uploadID string, err error) {
	if err := checkMeta(meta); err != nil {
		return "", fmt.Errorf("create upload of %s: %w", key, err)
	}
	in := &s3.CreateMultipartUploadInput{
		Bucket:               &s.opt.Bucket,
		Key:                  &key,
		Metadata:             meta,
		ContentType:          aws.String(contentType(key)),
		ChecksumAlgorithm:    s.algorithm(),
		ServerSideEncryption: types.ServerSideEncryption(s.opt.SSE),
		StorageClass:         types.StorageClass(s.opt.StorageClass),
	}
	if s.opt.SSEKMSKeyID != "" {
		in.SSEKMSKeyId = &s.opt.SSEKMSKeyID
	}
	before := s.writing()
	out, err := s.client.CreateMultipartUpload(ctx, in)
	if err == nil {
		err = s.durable(ctx, before)
	}
	if err != nil {
		return "", wrap(err, "create upload of %s", key)
	}
	return aws.ToString(out.UploadId), nil
}

// PutPart stores body as part n of an upload; it does not keep body. When it
// returns nil the part is durable. When it returns an error the part may or may
// not be stored: putting the same bytes under the same number again is safe and
// gives the same ETag. Its error wraps [ErrUploadGone] if the upload takes no
// more. A number holds the bytes that were put last.
func (s *Store) PutPart(ctx context.Context, key, uploadID string, n int, body []byte) (Part, error) {
	if n < 1 || n > MaxParts {
		return Part{}, fmt.Errorf("put part %d (%d bytes): number is not 1 to %d", n, len(body), MaxParts)
	}
	in := &s3.UploadPartInput{
		Bucket:            &s.opt.Bucket,
		Key:               &key,
		UploadId:          &uploadID,
		PartNumber:        aws.Int32(int32(n)),
		Body:              bytes.NewReader(body),
		ContentLength:     aws.Int64(int64(len(body))),
		ChecksumAlgorithm: s.algorithm(),
	}
	if s.opt.Checksum == checksumMD5 {
		in.ContentMD5 = contentMD5(body)
	}
	before := s.writing()
	out, err := s.client.UploadPart(ctx, in)
	if err == nil {
		// Not synced, the part would be lost with the machine's power although
		// the gateway has answered.
		err = s.durable(ctx, before)
	}
	if err != nil {
		return Part{}, wrap(err, "put part %d (%d bytes)", n, len(body))
	}
	return Part{
		Number:   n,
		ETag:     unquote(out.ETag),
		Checksum: joinChecksum(out.ChecksumCRC64NVME, out.ChecksumCRC32C, out.ChecksumSHA256),
		Size:     int64(len(body)),
	}, nil
}

// ListParts returns the parts of an upload as the store has them, by number.
// Its error wraps [ErrUploadGone] if there is no such upload any more.
func (s *Store) ListParts(ctx context.Context, key, uploadID string) ([]Part, error) {
	var parts []Part
	pages := s3.NewListPartsPaginator(s.client, &s3.ListPartsInput{Bucket: &s.opt.Bucket, Key: &key, UploadId: &uploadID})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, wrap(err, "list parts of %s", key)
		}
		for _, p := range page.Parts {
			parts = append(parts, Part{
				Number:   int(aws.ToInt32(p.PartNumber)),
				ETag:     unquote(p.ETag),
				Checksum: joinChecksum(p.ChecksumCRC64NVME, p.ChecksumCRC32C, p.ChecksumSHA256),
				Size:     aws.ToInt64(p.Size),
			})
		}
	}
	return parts, nil
}

// CompleteUpload makes the object out of exactly the parts given, which are in
// order of number; parts that are not given are dropped. It returns nil only
// when the object is there, durable, and as long as the parts together. Its
// error wraps [ErrExists] if the key is taken, and then the object there is as
// it was; [ErrBadPart] if a part is missing, has another ETag or is too small,
// and then the upload is as it was; [ErrUploadGone] if there is no such upload.
// After any other error, or when the reply was lost, the object may be there:
// completing again then gives nil, ErrExists or ErrUploadGone, as the store has
// it, and what is in the object's metadata tells whose it is.
func (s *Store) CompleteUpload(ctx context.Context, key, uploadID string, parts []Part) (etag string, err error) {
	done := make([]types.CompletedPart, len(parts))
	var size int64
	for i, p := range parts {
		done[i] = types.CompletedPart{PartNumber: aws.Int32(int32(p.Number)), ETag: aws.String(p.ETag)}
		splitChecksum(p.Checksum, &done[i])
		size += p.Size
	}
	before := s.writing()
	out, err := s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket:          &s.opt.Bucket,
		Key:             &key,
		UploadId:        &uploadID,
		IfNoneMatch:     aws.String("*"),
		MpuObjectSize:   &size, // a store that looks at it refuses before it drops the parts
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
	})
	if err == nil {
		err = s.durable(ctx, before)
	}
	if err == nil {
		etag = unquote(out.ETag)
		err = s.confirm(ctx, key, etag, size)
	}
	if err != nil {
		return "", wrap(err, "complete %s (%d parts, %d bytes)", key, len(parts), size)
	}
	return etag, nil
}

// confirm looks at the object that the store says it has made. A store may
// answer "done" to an upload that another call has finished, or is still
// finishing, or even for an object that came from elsewhere.
func (s *Store) confirm(ctx context.Context, key, etag string, size int64) error {
	o, err := s.Head(ctx, key)
	if err != nil {
		if errors.Is(classify(err), ErrNotFound) {
			return errors.New("store says done, but there is no object yet")
		}
		return err
	}
	if o.Size != size || (etag != "" && o.ETag != etag) {
		return &storeError{what: fmt.Sprintf("object of %d bytes with ETag %s", o.Size, o.ETag), sentinel: ErrExists}
	}
	return nil
}

// AbortUpload drops an upload and its parts. It returns nil if there is no such
// upload any more.
func (s *Store) AbortUpload(ctx context.Context, key, uploadID string) error {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.opt.Bucket, Key: &key, UploadId: &uploadID})
	if errors.Is(classify(err), ErrUploadGone) {
		return nil
	}
	return wrap(err, "abort upload of %s", key)
}

// ListUploads yields the uploads whose key begins with prefix, ordered by key.
// After an error it yields nothing more.
func (s *Store) ListUploads(ctx context.Context, prefix string) iter.Seq2[Upload, error] {
	return func(yield func(Upload, error) bool) {
		pages := s3.NewListMultipartUploadsPaginator(s.client, &s3.ListMultipartUploadsInput{Bucket: &s.opt.Bucket, Prefix: &prefix})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(Upload{}, wrap(err, "list uploads"))
				return
			}
			for _, u := range page.Uploads {
				if !yield(Upload{Key: aws.ToString(u.Key), ID: aws.ToString(u.UploadId), Initiated: aws.ToTime(u.Initiated)}, nil) {
					return
				}
			}
		}
	}
}

func contentMD5(body []byte) *string {
	sum := md5.Sum(body)
	return aws.String(base64.StdEncoding.EncodeToString(sum[:]))
}
