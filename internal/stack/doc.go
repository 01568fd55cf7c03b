// Package stack runs all of Tapedeck in one process over one data directory:
// the bus, the object store, a slicer and a completer.
//
// # The directory
//
//	lock               held while it runs; says by whom
//	installation.json  credentials and ports; made once, kept
//	connect.json       how to reach it; there while it runs
//	nats/              JetStream's streams
//	s3/buckets/        the recordings, as plain files
//	web/               tokens of the page, and its list of sessions, which can be made again
//
// # Stops and crashes
//
// A stop lets the services finish first, then takes the object store away and
// the bus last, since each needs what comes after it. A kill costs nothing that
// was acknowledged: whoever starts on the directory next finds the lock free and
// reads the streams as the servers recover them; there is no other clean-up. It
// comes up on the same ports, so that producers that were running connect again.
package stack
