package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/tapedeck-io/tapedeck/internal/stack"
	"github.com/tapedeck-io/tapedeck/internal/version"
	"github.com/tapedeck-io/tapedeck/loadtest/internal/load"
	"github.com/tapedeck-io/tapedeck/loadtest/internal/mix"
	"github.com/tapedeck-io/tapedeck/loadtest/internal/report"
	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/s3store"
)

const description = `Puts load on an installation and checks what comes of it: sessions are published, every recording is read back and
compared with what was sent, event for event, and the figures are reported.

Without --dir or --nats-url it runs an installation of its own in a temporary directory, each service in a process of its
own. Anything but this machine must be named with --allow-host as well.

Exit status: 0 nothing lost, doubled, disordered or changed, and within the threshold of --compare; 1 otherwise; 2 wrong
usage.`

// Exit statuses.
const (
	exitPassed = 0
	exitFailed = 1
	exitUsage  = 2
)

type command struct {
	Preset string `help:"Load by name, which the flags below change: ${presets}." enum:"${presetEnum}" default:"small"`

	Sessions int           `help:"Sessions at once." group:"Load"`
	Mix      string        `help:"Kinds of sessions and their weights: typing=60,flood=5,desktop=5,idle=20,exec=10. Also: uniform, events of 300 bytes." group:"Load"`
	Rate     string        `help:"Events a second over all sessions; 'natural' for what each kind does by itself, 'max' for as fast as it goes." group:"Load"`
	Duration time.Duration `help:"How long to publish." group:"Load"`
	Events   int64         `help:"Stop after so many events; with it, --duration is only a limit." group:"Load"`
	Ramp     time.Duration `help:"Begin sessions one after another over this long." group:"Load"`
	Length   time.Duration `help:"How long a session lasts until the next takes its place. Default: all of the test (exec sessions are short by themselves)." group:"Load"`
	End      float64       `help:"Share of the sessions open at the end that are ended, 0 to 1; the others stay open and are not read back." group:"Load"`
	EndOver  time.Duration `help:"End these one after another over this long. Default: all at once, which is a burst of ends." group:"Load"`
	Follow   int           `help:"Sessions that are also followed live." group:"Load"`
	Seed     uint64        `help:"Seed of what sessions say: the same seed, the same bytes." group:"Load" default:"1"`

	Sample float64       `help:"Share of the finished recordings that are read back, 0 to 1." group:"Checks" default:"1"`
	Wait   time.Duration `help:"How long the last recording may take to be finished after the end." group:"Checks" default:"5m"`

	Scale []int  `help:"Run with each of these numbers of sessions, each on a fresh installation of its own, and say how cost grows: 100,1000,10000." placeholder:"N,…" group:"Report"`
	SVG   string `name:"svg" help:"Draw what --scale finds." type:"path" placeholder:"FILE" group:"Report"`

	JSON      string  `name:"json" help:"Write the report as JSON." type:"path" placeholder:"FILE" group:"Report"`
	HTML      string  `name:"html" help:"Write the report as one HTML page." type:"path" placeholder:"FILE" group:"Report"`
	Compare   string  `help:"Compare with the JSON of an earlier run, and fail if a figure is worse by more than --threshold." type:"existingfile" placeholder:"OLD.json" group:"Report"`
	Threshold float64 `help:"In percent." default:"10" group:"Report"`

	Connections int             `help:"Connections to publish over." default:"2" group:"Target"`
	Dir         string          `help:"Use the 'tapedeck up' that runs over this directory." type:"path" placeholder:"DIR" env:"" group:"Target"`
	PID         map[string]int  `name:"pid" help:"Process of a service on this machine, to measure: NAME=PID." group:"Target"`
	AllowHost   []string        `help:"A host that load may be put on, as the URL names it. This machine needs none." placeholder:"HOST" group:"Target"`
	NATS        bus.Options     `embed:"" group:"NATS, to use an installation that runs"`
	S3          s3store.Options `embed:"" group:"S3, to use an installation that runs"`

	WorkDir string     `help:"Directory for the installation of one's own; kept. Default: a temporary one, removed." type:"path" placeholder:"DIR" group:"Installation of its own"`
	NoSync  bool       `help:"The bus acknowledges before it syncs to disk, which is the server's default." group:"Installation of its own"`
	Layout  bus.Layout `embed:"" group:"Installation of its own"`

	LogLevel slog.Level       `default:"warn" help:"What to log: debug, info, warn or error."`
	Version  kong.VersionFlag `help:"Print the version and end."`

	mix  mix.Mix
	rate float64
	drop func(session uint64, index int64) bool // see load.Config
}

