package slicer

import (
	"errors"
	"fmt"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/slicefmt"
)

// Config is everything that can be set about a slicer. The defaults are in the
// tags; [DefaultConfig] has them too.
type Config struct {
	Member string `name:"member" env:"TAPEDECK_MEMBER" help:"Name of this slicer among the others; must be unique. Default: host name, process id and a random number."`

	PartSize    int64 `name:"part-size" default:"5242880" help:"Compressed bytes of a session's first part. S3 takes no less than 5 MiB (5242880), and memory holds a few parts a session that is uploading."`
	PartSizeMax int64 `name:"part-size-max" default:"67108864" help:"Compressed bytes that parts grow to with their number (at 800), so that 10,000 parts hold about 600 GiB."`

	IdleCheckpoint time.Duration `name:"idle-checkpoint" default:"1m" help:"Without events for this long, a session's unfinished slice is checkpointed on the bus. Shorter: less is read again after a crash; longer: fewer writes."`
	Holdback       time.Duration `name:"holdback" default:"2m" help:"How long a session's oldest event may wait for its part before it is checkpointed all the same, so that the cursor moves on."`
	AbandonAfter   time.Duration `name:"abandon-after" default:"1h" help:"A session that has been silent for this long by the bus's clock is abandoned and its recording finished. Producers send alive messages every 10 min."`
	AbandonEnd     time.Duration `name:"abandon-after-end" default:"5m" help:"The same for a session that has sent its session.end event but no end message."`
	KeepTime       time.Duration `name:"keep-time" default:"72h" help:"How long events stay on the bus after they are in S3, for replay and follow. Less is kept when the stream runs out of room."`
	TrimStep       int           `name:"trim-step" default:"5000" help:"Messages that one step of trimming deletes at least. Large steps stall publishing."`
	TrimEvery      time.Duration `name:"trim-every" default:"500ms" help:"Pause between two steps of trimming."`
	TrimFull       int           `name:"trim-full" default:"80" help:"Percent of a stream's max_bytes from where events are trimmed as soon as they are in S3."`

	MemoryBudget      int64 `name:"memory-budget" default:"536870912" help:"Bytes that slices, parts on their way and waiting messages may take, over all partitions. Over it the coldest sessions are let go, and if that does not help reading stops."`
	CheckpointBudget  int64 `name:"checkpoint-budget" default:"268435456" help:"Bytes of checkpoints that may lie on the bus while S3 does not answer. Over it reading stops: the events are safe where they are."`
	UploadsPerSession int   `name:"uploads-per-session" default:"4" help:"Parts of one session on their way at once (1 to 16). Each takeover of a session skips as many part numbers."`
	Uploads           int   `name:"uploads" default:"16" help:"Parts on their way at once, over all sessions."`

	UploadTimeout time.Duration `name:"upload-timeout" default:"5m" help:"After this long a try to upload is given up and the next begins."`
	RetryMax      time.Duration `name:"retry-max" default:"15s" help:"Longest pause between two tries to upload. There is no last try."`
	ParkAfter     time.Duration `name:"park-after" default:"30s" help:"A session whose parts S3 refuses for this long no longer holds up the others: it is set aside and read again when its parts go through."`

	CursorEvery  time.Duration `name:"cursor-every" default:"1s" help:"How often the cursor is written at most."`
	DrainTimeout time.Duration `name:"drain-timeout" default:"8s" help:"How long a graceful stop may take to finish uploads and write checkpoints. What is not done by then, the next owner does."`
	HungAfter    time.Duration `name:"hung-after" default:"10s" help:"A partition whose owner has moved neither cursor nor lease for this long, with events waiting, is taken over."`

	AcceptStream []int `name:"accept-stream" sep:"," help:"Partitions whose stream was recreated or restored and is to be read from its first message, as the operator has decided. Not for good: take it out again after one start."`
}

// DefaultConfig is the Config that no flag has changed.
func DefaultConfig() Config {
	return Config{
		PartSize: slicefmt.MinPartSize, PartSizeMax: 64 << 20,
		IdleCheckpoint: time.Minute, Holdback: 2 * time.Minute,
		AbandonAfter: time.Hour, AbandonEnd: 5 * time.Minute,
		KeepTime: 72 * time.Hour, TrimStep: 5000, TrimEvery: 500 * time.Millisecond, TrimFull: 80,
		MemoryBudget: 512 << 20, CheckpointBudget: 256 << 20, UploadsPerSession: 4, Uploads: 16,
		UploadTimeout: 5 * time.Minute, RetryMax: 15 * time.Second, ParkAfter: 30 * time.Second,
		CursorEvery: time.Second, DrainTimeout: 8 * time.Second, HungAfter: 10 * time.Second,
	}
}

// Validate says everything that is wrong with c at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	bad(c.PartSize < slicefmt.MinPartSize, "part-size %d is below %d, the least that S3 takes", c.PartSize, slicefmt.MinPartSize)
	bad(c.PartSizeMax < c.PartSize, "part-size-max %d is below part-size %d", c.PartSizeMax, c.PartSize)
	bad(c.PartSizeMax > 1<<30, "part-size-max %d is over 1 GiB", c.PartSizeMax)
	bad(c.UploadsPerSession < 1 || c.UploadsPerSession > 16, "uploads-per-session %d is not 1 to 16", c.UploadsPerSession)
	bad(c.Uploads < 1, "uploads %d is not positive", c.Uploads)
	bad(c.TrimStep < 1, "trim-step %d is not positive", c.TrimStep)
	bad(c.TrimFull < 1 || c.TrimFull > 100, "trim-full %d is not 1 to 100 percent", c.TrimFull)
	bad(c.MemoryBudget < 1<<20, "memory-budget %d is below 1 MiB", c.MemoryBudget)
	bad(c.CheckpointBudget < 0, "checkpoint-budget %d is negative", c.CheckpointBudget)
	bad(c.KeepTime < 0, "keep-time %v is negative", c.KeepTime)
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"idle-checkpoint", c.IdleCheckpoint}, {"holdback", c.Holdback}, {"abandon-after", c.AbandonAfter},
		{"abandon-after-end", c.AbandonEnd}, {"trim-every", c.TrimEvery}, {"upload-timeout", c.UploadTimeout},
		{"retry-max", c.RetryMax}, {"park-after", c.ParkAfter}, {"cursor-every", c.CursorEvery},
		{"drain-timeout", c.DrainTimeout}, {"hung-after", c.HungAfter},
	} {
		bad(d.v <= 0, "%s %v is not positive", d.name, d.v)
	}
	return errors.Join(errs...)
}

// rampParts is the number at which parts have grown to their full size.
const rampParts = 800

// maxPartNumber is S3's limit.
const maxPartNumber = 10_000

// uploadsFrom is how many parts of a session may be on their way at once when its
// numbers have come to base: fewer as they run out, since the next owner skips as
// many.
func (c Config) uploadsFrom(base int) int {
	switch {
	case base > maxPartNumber*8/10:
		return 1
	case base > maxPartNumber/2:
		return min(c.UploadsPerSession, 2)
	}
	return c.UploadsPerSession
}

// uploadHolds is about how many bytes of a recording an upload has numbers for.
func (c Config) uploadHolds() int64 {
	return rampParts*(c.PartSize+c.PartSizeMax)/2 + (maxPartNumber-rampParts)*c.PartSizeMax
}

// partTarget is the compressed bytes at which the slice that will be part n is
// closed.
func (c Config) partTarget(n int) int64 {
	grown := min(max(n-1, 0), rampParts)
	return c.PartSize + (c.PartSizeMax-c.PartSize)*int64(grown)/rampParts
}
