// Demo records a scripted session every few seconds with the producer that lies
// beside it, until it is told to stop. It is its own script: an image FROM scratch
// has no shell to record.
//
// The pause comes from DEMO_EVERY, the length of a session from DEMO_LINES.
package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "session" {
		session()
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	every, err := time.ParseDuration(env("DEMO_EVERY", "5s"))
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: DEMO_EVERY: %v\n", err)
		os.Exit(2)
	}
	for ctx.Err() == nil {
		// Not CommandContext: a session that has begun is recorded to its end.
		cmd := exec.Command("/producer", "record", "--pty", "always", "--print-session", "--", "/app", "session")
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Run(); err != nil {
			fmt.Fprintf(os.Stderr, "demo: a session was not recorded: %v\n", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(every):
		}
	}
}

// session is what is recorded.
func session() {
	lines, err := strconv.Atoi(env("DEMO_LINES", "40"))
	if err != nil {
		fmt.Printf("DEMO_LINES: %v\n", err)
		os.Exit(2)
	}
	const prompt = "\033[1;32mdemo@tapedeck\033[0m:~$ "
	fmt.Print(prompt)
	for _, key := range "uptime; watch-the-tape" {
		fmt.Print(string(key))
		pause(60)
	}
	fmt.Printf("\n %s  up  1 session, 日本語 🎛\n", time.Now().UTC().Format(time.TimeOnly))
	for i := range lines {
		fmt.Printf("\033[3%dm%4d\033[0m  the tape runs\n", 1+i%6, i+1)
		pause(50)
	}
	fmt.Print(prompt + "exit\n")
}

// pause waits about so many milliseconds.
func pause(ms int) { time.Sleep(time.Duration(rand.IntN(2*ms)) * time.Millisecond) }

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
