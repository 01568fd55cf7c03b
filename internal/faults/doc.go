// Package faults is the fault suite. It runs the real slicer and completer as
// processes against a real NATS server and a real S3 gateway, each a process too,
// lets many sessions with known content be produced, and breaks things meanwhile.
// Then it holds every finished recording against what was produced: event for
// event, by bytes, nothing missing, nothing twice, and no recording missing.
//
// # What is known
//
// The content of a session is a function of its id, and the ids are a function of
// the seed. So a producer that is killed goes on without any memory of its own,
// and the oracle needs none: [Session] says what a recording must be.
//
// # Seeds
//
// A run draws all faults from its seed and prints it. The same seed draws the same
// faults at the same times on the same sessions; what the processes make of that
// still depends on the machine.
package faults
