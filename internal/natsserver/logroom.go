package natsserver

import (
	"context"
	"log/slog"
	"time"
)

// roomEach is the time between two looks at the free space of the disk. It is short,
// because the store must not meet a full disk, and one look is a single system call.
const roomEach = 100 * time.Millisecond

// awaitLack waits until the disk of a running server has too little room, and returns
// true. It returns false when ctx ends.
//
// JetStream does not survive a full disk: it switches itself off for good, and may first
// discard the entries that this server has acknowledged and the votes that it has given.
// Therefore the server stops before the disk is full, as if its node were down. If another
// program fills the disk between two looks, the server stops after JetStream.
func (s *LogServer) awaitLack(ctx context.Context, inner *Server) bool {
	look := time.NewTicker(roomEach)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-look.C:
		}
		if err := s.Lacking(); err != nil {
			s.log().Error("the disk of this node's log server is full: the server stops, and the other nodes go on without it", "error", err,
				"remedy", "make room on the disk; the log server then starts again by itself")
			return true
		}
		if !inner.server.JetStreamEnabled() {
			inner.bridge.often.Say(slog.LevelError, "", "this node's log server stores nothing any more",
				"remedy", "unless this node was removed from the cluster, start policyd again")
		}
	}
}

// again waits for room, and returns a server with the same name and store in place of
// the one that has stopped. It returns nil when ctx ends.
func (s *LogServer) again(ctx context.Context) (*Server, error) {
	began := time.Now()
	look := time.NewTicker(roomEach)
	defer look.Stop()
	for s.Lacking() != nil {
		select {
		case <-ctx.Done():
			return nil, nil
		case <-look.C:
		}
	}
	s.reloading.Lock()
	defer s.reloading.Unlock()
	inner, err := s.newInner()
	if err != nil {
		return nil, err
	}
	s.inner.Store(inner)
	s.log().Info("there is room on the disk of this node's log server: it starts again", "stopped", time.Since(began))
	return inner, nil
}

// Lacking returns the reason why the disk has too little room for this server, or nil.
// A server that has a vote does not run then.
func (s *LogServer) Lacking() error {
	if s.cfg.Room == nil {
		return nil
	}
	return s.cfg.Room()
}
