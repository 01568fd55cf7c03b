// Package web serves the recordings of an installation over HTTP: a JSON API,
// live events, and the page in the browser that uses both.
//
// openapi.yaml beside this file describes the API, and a test holds it against
// the handlers. A [Server] finds sessions in an index (package sessions) and
// reads recordings where they are: a range of a finished one is read by its
// manifest, so that minute 50 never costs minute 1's part; a live one is read
// from the bus, once for all its viewers.
//
// # Who may look
//
// Everything but the page itself needs a token (package token). An auditor's
// filter is applied where a session is opened, which every handler does through
// one function, and in the query for lists; a session that may not be seen is
// answered as one that is not there. Each look at a recording is published as a
// session.recording.access event before its first byte is sent, and refused if
// that cannot be stored.
//
// # What is bounded
//
// Memory: everything streams, a live session has one buffer for all its viewers,
// and recordings that are being read at a time are counted. Time: a viewer that
// takes nothing for a while is dropped, with the reason where it can still be
// told, and reading stops when a viewer leaves. Nothing that a viewer does holds
// up whoever records.
package web
