// Package accesslog takes records of access sessions from the bus to where they
// are kept and looked at: S3, HTTP receivers, other subjects, standard output.
// With the same machinery it tells webhooks what became of recordings.
//
// Every sink has a lane of its own: a durable pull consumer, a record in the
// ledger, batches under way. A sink that is slow or dead holds back its own lane
// and no other. A lane holds a bounded number of batches and reads no further
// while they wait; what is not read stays on the bus.
//
// # What may be relied on
//
// A record that the stream holds reaches every sink at least once, and every copy
// of it in a batch of the same id. A receiver that drops batches whose id it has
// seen has each record exactly once per message on the bus. (The tracker may put
// a message on the bus twice; its records then have equal id and number.)
//
// A batch is a range of the stream, from one record to another. Its boundaries
// and its id are in the ledger before it is first sent, and the ledger is written
// by compare and swap. What the range holds does not change, so a batch that is
// built again after a crash has the same id and the same content. There is no
// code for recovery: a lane begins by building what the ledger lists, which is
// nothing after a quiet stop.
//
//	read ──▶ cut ──▶ ledger: id, from, to ──▶ sink ──▶ acknowledge ──▶ ledger: cursor
//
// A message is acknowledged when the sink has all batches with records of it. The
// acknowledgements tell operators how far a lane is, and bound what is under way;
// where a lane goes on after a crash the ledger says, never the consumer. The
// consumer is made anew from there, so that messages come in order.
//
// Any number of processes may run the same sink. The one that came last works,
// the others stand by: each write of the ledger names its writer and fails if
// another has written. What a displaced writer still has under way is in the
// ledger, and is sent by its successor under the same id.
//
// # What is kept aside
//
// A message that is no array of records, records in it that are not valid, and
// a batch that its sink refuses for good (HTTP 400, 413, 415, 422) go to the
// stream ACCESSPOISON, once each, with the reason, and are counted. What is good
// goes on.
//
// # Where Watermill is used
//
// Watermill's router carries batches from lanes to sinks: one handler a sink,
// with its middleware for retries with backoff (the one layer that retries a
// sink), the poison queue, panics, and ours for Retry-After, metrics and traces.
// It is not used to consume: its subscribers acknowledge message by message when
// a handler returns, and ours acknowledges ranges when a batch that may hold half
// a message is durable elsewhere. Nor does it keep the ledger.
package accesslog
