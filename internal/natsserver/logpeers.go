package natsserver

import (
	"context"
	"crypto/sha256"
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
	// watchEach is the time between two looks at the connected log servers.
	watchEach = 5 * time.Second
	// systemWithin is the time that the servers have to answer. A request is
	// dropped while the servers elect a leader, so a longer wait gains nothing.
	systemWithin = time.Second
	// pingJSZ asks every log server for the state of its JetStream.
	pingJSZ = "$SYS.REQ.SERVER.PING.JSZ"
)

// A LogMember is a log server that has a vote, connected or not.
type LogMember struct {
	// Name is the server's name. It is a text that says so if the name is not known,
	// because no server that runs has ever seen this one. ID stands in for it then.
	Name    string
	ID      string // the server's id in its group
	Node    string // the id of its node
	Leader  bool   // it leads the management of streams
	Current bool   // it was heard recently and lags behind nothing
	Lag     uint64 // the entries of the management's log that it lacks
	Heard   time.Duration
}

// Named reports whether the member's name is known. The server writes a text instead
// of a name that it does not know.
func (m *LogMember) Named() bool {
	digits, ok := strings.CutPrefix(m.Name, m.Node+"-")
	return ok && isLogSuffix(digits)
}

// Is reports whether the member is the log server with this name or id. The server
// derives the id from the name, so a name is recognized also if no running server
// knows it.
func (m *LogMember) Is(name string) bool {
	return m.Name == name || m.ID == name || m.ID == peerID(name)
}

// peerID is the id that the server gives to a server with this name.
func peerID(name string) string {
	const digits, size = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", 8
	sum := sha256.Sum256([]byte(name))
	for i := range size {
		sum[i] = digits[int(sum[i])%len(digits)]
	}
	return string(sum[:size])
}

