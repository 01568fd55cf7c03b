package embed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"
)

// A rooted backend is the gateway's posix backend without its dependence on the
// process's working directory. That backend changes into its root and then uses
// bucket names as relative paths; here every bucket goes to it as an absolute
// path instead, and the working directory is put back. So the rest of the
// process may use relative paths and change directory as it likes.
//
// It knows the calls that Tapedeck makes and those that the gateway makes to
// serve them. All others answer NotImplemented: passed through unchanged, they
// would act on whatever the working directory is.
type rooted struct {
	backend.BackendUnsupported
	root string
	be   *posix.Posix
}

// chdir guards the moment in which the working directory is the gateway's.
var chdir sync.Mutex

func newRooted(root string, store meta.MetadataStorer, opts posix.PosixOpts) (*rooted, error) {
	chdir.Lock()
	defer chdir.Unlock()
	wd, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	be, err := posix.New(root, store, opts)
	if err := os.Chdir(wd); err != nil {
		return nil, fmt.Errorf("return to the working directory: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return &rooted{root: root, be: be}, nil
}

// at is the bucket's directory.
func (r *rooted) at(bucket string) string { return filepath.Join(r.root, bucket) }

func (r *rooted) ptr(bucket *string) *string {
	p := r.at(*bucket)
	return &p
}

// named turns a directory in an error back into the bucket's name. An answer of S3's
// that the backend has put words around, as on a full disk, is that answer again: the
// gateway would say that it has an internal error.
func named(err error) error {
	var b s3err.BucketError
	if errors.As(err, &b) {
		b.BucketName = filepath.Base(b.BucketName)
		return b
	}
	if api, ok := errors.AsType[s3err.APIError](err); ok {
		return api
	}
	return err
}

func (r *rooted) String() string { return "tapedeck" }
func (r *rooted) Shutdown()      { r.be.Shutdown() }

func (r *rooted) NormalizeObjectKey(bucket, object string) string {
	return r.be.NormalizeObjectKey(r.at(bucket), object)
}

func (r *rooted) ListBuckets(_ context.Context, in s3response.ListBucketsInput) (s3response.ListAllMyBucketsResult, error) {
	res := s3response.ListAllMyBucketsResult{Owner: s3response.CanonicalUser{ID: in.Owner}, Prefix: in.Prefix}
	entries, err := os.ReadDir(r.root)
	if err != nil {
		return res, err
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") || !strings.HasPrefix(e.Name(), in.Prefix) {
			continue
		}
		if info, err := e.Info(); err == nil {
			res.Buckets.Bucket = append(res.Buckets.Bucket, s3response.ListAllMyBucketsEntry{Name: e.Name(), CreationDate: info.ModTime()})
		}
	}
	return res, nil
}

func (r *rooted) HeadBucket(ctx context.Context, in *s3.HeadBucketInput) (*s3.HeadBucketOutput, error) {
	c := *in
	c.Bucket = r.ptr(in.Bucket)
	out, err := r.be.HeadBucket(ctx, &c)
	return out, named(err)
}

func (r *rooted) GetBucketAcl(ctx context.Context, in *s3.GetBucketAclInput) ([]byte, error) {
	c := *in
	c.Bucket = r.ptr(in.Bucket)
	out, err := r.be.GetBucketAcl(ctx, &c)
	return out, named(err)
}

func (r *rooted) CreateBucket(ctx context.Context, in *s3.CreateBucketInput, acl []byte) error {
	c := *in
	c.Bucket = r.ptr(in.Bucket)
	return named(r.be.CreateBucket(ctx, &c, acl))
}

func (r *rooted) DeleteBucket(ctx context.Context, bucket string) error {
	return named(r.be.DeleteBucket(ctx, r.at(bucket)))
}

func (r *rooted) GetBucketVersioning(ctx context.Context, bucket string) (s3response.GetBucketVersioningOutput, error) {
	out, err := r.be.GetBucketVersioning(ctx, r.at(bucket))
	return out, named(err)
}

func (r *rooted) GetBucketPolicy(ctx context.Context, bucket string) ([]byte, error) {
	out, err := r.be.GetBucketPolicy(ctx, r.at(bucket))
	return out, named(err)
}

func (r *rooted) GetBucketOwnershipControls(ctx context.Context, bucket string) (types.ObjectOwnership, error) {
	out, err := r.be.GetBucketOwnershipControls(ctx, r.at(bucket))
	return out, named(err)
}

func (r *rooted) GetBucketCors(ctx context.Context, bucket string) ([]byte, error) {
	out, err := r.be.GetBucketCors(ctx, r.at(bucket))
	return out, named(err)
}

func (r *rooted) GetObjectLockConfiguration(ctx context.Context, bucket string) ([]byte, error) {
	out, err := r.be.GetObjectLockConfiguration(ctx, r.at(bucket))
	return out, named(err)
}

func (r *rooted) GetObjectRetention(ctx context.Context, bucket, object, version string) ([]byte, error) {
	out, err := r.be.GetObjectRetention(ctx, r.at(bucket), object, version)
	return out, named(err)
}

func (r *rooted) GetObjectLegalHold(ctx context.Context, bucket, object, version string) (*bool, error) {
	out, err := r.be.GetObjectLegalHold(ctx, r.at(bucket), object, version)
	return out, named(err)
}

func (r *rooted) CreateMultipartUpload(ctx context.Context, in s3response.CreateMultipartUploadInput) (s3response.InitiateMultipartUploadResult, error) {
	bucket := *in.Bucket
	in.Bucket = r.ptr(in.Bucket)
	out, err := r.be.CreateMultipartUpload(ctx, in)
	out.Bucket = bucket
	return out, named(err)
}

func (r *rooted) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput) (
	out s3response.CompleteMultipartUploadResult, version string, err error) {
	c := *in
	c.Bucket = r.ptr(in.Bucket)
	defer func() {
		switch p := recover().(type) {
		case nil:
		case notCopied:
			out, version, err = s3response.CompleteMultipartUploadResult{}, "", p.answer()
		default:
			panic(p)
		}
	}()
	out, version, err = r.be.CompleteMultipartUploadWithCopy(ctx, &c, mustCopy)
	out.Bucket = in.Bucket
	return out, version, named(err)
}

