// Package cli is the tapedeck command: flags, wiring and what people read.
//
// The config structs are the manual: every flag's help, unit and default is a
// tag on the field that holds it. Commands write results to standard output and
// everything else to standard error, so that output can be piped.
//
// # Exit statuses
//
//	0   done, and what was checked is good
//	1   it did not work; the last line on standard error says why and what to do
//	2   the command line is wrong
//	3   verify: the recording is truncated
//	4   verify: the recording is corrupt
//	5   verify: the recording or its manifest is missing
//	6   verify: the recording is readable and incomplete (not finished, abandoned, or with gaps)
//	7   verify, replay: the recording differs from its manifest or from the bus
//	130 interrupted
//
// record ends with the status of the command that it ran.
package cli
