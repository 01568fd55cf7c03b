package embed

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/s3response"
)

// ListMultipartUploads does the paging itself. The posix backend leaves out
// what is at or before the marker and then misses the marker in what is left,
// so that it refuses every request for a second page.
func (r *rooted) ListMultipartUploads(ctx context.Context, in *s3.ListMultipartUploadsInput) (s3response.ListMultipartUploadsResult, error) {
	c := *in
	c.Bucket = r.ptr(in.Bucket)
	c.KeyMarker, c.UploadIdMarker, c.MaxUploads = nil, nil, aws.Int32(math.MaxInt32)
	out, err := r.be.ListMultipartUploads(ctx, &c)
	if err != nil {
		return out, named(err)
	}
	out.Bucket = *in.Bucket
	out.KeyMarker, out.UploadIDMarker, out.MaxUploads = aws.ToString(in.KeyMarker), aws.ToString(in.UploadIdMarker), 1000
	if in.MaxUploads != nil {
		out.MaxUploads = int(*in.MaxUploads)
	}
	pageUploads(&out)
	return out, nil
}

// pageUploads cuts the page out of all uploads: those after the marker, and no
// more than may be in it. Uploads of one key are in order of their ids, so that
// a marker whose upload has ended meanwhile still says where to go on.
func pageUploads(out *s3response.ListMultipartUploadsResult) {
	slices.SortFunc(out.Uploads, func(a, b s3response.Upload) int {
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		return strings.Compare(a.UploadID, b.UploadID)
	})
	if out.KeyMarker != "" {
		out.Uploads = slices.DeleteFunc(out.Uploads, func(u s3response.Upload) bool {
			if u.Key != out.KeyMarker {
				return u.Key < out.KeyMarker
			}
			return out.UploadIDMarker == "" || u.UploadID <= out.UploadIDMarker
		})
	}
	out.IsTruncated, out.NextKeyMarker, out.NextUploadIDMarker = false, "", ""
	if n := out.MaxUploads; n > 0 && len(out.Uploads) > n {
		out.Uploads = out.Uploads[:n]
		last := out.Uploads[n-1]
		out.IsTruncated, out.NextKeyMarker, out.NextUploadIDMarker = true, last.Key, last.UploadID
	}
}
