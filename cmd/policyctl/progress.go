package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	// redrawEvery is the shortest time between two changes of the line on a
	// terminal.
	redrawEvery = 100 * time.Millisecond
	// reportEvery is the shortest time between two lines without a terminal.
	reportEvery = 10 * time.Second
	// barWidth is the width of the bar in columns.
	barWidth = 24
)

// A progress shows the progress of a long operation on standard error. On a
// terminal it is one line that is drawn again and again; elsewhere it is a line
// now and then; with --quiet or --json it is nothing. It starts no goroutine and
// is safe for concurrent use.
type progress struct {
	out    io.Writer // nil: nothing is shown
	look   look
	what   string
	unit   string
	total  int64
	now    func() time.Time
	began  time.Time
	mu     sync.Mutex // guards the fields below
	shown  time.Time
	done   int64
	closed bool
	drawn  bool // a line is on the terminal
}

// progress begins to show an operation, such as "verify" of 1200 "commits". A
// total of 0 means that the total is unknown. The caller must call close, also if
// the operation fails.
func (a *app) progress(what string, total int64, unit string) *progress {
	p := &progress{look: a.errLook, what: what, unit: unit, total: total, now: time.Now}
	if !a.quiet && !a.json {
		p.out = a.err
	}
	p.began = p.now()
	p.shown = p.began
	return p
}

// at sets how many units are done so far.
func (p *progress) at(done int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = done
	p.show(p.line)
}

// say shows a text in place of the units that are done.
func (p *progress) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.show(func(time.Time) string { return clean(text) })
}

// show shows a line, unless it is too early for one. The caller holds the lock.
func (p *progress) show(line func(now time.Time) string) {
	every := reportEvery
	if p.look.width > 0 {
		every = redrawEvery
	}
	now := p.now()
	if p.out == nil || p.closed || now.Sub(p.shown) < every {
		return
	}
	p.shown = now
	if p.look.width == 0 {
		fmt.Fprintln(p.out, line(now))
		return
	}
	p.drawn = true
	fmt.Fprintf(p.out, "\r%s\x1b[K", ruler().Truncate(line(now), p.look.width-1, "…"))
}

// of sets the total.
func (p *progress) of(total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total = total
}

// close removes the line from the terminal.
func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drawn && !p.closed {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
	p.closed = true
}

// line returns the line to show at the time now.
func (p *progress) line(now time.Time) string {
	elapsed := now.Sub(p.began)
	rate := float64(p.done) / max(elapsed.Seconds(), 0.001)
	if p.total <= 0 {
		return fmt.Sprintf("%s: %d %s, %.0f/s", p.what, p.done, p.unit, rate)
	}
	share := min(float64(p.done)/float64(p.total), 1)
	line := fmt.Sprintf("%s: %3.0f %%, %d of %d %s, %.0f/s", p.what, 100*share, p.done, p.total, p.unit, rate)
	if rate > 0 && p.done < p.total {
		left := time.Duration(float64(p.total-p.done) / rate * float64(time.Second))
		line += fmt.Sprintf(", %v left", left.Round(time.Second))
	}
	if p.look.width > 0 {
		line = bar(share) + " " + line
	}
	return line
}

func bar(share float64) string {
	full := int(share * barWidth)
	b := make([]byte, barWidth+2)
	b[0], b[barWidth+1] = '[', ']'
	for i := range barWidth {
		b[i+1] = ' '
		if i < full {
			b[i+1] = '#'
		}
	}
	return string(b)
}
