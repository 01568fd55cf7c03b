package mix

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"

	"github.com/tapedeck-io/tapedeck/internal/cast"
	"github.com/tapedeck-io/tapedeck/pkg/events"
)

// recorded are real sessions, as asciicast.
//
//go:embed testdata/*.cast
var recorded embed.FS

// A source makes the payload of one event: which is the index-th of a session, and
// random what makes one session unlike another. What it returns is valid until the
// next call with the same buffer.
type source func(buf []byte, index int64, random *rand.PCG) []byte

// terminal makes prints of what recorded programs wrote. Sessions begin at different
// places and go round.
func terminal(names ...string) source {
	chunks := sync.OnceValue(func() [][]byte { return load(names) })
	return func(buf []byte, index int64, random *rand.PCG) []byte {
		all := chunks()
		first := random.Uint64()
		return append(buf, all[(first+uint64(index))%uint64(len(all))]...)
	}
}

// load reads the output of recordings that are part of the program: one that cannot
// be read is a mistake made at build time.
func load(names []string) [][]byte {
	var chunks [][]byte
	for _, name := range names {
		more, err := output("testdata/" + name)
		if err != nil {
			panic(fmt.Sprintf("read embedded recording %s: %v", name, err))
		}
		chunks = append(chunks, more...)
	}
	return chunks
}

func output(name string) ([][]byte, error) {
	f, err := recorded.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it is in memory
	r, err := cast.NewReader(f)
	if err != nil {
		return nil, err
	}
	var chunks [][]byte
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return chunks, nil
		}
		if err != nil {
			return nil, err
		}
		if e.Code == cast.Output && len(e.Data) > 0 {
			chunks = append(chunks, e.Data[:min(len(e.Data), events.MaxPrintData)])
		}
	}
}

// Sizes of desktop frames. Most are small tiles that changed; now and then much of
// the screen does.
const (
	tileBytes   = 3 << 10
	screenBytes = 40 << 10
	screenEvery = 50
)

// desktop makes what a remote desktop sends: a frame header, and a PNG, which is
// bytes that cannot be compressed between a signature and an end mark.
func desktop(buf []byte, index int64, random *rand.PCG) []byte {
	size := tileBytes/2 + int(random.Uint64()%tileBytes)
	if index%screenEvery == 0 {
		size = screenBytes
	}
	const pngFrame = 27 // type of the message, then its length and four coordinates
	buf = append(buf, pngFrame)
	for _, v := range []int{size, int(index) % 1920, int(index) % 1080, int(index)%1920 + 64, int(index)%1080 + 64} {
		buf = append(buf, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
	buf = append(buf, "\x89PNG\r\n\x1a\n"...)
	buf = appendNoise(buf, size, random)
	return append(buf, "\x00\x00\x00\x00IEND\xae\x42\x60\x82"...)
}

// uniformBytes makes an event of 300 bytes as it is encoded.
const uniformBytes = 266

// uniform makes events of one size, for figures that compare with others': text that
// compresses as terminal output does.
func uniform(buf []byte, index int64, random *rand.PCG) []byte {
	v := random.Uint64() + uint64(index)
	for len(buf) < uniformBytes {
		buf = fmt.Appendf(buf, "drwxr-xr-x  2 root root %6d May  4 12:%02d file-%04x\r\n", v%1_000_000, v%60, v&0xffff)
		v = v*6364136223846793005 + 1442695040888963407
	}
	return buf[:uniformBytes]
}

func appendNoise(buf []byte, n int, random *rand.PCG) []byte {
	for ; n >= 8; n -= 8 {
		v := random.Uint64()
		buf = append(buf, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56))
	}
	for v := random.Uint64(); n > 0; n-- {
		buf, v = append(buf, byte(v)), v>>8
	}
	return buf
}