// notCopied is what a completion is left with when a part cannot be copied.
type notCopied struct{ err error }

func (n notCopied) answer() error {
	switch {
	case errors.Is(n.err, syscall.ENOSPC):
		return s3err.GetAPIError(s3err.ErrNoSpaceLeftOnDevice)
	case errors.Is(n.err, syscall.EDQUOT):
		return s3err.GetAPIError(s3err.ErrQuotaExceeded)
	}
	return fmt.Errorf("put the object together: %w", n.err)
}

// mustCopy adds a part to the object and syncs the object. The gateway links the
// object into place and removes its parts right after, without a sync: the
// removal could reach the disk before the data does, and a power failure in
// between would cost the recording.
//
// It panics when it fails. The gateway takes an error for "copy it yourself",
// goes on from where the part has been read to, and asks no more how that went:
// on a full disk it would link an object without the bytes that had no room, and
// drop the parts. What it has deferred drops the object and puts the upload back.
func mustCopy(part, object *os.File) (idempotent bool, err error) {
	_, err = io.Copy(object, part)
	if err == nil {
		err = object.Sync()
	}
	if err != nil {
		_ = part.Close()
		panic(notCopied{err})
	}
	return true, nil
}

func (r *rooted) AbortMultipartUpload(ctx context.Context, in *s3.AbortMultipartUploadInput) error {
	c := *in
	c.Bucket = r.ptr(in.Bucket)
	return named(r.be.AbortMultipartUpload(ctx, &c))
}

func (r *rooted) ListParts(ctx context.Context, in *s3.ListPartsInput) (s3response.ListPartsResult, error) {
	c := *in
	c.Bucket = r.ptr(in.Bucket)
	out, err := r.be.ListParts(ctx, &c)
	out.Bucket = *in.Bucket
	return out, named(err)
}

func (r *rooted) UploadPart(ctx context.Context, in *s3.UploadPartInput) (*s3.UploadPartOutput, error) {
	c := *in
	c.Bucket = r.ptr(in.Bucket)
	out, err := r.be.UploadPart(ctx, &c)
	return out, named(err)
}

func (r *rooted) PutObject(ctx context.Context, in s3response.PutObjectInput) (s3response.PutObjectOutput, error) {
	in.Bucket = r.ptr(in.Bucket)
	out, err := r.be.PutObject(ctx, in)
	return out, named(err)
}

func (r *rooted) HeadObject(ctx context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
	c := *in
	c.Bucket = r.ptr(in.Bucket)
	out, err := r.be.HeadObject(ctx, &c)
	return out, named(err)
}

func (r *rooted) GetObject(ctx context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
	c := *in
	c.Bucket = r.ptr(in.Bucket)
	out, err := r.be.GetObject(ctx, &c)
	return out, named(err)
}

func (r *rooted) ListObjects(ctx context.Context, in *s3.ListObjectsInput) (s3response.ListObjectsResult, error) {
	c := *in
	c.Bucket = r.ptr(in.Bucket)
	out, err := r.be.ListObjects(ctx, &c)
	out.Name = in.Bucket
	return out, named(err)
}

func (r *rooted) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input) (s3response.ListObjectsV2Result, error) {
	c := *in
	c.Bucket = r.ptr(in.Bucket)
	out, err := r.be.ListObjectsV2(ctx, &c)
	out.Name = in.Bucket
	return out, named(err)
}

func (r *rooted) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput) (*s3.DeleteObjectOutput, error) {
	c := *in
	c.Bucket = r.ptr(in.Bucket)
	out, err := r.be.DeleteObject(ctx, &c)
	return out, named(err)
}

func (r *rooted) DeleteObjects(ctx context.Context, in *s3.DeleteObjectsInput) (s3response.DeleteResult, error) {
	c := *in
	c.Bucket = r.ptr(in.Bucket)
	out, err := r.be.DeleteObjects(ctx, &c)
	return out, named(err)
}
