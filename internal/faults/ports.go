package faults

import (
	"net"
	"sync"
)

// promised are the ports that servers of this process's rigs listen on, or will: they
// are processes, and take a moment. Whoever listens on any port must not be given one of
// them meanwhile, least of all a link that is to lead there: it would lead to itself,
// with one more connection for each, until the process has no files left.
var promised sync.Map

// listen listens on any port that is promised to nobody.
func listen() (net.Listener, error) {
	for {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		if _, taken := promised.Load(portOf(ln)); !taken {
			return ln, nil
		}
		defer ln.Close() // held until another port is found
	}
}

// freePorts are ports that nobody listens on now. They are promised to the caller.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		ln, err := listen()
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		promised.Store(portOf(ln), true)
		ports = append(ports, portOf(ln))
	}
	return ports, nil
}

func portOf(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }
