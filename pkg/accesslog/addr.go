package accesslog

import (
	"net"
	"net/netip"
	"strings"
)

// SplitAddr is the host and the port of an address in a record. The port is
// empty if there is none, as after a merge. An IPv6 host comes without brackets.
//
// The field's clients join an IPv6 address and a port with no brackets. That is
// taken apart where it can mean one thing only; 2001:db8::1:443 can be an address.
func SplitAddr(s string) (host, port string) {
	if host, port, err := net.SplitHostPort(s); err == nil {
		return host, port
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !isAddr(s) && isAddr(s[:i]) {
		return s[:i], s[i+1:]
	}
	return strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), ""
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// AddrPort is the address of a TCP or UDP peer. An IPv4 address that came over
// an IPv6 socket is an IPv4 address. It is not valid for other networks.
func AddrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	case nil:
		return ap
	default:
		ap, _ = netip.ParseAddrPort(a.String())
	}
	return unmap(ap)
}

func unmap(ap netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// formatAddr writes an address as records have it: host:port, [v6]:port.
func formatAddr(s string) string {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return unmap(ap).String()
	}
	if host, port, err := net.SplitHostPort(s); err == nil {
		return net.JoinHostPort(host, port)
	}
	return s
}
