package main

import (
	"fmt"
	"io"
	"time"

	"github.com/postern-im/postern/api"
)

// An atFlag makes a command that reads a tenant read its past.
type atFlag struct {
	At string `help:"As it was then: a position of the log, a time (RFC 3339, or a date with or without a time, in UTC), or how long ago, such as 90m, 2h or 3d." placeholder:"MOMENT"`
}

// then is the client to read with.
func (f *atFlag) then(a *app) *api.Client { return a.client.At(f.At) }

// asOf names a position, with its time where that was asked for.
func asOf(position uint64, as api.AsOf) string {
	if as.At == nil {
		return number(position)
	}
	return momentWords(*as.At)
}

func momentWords(m api.Moment) string {
	return fmt.Sprintf("%d (%s UTC)", m.Position, m.Time.UTC().Format(time.DateTime))
}

// writeAsOf says below a list of the past when it was true.
func writeAsOf(w io.Writer, as api.AsOf) {
	if as.At != nil {
		fmt.Fprintf(w, "\nas of position %s\n", momentWords(*as.At))
	}
}
