package accessrecv

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tapedeck-io/tapedeck/pkg/accesslog"
)

// TestMain is the receiver's process too.
func TestMain(m *testing.M) {
	if os.Getenv("ACCESSRECV_DB") == "" {
		os.Exit(m.Run())
	}
	go func() { // it does not outlive the test
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	c := Command{DB: os.Getenv("ACCESSRECV_DB"), Listen: os.Getenv("ACCESSRECV_LISTEN")}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	err := c.Run(context.Background(), Deps{Logger: log, Ready: func(url string) { fmt.Println(url) }})
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// A process is a receiver that can be killed.
type process struct {
	cmd *exec.Cmd
	url string
}

func startProcess(t *testing.T, db, listen string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ACCESSRECV_DB="+db, "ACCESSRECV_LISTEN="+listen)
	cmd.Stderr = os.Stderr
	_, err := cmd.StdinPipe() // open until the test is over
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd}
	t.Cleanup(p.kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the receiver did not start: %v", err)
	}
	p.url = strings.TrimSpace(line)
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have been killed
	_ = p.cmd.Wait()
}

// peak is the most memory that the process has had.
func (p *process) peak(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// delivery is all batches of a test, and how they are sent.
type delivery struct {
	addr     string
	batches  [][]accesslog.Record
	tries    atomic.Int64
	repeated atomic.Int64
}

// newDelivery spreads the records of sessions over batches, out of order, some of
// them twice.
func newDelivery(sessions int, addr string) *delivery {
	var recs []accesslog.Record
	for n := range sessions {
		recs = append(recs, rec(n, accesslog.KindStart, 0), rec(n, accesslog.KindAlive, 1), rec(n, accesslog.KindAlive, 2), rec(n, accesslog.KindEnd, 3))
		if n%3 == 0 {
			recs = append(recs, rec(n, accesslog.KindEnd, 3), rec(n, accesslog.KindAlive, 1))
		}
		if n%5 == 0 {
			recs = append(recs, fieldRec(n))
		}
	}
	rand.Shuffle(len(recs), func(i, j int) { recs[i], recs[j] = recs[j], recs[i] })
	d := &delivery{addr: addr}
	for len(recs) > 0 {
		n := min(1+rand.IntN(100), len(recs))
		d.batches, recs = append(d.batches, recs[:n]), recs[n:]
	}
	return d
}

// run sends every batch until it is acknowledged, and then some once more.
func (d *delivery) run(t *testing.T, senders int) {
	var wg sync.WaitGroup
	next := make(chan int, len(d.batches))
	for i := range d.batches {
		next <- i
	}
	close(next)
	for s := range senders {
		wg.Go(func() {
			for i := range next {
				for d.attempt(t, i, s%4 == 3) != nil && t.Context().Err() == nil {
					d.tries.Add(1)
					time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
				}
				if i%10 == 0 && d.attempt(t, i, false) != nil {
					d.tries.Add(1) // it was acknowledged before
				}
			}
		})
	}
	wg.Wait()
}

// attempt sends a batch. Now and then it is gone before the answer comes.
func (d *delivery) attempt(t *testing.T, i int, overWebsocket bool) error {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if rand.IntN(4) == 0 {
		lost := time.AfterFunc(time.Duration(rand.IntN(8000))*time.Microsecond, cancel)
		defer lost.Stop()
	}
	body := plain(t, d.batches[i]...)
	var a Answer
	var err error
	if overWebsocket {
		a, err = d.overWebsocket(ctx, envelope(t, d.batches[i]...))
	} else {
		a, err = post(ctx, http.DefaultClient, "http://"+d.addr+"/access", body, accesslog.HeaderBatch, fmt.Sprintf("b-%d", i))
	}
	if err == nil && a.Status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", a.Status, a.Error)
		if a.Status != http.StatusServiceUnavailable {
			t.Error(err)
		}
	}
	if a.Repeated {
		d.repeated.Add(1)
	}
	return err
}

func (d *delivery) overWebsocket(ctx context.Context, body []byte) (Answer, error) {
	c, _, err := websocket.Dial(ctx, "ws://"+d.addr+"/access", nil) //nolint:bodyclose // the library's documentation: never
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = c.CloseNow() }()
	if err := c.Write(ctx, websocket.MessageText, body); err != nil {
		return Answer{}, err
	}
	_, b, err := c.Read(ctx)
	if err != nil {
		return Answer{}, err
	}
	if !strings.Contains(string(b), `"status":200`) {
		return Answer{}, fmt.Errorf("answer %s", b)
	}
	return Answer{Status: http.StatusOK, Repeated: strings.Contains(string(b), `"repeated":true`)}, nil
}

func TestKilledAtRandomUnderLoadItLosesAndDoublesNothing(t *testing.T) {
	const all = 3_000
	db := filepath.Join(t.TempDir(), "access.db")
	l, err := net.Listen("tcp", "127.0.0.1:0") // a port to come back to
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	d := newDelivery(all, addr)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		d.run(t, 8)
	}()
	kills := 0
	for done := false; !done; {
		p := startProcess(t, db, addr)
		var kill <-chan time.Time
		if kills < 15 { // a slow machine has to get there too
			kill = time.After(time.Duration(10+rand.IntN(90)) * time.Millisecond)
		}
		select {
		case <-sent:
			done = true
		case <-kill:
			kills++
		}
		p.kill()
	}
	checkAll(t, db, all)
	t.Logf("%d batches, %d kills, %d tries failed, %d batches came again", len(d.batches), kills, d.tries.Load(), d.repeated.Load())
	if kills < 2 || d.tries.Load() == 0 || d.repeated.Load() == 0 {
		t.Error("it was too quiet to say anything")
	}
}

// checkAll checks that each of n sessions is one row that says what its end said.
func checkAll(t *testing.T, db string, n int) {
	t.Helper()
	s, err := Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var health string
	if err := s.read.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&health); err != nil || health != "ok" {
		t.Fatalf("the file: %s, %v", health, err)
	}
	seen := map[string]bool{}
	for _, got := range sessions(t, s, Filter{}) {
		i, err := strconv.ParseInt(got.SessionID, 16, 64)
		if err != nil || seen[got.SessionID] {
			t.Fatalf("session %q twice or none of ours, %v", got.SessionID, err)
		}
		seen[got.SessionID] = true
		want := normal(rec(int(i), accesslog.KindEnd, 3))
		want.ConnectionCount = 1
		if got.Record != want || got.State != Ended {
			t.Fatalf("session %s: %+v, want %+v", got.SessionID, got.Record, want)
		}
	}
	if len(seen) != n {
		t.Fatalf("%d sessions, want %d", len(seen), n)
	}
}
