// Package accessrecv receives batches of access-session records over HTTP and
// websocket, keeps them in one SQLite file as one row a session, and answers
// questions about them. It knows no bus: what it takes is what the HTTP sink of
// the consumer sends, what the tunnel clients in the field send, or what curl does.
//
// # What may be relied on
//
// An answer of 200 is given when the transaction with all records of the batch is
// on disk, synced. A sender that has no such answer, for whatever reason, sends
// again; that changes nothing if the batch was there.
//
// A session is one row and is counted once. Of its records the one that tells
// most makes the row ([newer]), in whatever order and however often they come: an
// end beats all else, then the higher number, the later end, the more bytes. A
// record without kind, as the field's clients send it, is an end if it has a time
// of end. So ids of batches are not what keeps a session from being counted
// twice; they only save work: a batch that is known, by its id and the hash of its
// body, is answered and not looked at again. One without an id is known by its
// hash.
//
// A record that is not valid does not cost the others: they are stored, the
// sender is told which ones were refused and why, with status 422, and the batch
// is not remembered, so that the same batch gets the same answer. JSON that
// breaks off keeps the records before the break (400). A batch whose transport is
// damaged (base64, zlib, its checksum) or that is over a limit is refused whole
// (400, 413), because nothing of it can be trusted.
//
// Memory is bounded, whatever comes: a body for each connection, and a few times
// the inflated batch for each worker. A batch is inflated once to nowhere, to see that it ends within the
// limit and has the right checksum, before any record of it is looked at.
//
// # Sessions that fall silent
//
// A tracker sends a record of an open session every five minutes (its -alive
// flag). A session that has not ended and was last heard of longer ago than
// [Filter.StaleAfter], by default three of these and a little, is listed as
// [Stale]: whoever tracked it is gone, or the way from there is broken. Nothing is
// written for that; if a record comes after all, the session is open again or
// ended. An end with reason reaped is something else: a tracker came back and
// said that it had lost the session, and that is listed as [Ended].
//
// # The file
//
// The schema has a version ([schemaVersion]). An older file is brought up to date
// when a receiver opens it; a newer one is refused. Any number of programs may
// read while one receives. Times are in microseconds since 1970, UTC.
package accessrecv
