package events

// JSONOptions says what MarshalJSON writes.
type JSONOptions struct {
	// WithData adds what is left out by default because it is large or is the
	// session's content: a print's data, and the bytes of an unknown case.
	WithData bool
}

// MarshalJSON is the flat JSON of a OneOf.
func MarshalJSON(oneof []byte, opt JSONOptions) ([]byte, error) { panic("soon") }

// UnmarshalJSON reads the flat JSON of a OneOf.
func UnmarshalJSON(line []byte) (*OneOf, error) { panic("soon") }
