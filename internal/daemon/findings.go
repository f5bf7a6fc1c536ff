package daemon

import (
	"fmt"
	"io"
	"strings"
)

// Findings are what a look at what a program will open has found.
type Findings struct {
	// Errors keep the program from starting, or clients from being served.
	Errors []string
	// Warnings are what an operator should know all the same.
	Warnings []string
}

// Error notes what is wrong with a setting; no error is nothing. One that joins
// several is a line for each.
func (f *Findings) Error(setting string, err error) {
	if err == nil {
		return
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if setting != "" {
			line = setting + ": " + line
		}
		f.Errors = append(f.Errors, line)
	}
}

// Warn notes what an operator should know of a setting.
func (f *Findings) Warn(setting string, err error) {
	if err != nil {
		f.Warnings = append(f.Warnings, setting+": "+err.Error())
	}
}

// Print writes a line for each, and returns the exit status: 1 where there is
// an error.
func (f *Findings) Print(w io.Writer, program string) int {
	for _, text := range f.Errors {
		fmt.Fprintf(w, "%s: error: %s\n", program, text)
	}
	for _, text := range f.Warnings {
		fmt.Fprintf(w, "%s: warning: %s\n", program, text)
	}
	if len(f.Errors) > 0 {
		return 1
	}
	return 0
}
