package stack

import (
	"errors"
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// choosePort is the port to listen on: the one asked for, else the one of last
// time, else def if it is free, else any free one. A port that was asked for or
// remembered is not exchanged for another in silence: producers know it.
func choosePort(what, flag string, asked, last, def int) (int, error) {
	port := asked
	if port == 0 {
		port = last
	}
	if port != 0 {
		if _, err := tryPort(port); err != nil {
			return 0, fmt.Errorf("listen for %s: %w", what, portAdvice(err, port, flag, asked == 0))
		}
		return port, nil
	}
	if port, err := tryPort(def); err == nil {
		return port, nil
	}
	port, err := tryPort(0)
	if err != nil {
		return 0, fmt.Errorf("listen for %s: %w", what, err)
	}
	return port, nil
}

func tryPort(port int) (int, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

func portAdvice(err error, port int, flag string, remembered bool) error {
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		by := ""
		if who := listener(port); who != "" {
			by = " by " + who
		}
		why := ""
		if remembered {
			why = " (the one of last time, which running producers know)"
		}
		return fmt.Errorf("port %d%s is taken%s: free it, or choose another with %s", port, why, by, flag)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("port %d needs privileges: choose one above 1023 with %s", port, flag)
	}
	return err
}
