// Package embed runs a NATS server and an S3 gateway inside the process, for
// the all-in-one command, the demo and tests. They are the real ones: JetStream
// on files, and versitygw over a plain directory.
//
// Both listen on the loopback interface unless told otherwise, both are ready
// when their start function returns, and both are gone, with nothing left
// running, when their stop method returns.
package embed
