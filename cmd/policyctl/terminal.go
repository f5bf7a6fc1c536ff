package main

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// A look describes how text is shown at one output. The zero look is for
// programs and files: lines of any length, no colour, the same everywhere.
type look struct {
	width  int // of the terminal; 0: not a terminal, lines have any length
	colour bool
}

// A page buffers text for an output, together with the output's look. Functions
// that write to it get the look by lookOf, so it is not passed to each of them.
type page struct {
	strings.Builder
	look look
}

// lookOf returns the look of w: a page's own, otherwise the zero look.
func lookOf(w io.Writer) look {
	if p, ok := w.(*page); ok {
		return p.look
	}
	return look{}
}

// The choices of --color.
const (
	colourAuto   = "auto"
	colourAlways = "always"
	colourNever  = "never"
)

// lookAt returns the look of an output. choice is the value of --color. If it is
// auto, NO_COLOR decides, then CLICOLOR_FORCE, then whether w is a terminal.
func lookAt(w io.Writer, choice string, env func(string) string) look {
	f, ok := w.(*os.File)
	l := look{}
	onTerminal := ok && term.IsTerminal(int(f.Fd()))
	if onTerminal {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			l.width = width
		}
	}
	switch force := env("CLICOLOR_FORCE"); {
	case choice != colourAuto:
		l.colour = choice == colourAlways
	case env("NO_COLOR") != "":
	case force != "" && force != "0":
		l.colour = true
	default:
		l.colour = onTerminal && env("TERM") != "dumb" && env("CLICOLOR") != "0"
	}
	return l
}

// isTerminal reports whether v is a terminal, so that a user can answer.
func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// An ink is a colour with a meaning. Colours mark the important words. They add
// no information: the words alone say the same.
type ink string

const (
	inkNone    ink = ""
	inkPass    ink = "32" // green: passes, is added
	inkRefuse  ink = "31" // red: does not pass, is removed, an error
	inkWarning ink = "33" // yellow: a warning, a clamp
	inkHeading ink = "1"  // bold
)

// inked returns a text in a colour if w shows colours. The text must be clean
// already.
func inked(w io.Writer, colour ink, s string) string { return lookOf(w).ink(colour, s) }

func (l look) ink(colour ink, s string) string {
	if !l.colour || colour == inkNone || s == "" {
		return s
	}
	return "\x1b[" + string(colour) + "m" + s + "\x1b[0m"
}

// inkOf returns the colour for an effect, a yes or no, or a line of a plan. The
// first word of s decides.
func inkOf(s string) ink {
	word, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	switch strings.TrimRight(word, ":") {
	case "pass", "yes", "ok", "+", "PASS":
		return inkPass
	case "refuse", "drop", "end", "no", "-", "FAIL":
		return inkRefuse
	case "clamp", "strip", "~", "warning":
		return inkWarning
	}
	return inkNone
}
