package gateway_test

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern-im/postern/gateway"
)

// helperEnv makes the test binary run the clients and the backend of
// BenchmarkIdleMemory, so that the measured process holds the gateway alone.
const helperEnv = "POSTERN_TEST_IDLE_CLIENTS"

func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv(helperEnv)); err == nil {
		if err := idleClients(n); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// idleClients prints the backend's address and reads the gateway's address and
// the size of the message that each client sends. Then it logs in n clients. When
// the backend has received everything it prints "ready", and waits for a line.
func idleClients(n int) error {
	tell := bufio.NewReader(os.Stdin)
	b := startSink(new(testing.B))
	arrived := &arrivals{done: make(chan struct{}, 1)}
	arrived.want.Store(math.MaxInt64)
	b.received = arrived.add
	fmt.Println(b.listener.Addr())
	told, err := tell.ReadString('\n')
	if err != nil {
		return err
	}
	var address string
	var size int
	if _, err := fmt.Sscan(told, &address, &size); err != nil {
		return err
	}
	text := "<presence/><message to='bob@a.test'><body>" + strings.Repeat("a", size) + "</body></message>"
	arrived.want.Store(int64(n * len(text)))
	conns := make([]net.Conn, n) // kept, because the garbage collector would close them
	for i := range n {
		conn, _, err := dialDirect(address, fmt.Sprint("r", i))
		if err != nil {
			return err
		}
		if _, err := io.WriteString(conn, text); err != nil {
			return err
		}
		conns[i] = conn
	}
	select {
	case <-arrived.done:
	case <-time.After(benchTimeout):
		return fmt.Errorf("the backend has %d bytes, want %d", arrived.count.Load(), arrived.want.Load())
	}
	fmt.Println("ready")
	_, _ = tell.ReadString('\n')
	runtime.KeepAlive(conns)
	return nil
}

// BenchmarkIdleMemory reports the resident memory of the gateway per idle
// session. 1,000 clients connect over TLS 1.3, each with a backend leg without
// TLS, and have sent a presence and a message. A large message adds the input
// buffer of crypto/tls, which does not shrink.
func BenchmarkIdleMemory(b *testing.B) {
	for _, size := range []int{300, 15 << 10} {
		b.Run(fmt.Sprintf("message=%d", size), func(b *testing.B) { benchmarkIdleMemory(b, size) })
	}
}

func benchmarkIdleMemory(b *testing.B, size int) {
	const sessions = 1000
	helper := exec.Command(os.Args[0])
	helper.Env = append(os.Environ(), fmt.Sprintf("%s=%d", helperEnv, sessions))
	helper.Stderr = os.Stderr
	in, err := helper.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := helper.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := helper.Start(); err != nil {
		b.Fatal(err)
	}
	heard := bufio.NewReader(out)
	backend, err := heard.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	g := serveGateway(b, passAll{newTable()}, strings.TrimSpace(backend), func(c *gateway.Config) { c.MaxPerAddress = 2 * sessions })
	defer g.end(b)
	before := resident(b)
	fmt.Fprintln(in, g.direct, size)
	if ready, err := heard.ReadString('\n'); ready != "ready\n" {
		b.Fatal(ready, err)
	}
	after := resident(b)
	g.wantOnlyPassed(b, sessions, 2*sessions)
	b.ReportMetric(float64(after.rss-before.rss)/sessions/1024, "KiB/session")
	b.ReportMetric(float64(after.heap-before.heap)/sessions/1024, "heap-KiB/session")
	b.ReportMetric(float64(after.stack-before.stack)/sessions/1024, "stack-KiB/session")
	b.ReportMetric(float64(runtime.NumGoroutine())/sessions, "goroutines/session")
	b.ReportMetric(0, "ns/op")
	_ = in.Close()
	_ = helper.Wait()
}

type memory struct{ rss, heap, stack int64 }

// resident returns the process's resident memory after a garbage collection that
// returns free memory to the system.
func resident(b *testing.B) memory {
	b.Helper()
	for range 2 { // pools are emptied by the second collection
		debug.FreeOSMemory()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return memory{rss: pages * int64(os.Getpagesize()), heap: int64(m.HeapAlloc), stack: int64(m.StackInuse)}
}
