package natsserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// admitEach is the time between two questions whether a new log server may vote.
	admitEach = 500 * time.Millisecond
	// admitSay is the time after which the log repeats why it may not.
	admitSay = time.Minute
	// admitAnswers bounds the answers to one question. A cluster has fewer servers.
	admitAnswers = 256
)

// A FormerError says that a new log server may not vote, because the vote of a former
// log server of the same node was not taken away.
type FormerError struct {
	Node   string
	Former string // the former server's name, or its id if its name is not known
	known  bool
	led    bool // the servers with a vote have a leader; without one, no vote can be taken away
}

func (e *FormerError) Error() string {
	if !e.led {
		return e.text() + ". This works only while most of the log servers that have a vote run: they have no leader now"
	}
	return e.text()
}

func (e *FormerError) text() string {
	if !e.known {
		return fmt.Sprintf("the log servers count the vote of %s, whose name none of them knows: it may be the former log server of this node, %s. "+
			"Start the node that it belongs to; or, if that node's data is lost, remove its vote on another node: policyctl cluster remove %s", e.Former, e.Node, e.Former)
	}
	return fmt.Sprintf("node %s has lost or given up its data, and its former log server %s still has a vote: "+
		"take the vote away on another node, and this node joins by itself: policyctl cluster remove %s", e.Node, e.Former, e.Former)
}

// A view is the answer of one log server about the servers that have a vote.
type view struct {
	server  string
	leads   bool
	members []LogMember
}

// mayVote returns nil if a new log server may get a vote, and otherwise the reason.
//
// Each log server that ever had a vote counts in the majority until its vote is taken
// away, whether it runs or not. If a node got another vote each time it lost its data,
// the lost servers would in the end be a majority. Therefore a server waits while
// another one of its node has a vote or runs. The answers of all servers count, also
// of those that lag behind: a vote that is no longer there delays the server only.
//
// The leader's answer is enough. Without a leader, the server waits for all others
// that are configured, as the first start of a cluster needs them anyway.
func mayVote(own string, peers []LogPeer, views []view) error {
	names := map[string]string{}
	for _, v := range views {
		if v.server != own && nodeOf(v.server) == nodeOf(own) {
			return fmt.Errorf("two nodes have the same id: the log server %s runs too; stop one of them, and give it another id and an empty data folder", v.server)
		}
		for _, m := range v.members {
			if m.Named() {
				names[m.ID] = m.Name
			}
		}
	}
	led := slices.ContainsFunc(views, func(v view) bool { return v.leads })
	for _, v := range views {
		for _, m := range v.members {
			name, known := names[m.ID]
			switch {
			case !known:
				return &FormerError{Node: nodeOf(own), Former: m.ID, led: led}
			case name != own && nodeOf(name) == nodeOf(own):
				return &FormerError{Node: nodeOf(own), Former: name, known: true, led: led}
			}
		}
	}
	if led {
		return nil
	}
	missing := []string{}
	for _, p := range peers {
		if p.Node != nodeOf(own) && !slices.ContainsFunc(views, func(v view) bool { return nodeOf(v.server) == p.Node }) {
			missing = append(missing, p.Node)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("a new log server needs the leader of the others, or at the first start all of them: not heard: %s", strings.Join(missing, ", "))
	}
	return nil
}

// admit reports that this log server may vote. It waits until that is so, or returns
// false when ctx ends. inner is the server that runs meanwhile.
func (s *LogServer) admit(ctx context.Context, inner *Server) bool {
	look := time.NewTicker(admitEach)
	defer look.Stop()
	said, at := "", time.Time{}
	for {
		reason := s.admitted(ctx)
		switch {
		case ctx.Err() != nil:
			return false
		case reason == nil:
			return true
		}
		s.waiting.Store(&reason)
		if text := reason.Error(); text != said || time.Since(at) >= admitSay {
			said, at = text, time.Now()
			level := slog.LevelInfo
			if _, ok := errors.AsType[*FormerError](reason); ok {
				level = slog.LevelError
			}
			inner.bridge.logger.Log(ctx, level, "this log server has no vote yet", "log_server", s.name, "reason", text)
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return false
		}
	}
}

// admitted asks all log servers once whether this one may vote.
func (s *LogServer) admitted(ctx context.Context) error {
	conn, err := s.dialSystem()
	if err != nil {
		return err
	}
	defer conn.Close()
	views, err := s.views(ctx, conn)
	if err != nil {
		return err
	}
	return mayVote(s.name, s.cfg.Peers, views)
}

// views asks all connected log servers which ones have a vote. It returns the answers
// that come in time.
func (s *LogServer) views(ctx context.Context, conn *nats.Conn) ([]view, error) {
	request, err := json.Marshal(server.JSzOptions{})
	if err != nil {
		return nil, err
	}
	sub, err := conn.SubscribeSync(conn.NewRespInbox())
	if err != nil {
		return nil, err
	}
	if err := sub.SetPendingLimits(admitAnswers, -1); err != nil {
		return nil, err
	}
	if err := conn.PublishRequest(pingJSZ, sub.Subject, request); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, systemWithin)
	defer cancel()
	seen := len(s.Seen())
	var views []view
	for len(views) < seen {
		m, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, err
		}
		v, err := readView(m.Data)
		if err != nil {
			return nil, err
		}
		views = append(views, v)
	}
	return views, nil
}

// readView reads the answer of one log server.
func readView(data []byte) (view, error) {
	var answer struct {
		Server struct {
			Name string `json:"name"`
		} `json:"server"`
		Data struct {
			Meta *server.MetaClusterInfo `json:"meta_cluster"`
		} `json:"data"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return view{}, fmt.Errorf("read the server's answer: %w", err)
	}
	v := view{server: answer.Server.Name}
	if meta := answer.Data.Meta; meta != nil {
		v.leads = meta.Leader != "" && meta.Leader == v.server
		v.members = membersOf(meta)
	}
	return v, nil
}
