package embed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"

	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

// s3Ready bounds how long the gateway may take to answer.
const s3Ready = 30 * time.Second

// An S3Config says how to run an S3 gateway.
type S3Config struct {
	Dir  string // buckets are directories in its "buckets"; made if it is not there
	Host string // default 127.0.0.1
	Port int    // 0: any free one

	AccessKey string // both empty: random ones
	SecretKey string
	Bucket    string // made if it is not there; default "tapedeck"

	Log *slog.Logger // nil: nothing is logged
}

// S3 is an S3 gateway that runs in this process.
type S3 struct {
	cfg     S3Config
	dir     string
	sidecar bool
	stop    context.CancelFunc
	done    chan struct{} // closed when the gateway has ended
	err     error         // why, once done is closed
}

// StartS3 starts a gateway and returns when it has answered a signed request
// for its bucket. There can be one in a process at a time. While it starts, the
// process's working directory is another for a moment; from then on the gateway
// does not depend on it.
//
// Uploads that a gateway was completing when it was killed are put back first,
// so that they can be completed again.
func StartS3(ctx context.Context, cfg S3Config) (*S3, error) {
	s := &S3{cfg: cfg, done: make(chan struct{})}
	if err := s.start(ctx); err != nil {
		return nil, fmt.Errorf("start the S3 gateway: %w", err)
	}
	return s, nil
}

func (s *S3) start(ctx context.Context) error {
	if s.cfg.Dir == "" {
		return errors.New("no directory given")
	}
	s.cfg.Host, s.cfg.Bucket = or(s.cfg.Host, loopback), or(s.cfg.Bucket, "tapedeck")
	if s.cfg.AccessKey == "" && s.cfg.SecretKey == "" {
		s.cfg.AccessKey, s.cfg.SecretKey = "tapedeck-"+rand.Text()[:11], rand.Text()
	}
	var err error
	if s.dir, err = filepath.Abs(s.cfg.Dir); err != nil {
		return err
	}
	be, err := s.backend()
	if err != nil {
		return err
	}
	if s.cfg.Port, err = freePort(s.cfg.Host, s.cfg.Port); err != nil {
		be.Shutdown()
		return err
	}
	s.run(be)
	if err := s.await(ctx); err != nil {
		s.Stop()
		return err
	}
	return nil
}

func (s *S3) backend() (*rooted, error) {
	buckets, beside := filepath.Join(s.dir, "buckets"), filepath.Join(s.dir, "attributes")
	if err := os.MkdirAll(buckets, 0o700); err != nil {
		return nil, err
	}
	var opts posix.PosixOpts
	opts.SetNewDirPerm(0o700)
	opts.SetNewFilePerm(0o600)
	var store meta.MetadataStorer = meta.XattrMeta{}
	// Once one way, always that way: what is there cannot be read the other.
	_, err := os.Stat(beside)
	if s.sidecar = err == nil || !hasXattr(buckets); s.sidecar {
		if err := os.MkdirAll(beside, 0o700); err != nil {
			return nil, err
		}
		if store, err = newSidecar(beside); err != nil {
			return nil, err
		}
	}
	if err := restoreUploads(buckets, store); err != nil {
		return nil, err
	}
	return newRooted(buckets, attributes{store}, opts)
}

// run starts the gateway; Stop ends it.
func (s *S3) run(be *rooted) {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	root := auth.Account{Access: s.cfg.AccessKey, Secret: s.cfg.SecretKey, Role: auth.RoleAdmin}
	go func() {
		defer close(s.done)
		s.err = embedgw.RunVersityGW(ctx, be, &embedgw.Config{
			RootUserAccess:    root.Access,
			RootUserSecret:    root.Secret,
			IAMService:        onlyRoot{auth.NewIAMServiceSingle(root)},
			Ports:             []string{s.addr()},
			MaxConnections:    4096,
			MaxRequests:       1024,
			MultipartMaxParts: s3store.MaxParts,
			Quiet:             true,
			KeepAlive:         true,
			DisableACLs:       true,
		})
	}()
}

// onlyRoot knows one account. The gateway's own service for that answers for
// every other key that an administrator was not found, with the status of a
// bucket that is not there.
type onlyRoot struct{ auth.IAMService }

func (o onlyRoot) GetUserAccount(access string) (auth.Account, error) {
	a, err := o.IAMService.GetUserAccount(access)
	if err != nil {
		return a, auth.ErrNoSuchUser
	}
	return a, nil
}

// await returns when a signed request has been answered.
func (s *S3) await(ctx context.Context) error {
	opt := s.Options()
	opt.Attempts = 1 // the loop below asks again
	store, err := s3store.Open(ctx, opt, s.cfg.Log)
	if err != nil {
		return err
	}
	defer func() { _ = store.Close() }()
	ctx, cancel := context.WithTimeout(ctx, s3Ready)
	defer cancel()
	for {
		err := store.EnsureBucket(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			if s.err != nil {
				return s.err
			}
			return errors.New("it ended by itself")
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *S3) addr() string { return net.JoinHostPort(s.cfg.Host, strconv.Itoa(s.cfg.Port)) }

// Endpoint is the gateway's URL.
func (s *S3) Endpoint() string { return "http://" + s.addr() }

// Port is the port that the gateway listens on.
func (s *S3) Port() int { return s.cfg.Port }

// Options reach the gateway's bucket, and sync what is written to it.
func (s *S3) Options() s3store.Options {
	return s3store.Options{
		Endpoint:  s.Endpoint(),
		Region:    "us-east-1",
		PathStyle: true,
		Bucket:    s.cfg.Bucket,
		AccessKey: s.cfg.AccessKey,
		SecretKey: s.cfg.SecretKey,
		SyncDir:   s.dir,
	}
}

// Done is closed when the gateway has ended, by Stop or by itself.
func (s *S3) Done() <-chan struct{} { return s.done }

// Stop lets requests that are under way finish for a few seconds, stops the
// gateway and returns when it has stopped.
func (s *S3) Stop() {
	s.stop()
	<-s.done
}

// freePort returns port, or a free one for 0. That it is still free when it is
// used is likely and no more.
func freePort(host string, port int) (int, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}
