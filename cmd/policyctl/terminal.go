package main

import (
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// A look is how text is shown at one place. The zero look is for programs and
// files: as wide as it gets, without colour, the same everywhere.
type look struct {
	width  int // of the terminal; 0: not a terminal, lines have any length
	colour bool
}

// A page is text on its way to a place with a look. What is written to it
// finds its look with lookOf, and need not be told.
type page struct {
	strings.Builder
	look look
}

// lookOf is the look of what is written to w.
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

// lookAt finds out about a place. choice is what --color says; after it the
// environment is asked: NO_COLOR, then CLICOLOR_FORCE, then the terminal.
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

// isTerminal reports whether somebody sits at the other end.
func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// An ink is a colour, by what it says. It is used for what one looks for, and
// never says what the words do not say as well.
type ink string

const (
	inkNone    ink = ""
	inkPass    ink = "32" // green: passes, is added
	inkRefuse  ink = "31" // red: does not pass, is removed, an error
	inkWarning ink = "33" // yellow: a warning, a clamp
	inkHeading ink = "1"  // bold
)

// inked is a text that is clean already, in a colour where w shows any.
func inked(w io.Writer, colour ink, s string) string { return lookOf(w).ink(colour, s) }

func (l look) ink(colour ink, s string) string {
	if !l.colour || colour == inkNone || s == "" {
		return s
	}
	return "\x1b[" + string(colour) + "m" + s + "\x1b[0m"
}

// inkOf is the colour of an effect, a yes or no, or a line of a difference; it
// goes by the first word.
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
