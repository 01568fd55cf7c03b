// Package accessproxy forwards TCP connections and UDP packets to one target,
// and tells through pkg/accesslog who came: each connection, and each UDP source
// until it falls silent, is an access session.
//
// What a session counts is what passed between the proxy and the source. A
// connection is half-closed as its sides half-close it. When the proxy stops,
// sessions that are open end with reason shutdown, and then their connections.
package accessproxy
