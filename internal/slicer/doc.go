// Package slicer turns the events of sessions, as they arrive on the bus, into
// the parts of recordings in S3.
//
// A [Slicer] owns some of the installation's partitions at any time. Of each it
// reads the messages in stream order, sorts their events by session into slices,
// uploads a slice as a part once it is large enough or its session is over, and
// commits what it did to the upload log. What completes a recording is elsewhere
// and meets the slicer in the log only.
//
// # What may be relied on
//
// The cursor of a partition passes a message only when all that the message said
// is durable: in a committed part, in a checkpoint, in a record of the log, or in
// S3 under <sid>.late. That is one rule, in one place (partition.durable), and
// everything else serves it. A slicer may be killed at any instruction; the next
// owner starts from what is stored by the same path that a first start takes.
//
// A session's state is a function of its messages. Each record of its log carries
// the state as it was after one certain message (StreamSeq), with all events up
// to there in parts or the checkpoint, so a message at or below it is a re-read
// and one above it is new, whatever the cursor says. A slice ends only where a
// message ends, or that would not hold.
//
// Nothing is dropped. What cannot be recorded (wrong node, an index used before,
// bytes that are no event) is put under <sid>.late, and it stops neither its
// session nor its partition.
//
// # What is given up
//
// Events are compared with the newest 64 of their session to tell a duplicate
// from a late event. An older one, or one from before a takeover or a let-go, is
// taken for late: it is kept where it does no harm.
//
// A closed slice is not checkpointed, only uploaded: its part's number, bytes and
// state are fixed, and a checkpoint of them would be a second truth beside the part
// that a retry may yet store. So a part that the store refuses for good holds its
// session back, and the cursor: the partition's other sessions are recorded (see
// Config.ParkAfter), but its stream is trimmed no further, and what it says to the
// operator is an error and the age of the oldest event that is not archived.
//
// Checkpoints may fill four fifths of the upload log: the rest is for the records
// with which sessions end and give back what they hold. Beyond that open sessions
// stay in memory. When that is full, slices that S3 takes as parts are closed early;
// if there are none, reading stops until the log is given more room.
//
// A session whose log is of a newer version is left alone. Its messages hold the
// cursor back, so that the newer slicer finds all of them; an upgrade is meant to
// take hours, not weeks.
package slicer
