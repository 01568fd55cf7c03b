package events

import (
	"math"
	"testing"
)

func TestTimeAlwaysHasATextForm(t *testing.T) {
	for _, seconds := range []int64{0, yearOne, yearOne - 1, 253402300799, 253402300800, math.MaxInt64, math.MinInt64} {
		for _, nanos := range []int32{0, 999_999_999, math.MaxInt32, math.MinInt32} {
			at := Header{Seconds: seconds, Nanos: nanos}.Time()
			if _, err := at.MarshalJSON(); err != nil {
				t.Errorf("%d seconds and %d nanoseconds: %v", seconds, nanos, err)
			}
		}
	}
}
