package s3store

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
)

// CheckBucket asks whether the bucket is there and ours to use. Its error says
// what to do, and wraps [ErrNotFound], [ErrRefused] or [ErrUnreachable] if one
// of them is why.
func (s *Store) CheckBucket(ctx context.Context) error {
	_, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.opt.Bucket})
	if err == nil {
		return nil
	}
	what := fmt.Sprintf("check bucket %q at %s", s.opt.Bucket, s.where())
	switch kind := classify(err); {
	case errors.Is(kind, ErrNotFound):
		what += ": it does not exist; create it, or check the bucket's name, the endpoint and the region"
	case errors.Is(kind, ErrUnreachable):
		what += ": check the endpoint, and that the store is up and can be reached from here"
	}
	if r := bucketRegion(err); r != "" && r != s.opt.Region {
		what += fmt.Sprintf(": it is in region %s; set the region to that", r)
	}
	return wrap(err, "%s", what)
}

// EnsureBucket makes the bucket if it is not there.
func (s *Store) EnsureBucket(ctx context.Context) error {
	err := s.CheckBucket(ctx)
	if err == nil || !errors.Is(classify(err), ErrNotFound) {
		return err
	}
	in := &s3.CreateBucketInput{Bucket: &s.opt.Bucket}
	if s.opt.Region != "us-east-1" && s.opt.Endpoint == "" {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(s.opt.Region)}
	}
	before := s.writing()
	_, err = s.client.CreateBucket(ctx, in)
	var ours *types.BucketAlreadyOwnedByYou
	if errors.As(err, &ours) {
		return nil // somebody else of this installation was quicker
	}
	if err == nil {
		err = s.durable(ctx, before)
	}
	return wrap(err, "create bucket %q at %s", s.opt.Bucket, s.where())
}

// LifecycleWarnings reads the bucket's lifecycle rules and returns a line for
// each that can cost a recording: one that aborts incomplete uploads (a session
// may last longer than that), or one that expires what is under the prefix. A
// store that has no rules, or does not know the call, gives none.
func (s *Store) LifecycleWarnings(ctx context.Context) ([]string, error) {
	out, err := s.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &s.opt.Bucket})
	if err != nil {
		if lacksLifecycle(err) {
			return nil, nil
		}
		return nil, wrap(err, "read the lifecycle rules of bucket %q", s.opt.Bucket)
	}
	var warnings []string
	for _, r := range out.Rules {
		if r.Status != types.ExpirationStatusEnabled || !overlaps(rulePrefix(r), s.Key("")) {
			continue
		}
		id := aws.ToString(r.ID)
		if a := r.AbortIncompleteMultipartUpload; a != nil {
			warnings = append(warnings, fmt.Sprintf("lifecycle rule %q of bucket %q aborts uploads %d days after they began: a session open for longer loses its recording; remove the rule or keep it off this prefix", id, s.opt.Bucket, aws.ToInt32(a.DaysAfterInitiation)))
		}
		if e := r.Expiration; e != nil && (e.Days != nil || e.Date != nil) {
			warnings = append(warnings, fmt.Sprintf("lifecycle rule %q of bucket %q deletes recordings %s; remove it if that is not meant", id, s.opt.Bucket, expiry(e)))
		}
	}
	return warnings, nil
}

func expiry(e *types.LifecycleExpiration) string {
	if e.Date != nil {
		return "on " + e.Date.Format("2006-01-02")
	}
	return fmt.Sprintf("after %d days", aws.ToInt32(e.Days))
}

// rulePrefix is what the keys that a rule is for begin with. Tags and sizes
// narrow a rule further; they are left out of account, so that a warning may be
// one too many and is never one too few.
func rulePrefix(r types.LifecycleRule) string {
	if f := r.Filter; f != nil {
		if f.And != nil {
			return aws.ToString(f.And.Prefix)
		}
		return aws.ToString(f.Prefix)
	}
	return aws.ToString(r.Prefix) //nolint:staticcheck // old configurations still have it
}

// overlaps tells whether a key under our prefix can begin with p.
func overlaps(p, ours string) bool {
	return strings.HasPrefix(p, ours) || strings.HasPrefix(ours, p)
}

func lacksLifecycle(err error) bool {
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "NoSuchLifecycleConfiguration", "NotImplemented", "MethodNotAllowed", "UnsupportedOperation":
			return true
		}
	}
	return status(err) == http.StatusNotImplemented || status(err) == http.StatusMethodNotAllowed
}

// bucketRegion is the region that an answer says the bucket is in.
func bucketRegion(err error) string {
	var re *awshttp.ResponseError
	if !errors.As(err, &re) || re.Response == nil {
		return ""
	}
	return re.Response.Header.Get("X-Amz-Bucket-Region")
}

func (s *Store) where() string {
	if s.opt.Endpoint != "" {
		return s.opt.Endpoint
	}
	return "AWS region " + s.opt.Region
}
