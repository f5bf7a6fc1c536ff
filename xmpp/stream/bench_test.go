package stream_test

import (
	"bytes"
	"encoding/xml"
	"io"
	"math"
	"os"
	"testing"
	"time"

	"github.com/postern-im/postern/xmpp/stream"
)

func corpusFile(t testing.TB, name string) []byte {
	in, err := os.ReadFile("testdata/corpus/" + name + ".xml")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(in, []byte("\n"))
}

// BenchmarkFramer frames one stanza with its tape. For comparison, it runs
// encoding/xml's Token over the same bytes and, as the lower bound, one
// bytes.IndexByte that finds nothing.
func BenchmarkFramer(b *testing.B) {
	for _, name := range []string{"chat338", "pubsub4k"} {
		in := corpusFile(b, name)
		ways := []struct {
			name string
			once func()
		}{
			{"framer", frameOnce(b, in)},
			{"encoding-xml", tokenOnce(b, in)},
			{"indexbyte", func() { sink = bytes.IndexByte(in, 0) }},
		}
		for _, way := range ways {
			b.Run(name+"/"+way.name, func(b *testing.B) {
				b.SetBytes(int64(len(in)))
				b.ReportAllocs()
				for b.Loop() {
					way.once()
				}
			})
		}
		b.Run(name+"/ratio", func(b *testing.B) { ratio(b, ways[0].once, ways[1].once, ways[2].once) })
	}
}

var sink int

func frameOnce(b *testing.B, in []byte) func() {
	f := stream.NewFramer(stream.Config{})
	return func() {
		kind, n, err := f.Next(in, false)
		if kind != stream.Stanza || n != len(in) || err != nil {
			b.Fatal(kind, n, err)
		}
	}
}

func tokenOnce(b *testing.B, in []byte) func() {
	var r bytes.Reader
	return func() {
		r.Reset(in)
		d := xml.NewDecoder(&r)
		for {
			if _, err := d.Token(); err == io.EOF {
				return
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// ratio runs the three functions by turns and reports the ratios of their
// times. It takes the best turn of each, because other load on the machine can
// only add time.
func ratio(b *testing.B, framer, tokens, floor func()) {
	best := [3]float64{math.Inf(1), math.Inf(1), math.Inf(1)}
	for b.Loop() {
		for i, way := range []struct {
			once func()
			runs int
		}{{framer, 20}, {tokens, 4}, {floor, 1000}} {
			start := time.Now()
			for range way.runs {
				way.once()
			}
			best[i] = min(best[i], time.Since(start).Seconds()/float64(way.runs))
		}
	}
	b.ReportMetric(best[1]/best[0], "x-vs-encoding/xml")
	b.ReportMetric(best[0]/best[2], "x-indexbyte")
	b.ReportMetric(0, "ns/op")
}
