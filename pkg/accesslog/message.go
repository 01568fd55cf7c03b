package accesslog

// Headers of a message on the bus, beside bus.HeaderVersion and
// bus.HeaderWriter, which names the tracker anew with each start.
const (
	// HeaderMessage numbers the messages of a writer from 0. On one subject they
	// come in order, so a number that is not above the last one seen of the
	// writer there is a message come again.
	HeaderMessage = "Tapedeck-Message"
	// HeaderDropped is how many records the writer has had to drop so far, by
	// kind: "start=3 alive=40 end=1". It is there once some were.
	HeaderDropped = "Tapedeck-Dropped"
)

// MessageVersion is the version of messages that this package writes.
const MessageVersion = 1

// MaxMessage is how many bytes of records a message has at most, unless a
// single record has more.
const MaxMessage = 64 << 10
