package daemon

import (
	"fmt"
	"io"
	"strings"
)

// Findings are the results of checking a configuration and the files that it
// names.
type Findings struct {
	// Errors are faults that prevent the program from starting or from serving
	// clients.
	Errors []string
	// Warnings are facts that an operator should know, but that prevent nothing.
	Warnings []string
}

// Error adds an error about a setting, one for each line of err. It adds nothing
// if err is nil.
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

// Warn adds a warning about a setting. It adds nothing if err is nil.
func (f *Findings) Warn(setting string, err error) {
	if err != nil {
		f.Warnings = append(f.Warnings, setting+": "+err.Error())
	}
}

// Print writes a line for each finding. It returns the exit status: 1 if there is
// an error, else 0.
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