// Seen returns the names of the log servers that this one is connected to, and
// its own.
func (s *LogServer) Seen() []string {
	names := []string{s.name}
	routes, err := s.inner.Load().server.Routez(&server.RoutezOptions{})
	if err != nil {
		return names // only an unknown option is an error
	}
	for _, r := range routes.Routes {
		if r.RemoteName != "" {
			names = append(names, r.RemoteName)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Twins returns the names of connected log servers whose node's id another
// connected log server has too.
func (s *LogServer) Twins() []string {
	byNode := map[string][]string{}
	for _, name := range s.Seen() {
		byNode[nodeOf(name)] = append(byNode[nodeOf(name)], name)
	}
	var twins []string
	for _, names := range byNode {
		if len(names) > 1 {
			twins = append(twins, names...)
		}
	}
	slices.Sort(twins)
	return twins
}

// Votes returns the members as this server knew them some seconds ago; nil if it has
// not known any since its start.
func (s *LogServer) Votes() []LogMember {
	if list := s.votes.Load(); list != nil {
		return *list
	}
	return nil
}

// watch reports two log servers with the id of one node, and keeps the members for
// Votes, until ctx ends.
func (s *LogServer) watch(ctx context.Context, inner *Server) {
	tick := time.NewTicker(watchEach)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if twins := s.Twins(); len(twins) > 0 {
			inner.bridge.often.Say(slog.LevelError, "", "two nodes have the same id: stop one of them, and give it another id and an empty data folder",
				"log_servers", twins)
		}
		if list, err := s.Members(ctx); err == nil { // otherwise there is no leader, and the list stays
			s.votes.Store(&list)
		}
	}
}

// Members returns the log servers that have a vote, as the leader of the
// management of streams knows them. Without a leader it returns an error.
func (s *LogServer) Members(ctx context.Context) ([]LogMember, error) {
	conn, err := s.dialSystem()
	if err != nil {
		return nil, fmt.Errorf("list log servers: %w", err)
	}
	defer conn.Close()
	members, err := members(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("list log servers: %w", err)
	}
	return members, nil
}

// ErrNoLeader means that no majority of the log servers is connected, or that
// they are electing a leader. A later attempt may succeed.
var ErrNoLeader = errors.New("the log servers have no leader")

// ErrUnclear means that a log server may or may not have been removed. Members shows
// it.
var ErrUnclear = errors.New("it is not known whether the log server was removed")

func members(ctx context.Context, conn *nats.Conn) ([]LogMember, error) {
	var answer struct {
		Data struct {
			Meta *server.MetaClusterInfo `json:"meta_cluster"`
		} `json:"data"`
	}
	// Every server hears the request, but only the leader answers.
	if err := ask(ctx, conn, pingJSZ, server.JSzOptions{LeaderOnly: true}, &answer); err != nil {
		return nil, err
	}
	meta := answer.Data.Meta
	if meta == nil || meta.Leader == "" {
		return nil, ErrNoLeader
	}
	return membersOf(meta), nil
}

// membersOf returns the members in a log server's answer, in the order of their names.
func membersOf(meta *server.MetaClusterInfo) []LogMember {
	var list []LogMember
	if meta.Leader != "" {
		list = append(list, LogMember{Name: meta.Leader, ID: meta.Peer, Node: nodeOf(meta.Leader), Leader: true, Current: true})
	}
	for _, p := range meta.Replicas {
		list = append(list, LogMember{
			Name: p.Name, ID: p.Peer, Node: nodeOf(p.Name), Current: p.Current && !p.Offline, Lag: p.Lag, Heard: p.Active,
		})
	}
	slices.SortFunc(list, func(a, b LogMember) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Remove takes the vote from a log server, given by its name or id, for good. The
// log then gets its copy on another server, if there is one without it. Remove
// refuses if fewer than a majority of the remaining servers are current, because
// then the removal itself could stop the log. It leaves two servers only if a new log
// server of the same node waits to take the place of the removed one: two servers that
// are both needed survive as much as three if one is lost. After an error
// that is not ErrUnclear, nothing has changed.
func (s *LogServer) Remove(ctx context.Context, name string) error {
	if err := s.remove(ctx, name); err != nil {
		return fmt.Errorf("remove log server %s: %w", name, err)
	}
	return nil
}

func (s *LogServer) remove(ctx context.Context, name string) error {
	conn, err := s.dialSystem()
	if err != nil {
		return err
	}
	defer conn.Close()
	list, err := members(ctx, conn)
	if err != nil {
		return err
	}
	id, err := mayRemove(list, name, s.Seen())
	if err != nil {
		return err
	}
	var answer struct {
		Success bool             `json:"success"`
		Error   *server.ApiError `json:"error"`
	}
	if err := ask(ctx, conn, server.JSApiRemoveServer, server.JSApiMetaServerRemoveRequest{Peer: id}, &answer); err != nil {
		return fmt.Errorf("%w: %w", ErrUnclear, err)
	}
	if answer.Error != nil {
		return fmt.Errorf("%s (code %d)", answer.Error.Description, answer.Error.ErrCode)
	}
	if !answer.Success {
		return errors.New("the leader did not confirm it")
	}
	return nil
}

// mayRemove returns the id of the member that has a name or id, if the others can do
// without it. seen are the log servers that are connected.
func mayRemove(list []LogMember, name string, seen []string) (id string, err error) {
	rest, current := 0, 0
	replaced := false
	for _, m := range list {
		if m.Name == name || m.ID == name {
			id, replaced = m.ID, replaces(list, &m, seen)
			continue
		}
		rest++
		if m.Current {
			current++
		}
	}
	switch {
	case id == "":
		return "", errors.New("it has no vote")
	case rest < minLogPeers && (!replaced || rest < minLogPeers-1):
		return "", fmt.Errorf("%d log servers would be left, and the log needs %d: join a new node first", rest, minLogPeers)
	case current <= rest/2:
		return "", fmt.Errorf("only %d of the %d others are current: wait until a majority of them is", current, rest)
	}
	return id, nil
}

// replaces reports whether a log server without a vote is connected that may take the
// place of a member: one of the same node, or any if the member's name is not known.
func replaces(list []LogMember, m *LogMember, seen []string) bool {
	return slices.ContainsFunc(seen, func(name string) bool {
		votes := slices.ContainsFunc(list, func(m LogMember) bool { return m.Name == name })
		return !votes && (!m.Named() || nodeOf(name) == m.Node)
	})
}

// dialSystem connects to the system account. The caller closes the connection.
func (s *LogServer) dialSystem() (*nats.Conn, error) {
	public, err := s.system.PublicKey()
	if err != nil {
		return nil, err
	}
	return nats.Connect("", nats.InProcessServer(s), nats.Nkey(public, s.system.Sign), nats.NoReconnect(), nats.Timeout(systemWithin))
}

// ask sends a request of the system account and reads the answer.
func ask(ctx context.Context, conn *nats.Conn, subject string, request, answer any) error {
	text, err := json.Marshal(request)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, systemWithin)
	defer cancel()
	m, err := conn.RequestWithContext(ctx, subject, text)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrNoResponders):
		return ErrNoLeader
	case err != nil:
		return err
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}
