// Package bus is Tapedeck's contract with NATS JetStream: what the subjects,
// streams and headers are called, how a producer publishes the events of a
// session so that each is stored exactly once and in order, and how a session
// is read back, live or later.
//
// # What may be relied on
//
// An event that [Stream.Append] took is in the stream once, and after all
// events appended before it, or the stream has failed and says why. It counts
// as stored when [Stream.Flush] has returned nil after it: JetStream's own
// acknowledgement, no earlier.
//
// A message is never sent in two forms. What was sent once is sent again byte
// for byte until the bus says what became of it, and each publish names the
// sequence that it must follow. So a second writer, a late duplicate and a
// producer that woke up after it was replaced are refused by the server and not
// stored.
//
// Nothing is dropped in silence. When the bus takes no events, Append waits
// ([Stream.Waiting] says for what); when it never will, every call returns the
// error that says why.
//
// # Clients in other languages
//
// A NATS client that publishes one OneOf per message to [EventSubject], with no
// headers at all, is a producer too. It must keep one message of a session in
// flight at a time.
//
// # Compatibility
//
// Messages and streams carry a version ([MessageVersion], [LayoutVersion]). What
// meets a newer one leaves it alone and returns [ErrVersion].
package bus
