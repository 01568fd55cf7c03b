// Package top shows an installation at work: who slices which partition and how far
// behind, how full the streams are, and what the services say of themselves.
//
// Leases, cursors and streams are read from the bus, which needs no listener anywhere.
// What only a service knows (sessions, memory, parts, uploads, refused events) comes
// from the /metrics and /healthz of the addresses that it is given. A part that does
// not answer is told of in its place, and never keeps the rest from being shown.
package top
