package natsserver

import (
	"context"
	"log/slog"
	"time"
)

// roomEach is the time between two looks at the free space of the disk. It is short,
// because the store must not meet a full disk, and one look is a single system call.
const roomEach = 100 * time.Millisecond

// awaitLack returns true when a server has to stop for lack of room, and false when ctx
// ends.
//
// JetStream does not survive a full disk: it switches itself off for good, and may first
// discard the entries that this server has acknowledged and the votes that it has given.
// Therefore the server stops before the disk is full, as if its node were down. If another
// program fills the disk between two looks, the server stops after JetStream.
func (s *LogServer) awaitLack(ctx context.Context, inner *Server, votes bool) bool {
	select {
	case <-ctx.Done():
		return false
	case <-inner.Ready():
	}
	look := time.NewTicker(roomEach)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-look.C:
		}
		if err := s.room(); err != nil {
			s.log().Error("the disk of this node's log server is full: the server stops, and the other nodes go on without it", "error", err,
				"remedy", "make room on the disk; the log server then starts again by itself")
			return true
		}
		if votes && !inner.server.JetStreamEnabled() {
			inner.bridge.often.Say(slog.LevelError, "", "this node's log server stores nothing any more",
				"remedy", "unless this node was removed from the cluster, start policyd again")
		}
	}
}

// again waits for room, and replaces the server, which has stopped, by a new one with
// the same name and store. It returns nil without a new server when ctx ends.
func (s *LogServer) again(ctx context.Context) error {
	began := time.Now()
	look := time.NewTicker(roomEach)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		if s.room() == nil {
			break
		}
	}
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if err := s.renew(); err != nil {
		return err
	}
	s.log().Info("there is room on the disk of this node's log server: it starts again", "stopped", time.Since(began))
	return nil
}

func (s *LogServer) room() error {
	if s.cfg.Room == nil {
		return nil
	}
	return s.cfg.Room()
}
