package spool

// FrameForTest makes a record of a payload with its kind.
func FrameForTest(payload []byte) []byte { return appendFrame(nil, payload[0], payload[1:]) }
