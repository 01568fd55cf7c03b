// Package accesslog tells who reached what through a proxy or a tunnel: the
// records of access sessions, how they travel, and a tracker that makes them.
//
// A session is one TCP connection, or what passes between one UDP source and one
// destination until it falls silent, or, with merging, a burst of either. A
// [Tracker] says that it began (start) at once, how it goes (alive) every few
// minutes, and how it ended (end). Every record says all that is known by then:
// the newest of a session is enough, and any number of the earlier ones may be
// lost or come twice.
//
// # What may be relied on
//
// A session is counted once. Its records carry its id and count from 0
// ([Record.Seq]); the same id and number is the same record, come again. The bus
// may take a message twice whose acknowledgement was lost for longer than the
// stream remembers ([HeaderMessage] says how a reader notices); a receiver that
// goes by id and number is not disturbed by it. It is also what makes a start
// harmless that sends again, as another writer, what the one before may have sent.
//
// Bytes are counted by the wrappers of connections and nowhere else: Tx is what
// the source sent, Rx what it was sent.
//
// Nothing of a tracker waits for a disk or a network on a connection's
// goroutine. While the bus is away records are kept, within bounds; what had to
// go is counted by kind, logged, and told in the next message ([HeaderDropped]).
//
// With a [Config.StateFile] a tracker that is killed loses no session: its next
// start sends the ends that were not acknowledged, and ends what was still open
// with reason [ReasonReaped]. A machine that does not come back is for the
// receiver, which misses its heartbeats.
//
// # Compatibility
//
// The JSON of a record and the batches are those of the tunnel clients in the
// field, with members added. [Record.Field] takes them away again.
package accesslog
