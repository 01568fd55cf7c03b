package stack

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// A reserved port is listened on until its server starts, so that another installation
// that starts at the same moment does not choose it too.
type reserved struct{ net.Listener }

func (h reserved) port() int { return h.Addr().(*net.TCPAddr).Port }

// free lets go of the port, for the server that is about to listen on it.
func (h reserved) free() {
	if h.Listener != nil {
		_ = h.Close()
	}
}

// choosePort is the port to listen on: the one asked for, else the one of last
// time, else def if it is free, else any free one. A port that was asked for or
// remembered is not exchanged for another in silence: producers know it.
func choosePort(what, flag string, asked, last, def int) (reserved, error) {
	if port := cmp.Or(asked, last); port != 0 {
		h, err := reserve(port)
		if err != nil {
			err = fmt.Errorf("listen for %s: %w", what, portAdvice(err, port, flag, asked == 0))
		}
		return h, err
	}
	h, err := reserve(def)
	if err != nil {
		h, err = reserve(0)
	}
	if err != nil {
		err = fmt.Errorf("listen for %s: %w", what, err)
	}
	return h, err
}

func reserve(port int) (reserved, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	return reserved{ln}, err
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