// maxSessions is how many sessions there may be at once.
const maxSessions = 1_000_000

// A preset is what the zero flags mean.
type preset struct {
	name, what string
	command
}

var presets = []preset{
	{"small", "20 sessions of all kinds, 10 s", command{Sessions: 20, Mix: "typing=40,flood=10,desktop=10,idle=10,exec=30", Rate: "natural", Duration: 10 * time.Second, Follow: 4, End: 1}},
	{"laptop", "200 sessions of all kinds, 1 min", command{Sessions: 200, Mix: "typing=60,flood=10,desktop=10,idle=15,exec=5", Rate: "natural", Duration: time.Minute, Ramp: 5 * time.Second, Follow: 10, End: 1}},
	{"idle-100k", "100,000 sessions with an event a minute each", command{Sessions: 100_000, Mix: "idle=1", Rate: "natural", Duration: 5 * time.Minute, Ramp: 2 * time.Minute, End: 0.005}},
	{"desktop", "20 remote desktops, 1 min", command{Sessions: 20, Mix: "desktop=1", Rate: "natural", Duration: time.Minute, Ramp: 2 * time.Second, Follow: 5, End: 1}},
	{"soak", "500 sessions of all kinds for 8 h, 30 min each", command{Sessions: 500, Mix: "typing=50,flood=2,desktop=3,idle=35,exec=10", Rate: "natural", Duration: 8 * time.Hour, Ramp: time.Minute, Length: 30 * time.Minute, Follow: 10, End: 1}},
}

func presetByName(name string) preset {
	return presets[slices.IndexFunc(presets, func(p preset) bool { return p.name == name })]
}

