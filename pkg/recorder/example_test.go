package recorder_test

import (
	"context"
	"errors"
	"image"
	"io"
	"log/slog"
	"time"

	"github.com/tapedeck-io/tapedeck/pkg/bus"
	"github.com/tapedeck-io/tapedeck/pkg/events"
	"github.com/tapedeck-io/tapedeck/pkg/recorder"
)

// A shell is what an SSH gateway has of one session on one of its channels.
type shell struct {
	User, Login, Remote string
	Columns, Rows       int
	Output              io.Reader        // of the pseudo-terminal
	Client              io.Writer        // the channel
	WindowChanges       <-chan [2]int    // columns and rows
	Hangup              func(why string) // ends the shell
}

// An SSH gateway makes one Recorder when it starts, and a Session for each
// shell. It shows the client nothing that was not accepted for the recording,
// and hangs up when a recording cannot go on.
func Example_sshGateway() {
	serve := func(ctx context.Context, shells <-chan *shell) error {
		conn, err := bus.Connect(ctx, bus.Options{URL: []string{"nats://127.0.0.1:4222"}}, slog.Default())
		if err != nil {
			return err
		}
		defer conn.Close()
		layout, err := bus.Inspect(ctx, conn)
		if err != nil {
			return err
		}
		rec, err := recorder.New(conn, layout, recorder.Options{Node: "gateway-1", Cluster: "example", Logger: slog.Default()})
		if err != nil {
			return err
		}
		for sh := range shells {
			go func() {
				if err := record(ctx, rec, sh); err != nil {
					slog.Error("session is not recorded whole", "user", sh.User, "err", err)
				}
			}()
		}
		// What is still open goes on in the gateway's next process, with Resume.
		ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer stop()
		return rec.Close(ctx)
	}
	_ = serve
}

func record(ctx context.Context, rec *recorder.Recorder, sh *shell) error {
	s, err := rec.Start(ctx, recorder.Spec{
		User: sh.User, Login: sh.Login, RemoteAddr: sh.Remote, Width: sh.Columns, Height: sh.Rows,
	})
	if err != nil {
		sh.Hangup("no recording, no session")
		return err
	}
	go func() {
		for {
			select {
			case size := <-sh.WindowChanges:
				_ = s.Resize(ctx, size[0], size[1]) // Done and Err tell
			case <-s.Done():
				if err := s.Err(); err != nil {
					sh.Hangup(err.Error())
				}
				return
			}
		}
	}()
	_, err = io.Copy(sh.Client, io.TeeReader(sh.Output, s))
	if err != nil {
		err = errors.Join(err, s.Emit(ctx, &events.ClientDisconnect{Reason: err.Error()}))
	}
	return errors.Join(err, s.End(ctx))
}

// A desktop gateway records what the desktop draws as PNG rectangles, the smaller
// the better, and where the pointer is.
func Example_desktopGateway() {
	type update struct {
		At  image.Point
		PNG []byte
	}
	serve := func(ctx context.Context, rec *recorder.Recorder, width, height int, updates <-chan update) error {
		s, err := rec.Start(ctx, recorder.Spec{User: "joe", Login: "administrator",
			Desktop: &recorder.Desktop{Name: "accounts-pc", Addr: "10.0.0.7:3389", Domain: "EXAMPLE"}})
		if err != nil {
			return err
		}
		if err := s.ScreenSize(ctx, width, height); err != nil {
			return err
		}
		for u := range updates {
			if err := s.Draw(ctx, u.At, u.PNG); err != nil {
				return err
			}
		}
		return s.End(ctx)
	}
	_ = serve
}
