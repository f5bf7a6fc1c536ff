package main

import (
	"errors"
	"fmt"

	"github.com/postern-im/postern/events/eventlog"
	"github.com/postern-im/postern/internal/daemon"
)

// recordReserve is the space that records of decisions leave free on their disk.
// The log needs 64 MiB of it (see eventlog). Records grow without end. They stop
// before the log does, so that administrators can still make room and run commands.
const recordReserve = 128 << 20

// room returns what policyd does not do because too little of the disk of the data
// folder is free. Both are nil if there is room for everything, or if the file
// system does not report its free space.
func (c *config) room() (prevents, limits error) {
	free, known, err := eventlog.Free(daemon.Existing(c.logDir()))
	return roomOf(c.Data, free, known, err)
}

func roomOf(data string, free uint64, known bool, err error) (prevents, limits error) {
	missing := func(reserve uint64, without string) error {
		return fmt.Errorf("the disk of %s has %d MiB free; with less than %d MiB %s: make room, or use a larger disk", data, free>>20, reserve>>20, without)
	}
	switch {
	case err != nil:
		return fmt.Errorf("read the free space of the disk of %s: %w; without it policyd decides nothing and takes no changes", data, err), nil
	case !known || free >= eventlog.SnapshotReserve:
		return nil, nil
	case free >= recordReserve:
		return nil, missing(eventlog.SnapshotReserve, "policyd writes no snapshots, and its next start takes longer")
	}
	prevents = missing(recordReserve, "policyd decides nothing")
	if free < eventlog.AppendReserve {
		prevents = errors.Join(prevents, missing(eventlog.AppendReserve, "policyd takes no changes"))
	}
	return prevents, nil
}

// noticeRoom logs what policyd does not do for lack of room.
func (p *process) noticeRoom() {
	f := new(daemon.Findings)
	prevents, limits := p.config.room()
	f.Error("data", prevents)
	f.Warn("data", limits)
	for _, text := range append(f.Errors, f.Warnings...) {
		p.logger.Warn("the disk is nearly full", "finding", text)
	}
}