// fill sets what no flag has said from the preset.
func (c *command) fill() {
	p := presetByName(c.Preset).command
	c.Sessions = or(c.Sessions, p.Sessions)
	c.Mix = or(c.Mix, p.Mix)
	c.Rate = or(c.Rate, p.Rate)
	if c.Events == 0 {
		c.Duration = or(c.Duration, p.Duration)
	}
	c.Ramp = or(c.Ramp, p.Ramp)
	c.Length = or(c.Length, p.Length)
	c.Follow = or(c.Follow, p.Follow)
	c.End = or(c.End, p.End)
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Validate is called by kong: what is wrong here is wrong usage.
func (c *command) Validate() error {
	c.fill()
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	var err error
	if c.mix, err = mix.Parse(c.Mix); err != nil {
		errs = append(errs, fmt.Errorf("--mix: %w", err))
	}
	if c.rate, err = parseRate(c.Rate); err != nil {
		errs = append(errs, err)
	}
	bad(c.Sessions < 1 || c.Sessions > maxSessions, "--sessions %d: not 1 to %d", c.Sessions, maxSessions)
	bad(c.Duration < 0 || c.Ramp < 0 || c.Length < 0 || c.EndOver < 0 || c.Wait < 0, "--duration, --ramp, --length, --end-over and --wait: not below 0")
	bad(c.Events < 0, "--events %d: below 0", c.Events)
	bad(c.Sample < 0 || c.Sample > 1, "--sample %v: not 0 to 1", c.Sample)
	bad(c.End < 0 || c.End > 1, "--end %v: not 0 to 1", c.End)
	bad(c.Follow < 0, "--follow %d: below 0", c.Follow)
	bad(c.Threshold < 0, "--threshold %v: below 0", c.Threshold)
	bad(c.Connections < 1 || c.Connections > 1000, "--connections %d: not 1 to 1000", c.Connections)
	bad(c.Dir != "" && c.named(), "--dir and --nats-url or --s3-bucket: two targets")
	bad(c.named() && c.S3.Bucket == "", "--nats-url without --s3-bucket: where are the recordings?")
	errs = append(errs, c.Layout.Validate(), c.allowed(), c.scalable())
	return errors.Join(errs...)
}

func parseRate(s string) (float64, error) {
	switch s {
	case "natural":
		return 0, nil
	case "max":
		return load.Flat, nil
	}
	r, err := strconv.ParseFloat(s, 64)
	if err != nil || !(r > 0) {
		return 0, fmt.Errorf("--rate %q: not natural, max or events a second", s)
	}
	return r, nil
}

// defaultNATS is what bus.Options has when nobody said anything.
var defaultNATS = []string{"nats://127.0.0.1:4222"}

// named says whether the flags name an installation that runs.
func (c *command) named() bool { return c.S3.Bucket != "" || !slices.Equal(c.NATS.URL, defaultNATS) }

// target fills in where the installation is; own says that it is to be started.
func (c *command) target() (own bool, err error) {
	if c.Dir == "" {
		return !c.named(), nil
	}
	running, err := stack.ReadConnect(c.Dir)
	if err != nil {
		return false, err
	}
	c.NATS, c.S3 = running.Bus(), running.Store()
	if len(c.PID) == 0 {
		c.PID = map[string]int{"tapedeck up": running.PID}
	}
	return false, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return runCommand(ctx, &command{}, args, stdout, stderr)
}

func runCommand(ctx context.Context, c *command, args []string, stdout, stderr io.Writer) int {
	var lines, names []string
	for _, p := range presets {
		names = append(names, p.name)
		lines = append(lines, p.name+" ("+p.what+")")
	}
	exited := -1
	parser, err := kong.New(c, kong.Name("loadtest"), kong.Description(description),
		kong.Vars{"version": version.Line("loadtest"), "presets": strings.Join(lines, ", "), "presetEnum": strings.Join(names, ",")},
		kong.Writers(stdout, stderr), kong.Exit(func(status int) { exited = status }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 120}))
	if err == nil {
		_, err = parser.Parse(args)
	}
	if exited >= 0 {
		return exited
	}
	if err != nil {
		fmt.Fprintf(stderr, "loadtest: %s (see: loadtest --help)\n", strings.ReplaceAll(err.Error(), "\n", "; "))
		return exitUsage
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	var before *report.Report
	if c.Compare != "" { // before an hour of load, not after
		if before, err = report.Read(c.Compare); err != nil {
			fmt.Fprintf(stderr, "loadtest: %v\n", err)
			return exitUsage
		}
	}
	if len(c.Scale) > 0 {
		passed, err := c.scale(ctx, stdout, stderr, log)
		if err != nil {
			fmt.Fprintf(stderr, "loadtest: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
		if err != nil || !passed {
			return exitFailed
		}
		return exitPassed
	}
	rep, err := measure(ctx, c, stderr, log)
	if rep != nil {
		err = errors.Join(err, c.tell(rep, before, stdout))
	}
	if err != nil {
		fmt.Fprintf(stderr, "loadtest: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
		return exitFailed
	}
	if !rep.Passed {
		return exitFailed
	}
	return exitPassed
}

// tell writes the report everywhere, after the comparison has had its say.
func (c *command) tell(rep, before *report.Report, stdout io.Writer) error {
	var errs []error
	if before != nil {
		worse, err := report.WriteChanges(stdout, report.Compare(before, rep), c.Threshold)
		errs = append(errs, err)
		for _, w := range worse {
			rep.Passed = false
			rep.Reasons = append(rep.Reasons, fmt.Sprintf("%s: %.4g before, %.4g now, more than %.4g %% worse", w.Name, w.Old, w.New, c.Threshold))
		}
	}
	if c.JSON != "" {
		errs = append(errs, rep.Write(c.JSON))
	}
	if c.HTML != "" {
		errs = append(errs, rep.WritePage(c.HTML))
	}
	return errors.Join(append(errs, rep.WriteText(stdout))...)
}
