package main

import (
	"fmt"
	"io"
	"time"

	"github.com/postern-im/postern/api"
)

// An atFlag is the --at flag of commands that read a tenant. With it they read
// the tenant's state at an earlier moment.
type atFlag struct {
	At string `help:"Use the state of an earlier moment: a position of the log, a time (RFC 3339, or a date with or without a time, in UTC), or how long ago, such as 90m, 2h or 3d." placeholder:"MOMENT"`
}

// then returns the client that reads the state at that moment.
func (f *atFlag) then(a *app) *api.Client { return a.client.At(f.At) }

// asOf returns a position in words, with its time if --at was given.
func asOf(position uint64, as api.AsOf) string {
	if as.At == nil {
		return number(position)
	}
	return momentWords(*as.At)
}

func momentWords(m api.Moment) string {
	return fmt.Sprintf("%d (%s UTC)", m.Position, m.Time.UTC().Format(time.DateTime))
}

// writeAsOf writes the moment of an earlier state below a list.
func writeAsOf(w io.Writer, as api.AsOf) {
	if as.At != nil {
		fmt.Fprintf(w, "\nas of position %s\n", momentWords(*as.At))
	}
}
