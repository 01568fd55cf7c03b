// Package spool keeps events on disk while the bus cannot take them: one file a
// session, in a directory that the producers of a user share, bounded as a whole.
//
// # What may be relied on
//
// What [File.Append] or [File.End] accepted is on disk, synced, before they
// return nil, and is there after a crash of the process or the machine. Each
// record carries a checksum. What a crash left half written at the end of a file
// was accepted by nobody; [Dir.Open] takes it away. Damage before the end is
// told ([ErrDamaged]) and nothing is taken away.
//
// A file belongs to the process that has it open, by a lock that ends with the
// process; another gets [ErrInUse]. So whoever finds a file that it can open has
// found a session whose process is gone.
//
// Nothing is ever dropped to make room: a full directory says [ErrFull], and the
// caller waits.
//
// Write-ahead logs as libraries keep one log for a process, by number, and the
// one that is kept best has no checksum and no lock. One file a session keeps a
// session that cannot be sent from holding up the others, and is gone, whole,
// when the session is sent.
//
// # The file
//
// Records, one after another, each written and synced as a whole: length of the
// payload (uint32, big-endian), CRC-32C of the length and the payload, payload.
// The payload's first byte says what it is: H, the header as JSON, which comes
// first, and again where the events do not follow what is before; E, events: index (uint64), length (uint32) and OneOf of each; X, the end
// of the session, after which no event comes; R, why the bus refuses the session
// for good, as text.
package spool
