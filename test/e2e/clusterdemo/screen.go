package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/postern-im/postern/test/e2e/installation"
)

// showEach is how often the screen is drawn while a program waits.
const showEach = time.Second

// readTime bounds the wait for the metrics of one program.
const readTime = 300 * time.Millisecond

// The metrics that the screen shows.
const (
	metricVerdicts = "postern_node_verdicts_total"
	metricPosition = "postern_node_position"
	metricProofAge = "postern_cluster_proof_age_seconds"
	metricLeader   = "postern_cluster_leader{copy="
	metricRequests = "postern_asker_requests_total"
	metricSessions = "postern_gateway_sessions"
)

// A screen shows the state of each program. On a terminal it draws over itself; in
// a file or a pipe it prints a table at the end of each wait only.
type screen struct {
	cluster  *installation.Cluster
	load     *load
	terminal bool
	drawn    int // lines on the terminal now
	last     time.Time
	before   map[string]float64 // counters at the last reading, by program
}

func newScreen(c *installation.Cluster, l *load) *screen {
	return &screen{cluster: c, load: l, terminal: term.IsTerminal(int(os.Stdout.Fd())), before: map[string]float64{}}
}

// watch shows the state for a time.
func (s *screen) watch(ctx context.Context, d time.Duration) {
	s.drawn = 0
	for end := time.Now().Add(d); time.Now().Before(end) && ctx.Err() == nil; {
		pause(ctx, min(showEach, time.Until(end)))
		if s.terminal {
			s.draw(ctx)
		}
	}
	if !s.terminal {
		s.draw(ctx)
	}
}

// draw prints the table once.
func (s *screen) draw(ctx context.Context) {
	lines := s.lines(ctx)
	if s.drawn > 0 {
		fmt.Printf("\x1b[%dA", s.drawn)
	}
	for _, line := range lines {
		if s.terminal {
			line += "\x1b[K"
		}
		fmt.Println(line)
	}
	s.drawn = len(lines)
}

// lines are the lines of the table.
func (s *screen) lines(ctx context.Context) []string {
	now := time.Now()
	since := now.Sub(s.last).Seconds()
	first := s.last.IsZero()
	s.last = now
	rate := func(name string, value float64) string {
		before, known := s.before[name]
		s.before[name] = value
		if first || !known || value < before {
			return "-"
		}
		return strconv.FormatFloat((value-before)/since, 'f', 0, 64)
	}
	list := []string{fmt.Sprintf("   %-6s %12s %9s %10s %s", "node", "questions/s", "position", "proof age", "")}
	for _, n := range s.cluster.Nodes {
		m, err := s.read(ctx, n.HTTP)
		if err != nil {
			list = append(list, fmt.Sprintf("   %-6s does not answer", n.ID))
			continue
		}
		leader := ""
		if m[metricLeader+strconv.Quote(n.ID)+"}"] > 0 {
			leader = "leader"
		}
		list = append(list, fmt.Sprintf("   %-6s %12s %9.0f %8.1f s %s", n.ID, rate(n.ID, m[metricVerdicts]), m[metricPosition], m[metricProofAge], leader))
	}
	list = append(list, fmt.Sprintf("   %-6s %12s %9s", "edge", "questions/s", "sessions"))
	for _, g := range s.cluster.Gateways {
		m, err := s.read(ctx, g.HTTP)
		if err != nil {
			list = append(list, fmt.Sprintf("   %-6s does not answer", g.ID))
			continue
		}
		list = append(list, fmt.Sprintf("   %-6s %12s %9.0f", g.ID, rate(g.ID, m[metricRequests]), m[metricSessions]))
	}
	return append(list, fmt.Sprintf("   %d of %d users are connected", s.load.sessions(), len(s.load.users)))
}

// read reads a program's metrics. The values of one metric with several labels are
// added, but of proofs' ages the least one counts.
func (s *screen) read(ctx context.Context, addr string) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	text, err := s.cluster.Metrics(ctx, addr)
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for line := range strings.Lines(text) {
		labelled, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		name, _, _ := strings.Cut(labelled, "{")
		if v, err := strconv.ParseFloat(value[strings.LastIndexByte(value, ' ')+1:], 64); ok && err == nil && !strings.HasPrefix(line, "#") {
			if name == metricProofAge && all[name] > 0 {
				v = min(v, all[name]) - all[name] // a gateway that is gone has an old proof
			}
			all[name] += v
			if labelled != name {
				all[labelled] = v
			}
		}
	}
	return all, nil
}
