package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postern-im/postern/events/replica"
)

// The subjects of the JetStream API.
const (
	apiInfo   = "$JS.API.STREAM.INFO." + streamName
	apiCreate = "$JS.API.STREAM.CREATE." + streamName
	apiGet    = "$JS.API.STREAM.MSG.GET." + streamName
	apiDirect = "$JS.API.DIRECT.GET." + streamName
)

// The codes of JetStream's errors that are distinguished.
const (
	codeNoPeers     = 10005 // too few log servers for the replicas
	codeUnavailable = 10008 // no leader
	codeNotEnabled  = 10039 // for this account
	codeNoMessage   = 10037
	codeNameTaken   = 10058 // by a stream with other settings
	codeNoStream    = 10059
)

const (
	headerSequence = "Nats-Sequence"
	headerStatus   = "Status"
	headerTTL      = "Nats-TTL"
	statusEnd      = "204" // the end of an answer
	statusNone     = "404" // no such entry
	statusNobody   = "503" // no server with the stream is connected
)

// The bounds of one batch of entries that are fetched. The stream may exceed the
// bytes by one entry.
const (
	fetchEntries = 1000
	fetchBytes   = 8 << 20
)

// leaderEntries bounds the entries that are fetched from the leader at once. Each
// takes a request, and the next one may be answered by another server again.
const leaderEntries = 64

// An apiError is an error that JetStream answered with.
type apiError struct {
	Code        int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (code %d)", e.Description, e.Code) }

// isCode reports whether err is JetStream's error with a code.
func isCode(err error, code int) bool {
	e, ok := errors.AsType[*apiError](err)
	return ok && e.Code == code
}

// A streamInfo is what JetStream says of the stream.
type streamInfo struct {
	Error  *apiError                  `json:"error"`
	Config map[string]json.RawMessage `json:"config"`
	State  struct {
		Last uint64 `json:"last_seq"`
	} `json:"state"`
	Cluster struct {
		Leader   string `json:"leader"`
		Replicas []struct {
			Name    string `json:"name"`
			Current bool   `json:"current"`
			Offline bool   `json:"offline"`
			Lag     uint64 `json:"lag"`
		} `json:"replicas"`
	} `json:"cluster"`
}

// request sends one request and decodes the answer.
func request(ctx context.Context, conn *nats.Conn, subject string, body, answer any) error {
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	m, err := conn.RequestWithContext(ctx, subject, text)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return fmt.Errorf("read JetStream's answer: %w", err)
	}
	return nil
}

// info asks for the stream's settings and state.
func info(ctx context.Context, conn *nats.Conn) (*streamInfo, error) {
	var i streamInfo
	if err := request(ctx, conn, apiInfo, nil, &i); err != nil {
		return nil, err
	}
	if i.Error != nil {
		return nil, i.Error
	}
	return &i, nil
}

// create makes the stream. A stream with the same settings is left as it is.
func create(ctx context.Context, conn *nats.Conn, cluster string) error {
	var answer struct {
		Error *apiError `json:"error"`
	}
	if err := request(ctx, conn, apiCreate, newSettings(cluster), &answer); err != nil {
		return err
	}
	if answer.Error != nil {
		return answer.Error
	}
	return nil
}

// A fetch is a request for entries, from any server that has the stream. A server
// that lags behind returns too few or none, but never wrong ones: it applies the
// stream in order, so entries missing before one that it returns have expired.
type fetch struct {
	from uint64
	sub  *nats.Subscription
}

// ask asks for entries from a number on. The caller calls end.
func ask(conn *nats.Conn, from uint64) (*fetch, error) {
	body, err := json.Marshal(struct {
		Seq      uint64 `json:"seq"`
		Batch    int    `json:"batch"`
		MaxBytes int    `json:"max_bytes"`
	}{from, fetchEntries, fetchBytes})
	if err != nil {
		return nil, err
	}
	sub, err := conn.SubscribeSync(conn.NewRespInbox())
	if err != nil {
		return nil, err
	}
	f := &fetch{from: from, sub: sub}
	err = sub.SetPendingLimits(fetchEntries+1, fetchBytes+2*replica.MaxEntry)
	if err == nil {
		err = conn.PublishRequest(apiDirect, sub.Subject, body)
	}
	if err != nil {
		f.end()
		return nil, err
	}
	return f, nil
}

func (f *fetch) end() { _ = f.sub.Unsubscribe() } // an error means that the connection is closed

// receive returns the entries of the answer. With an error, it returns those that
// came before.
func (f *fetch) receive(ctx context.Context) (entries []replica.Entry, err error) {
	for {
		m, err := next(ctx, f.sub, attempt)
		if err != nil {
			return entries, err
		}
		switch status := m.Header.Get(headerStatus); status {
		case "":
		case statusEnd, statusNone:
			return entries, nil
		case statusNobody:
			return entries, nats.ErrNoResponders
		default:
			return entries, fmt.Errorf("JetStream answers with status %s %s", status, m.Header.Get("Description"))
		}
		e, err := entryOf(m)
		if err != nil {
			return entries, err
		}
		if e.Seq < f.from {
			return entries, fmt.Errorf("entry %d came instead of %d or a later one", e.Seq, f.from)
		}
		entries = append(entries, e)
		f.from = e.Seq + 1
	}
}

// next returns the next message of a subscription within a time.
func next(ctx context.Context, sub *nats.Subscription, within time.Duration) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

// fromLeader returns a few entries from a number on, from the stream's leader.
func fromLeader(ctx context.Context, conn *nats.Conn, from uint64) (entries []replica.Entry, err error) {
	for len(entries) < leaderEntries && ctx.Err() == nil {
		e, err := leaderNext(ctx, conn, from, logSubjects)
		if err != nil || e.Seq == 0 {
			return entries, err
		}
		entries = append(entries, e)
		from = e.Seq + 1
	}
	return entries, ctx.Err()
}

// leaderNext returns the first entry of a subject from a number on, from the stream's leader. It
// is slower than fetch, but the leader does not lag behind. The entry is zero if
// there is none yet.
func leaderNext(ctx context.Context, conn *nats.Conn, from uint64, subject string) (replica.Entry, error) {
	var answer struct {
		Error   *apiError `json:"error"`
		Message struct {
			Seq  uint64 `json:"seq"`
			Data []byte `json:"data"`
		} `json:"message"`
	}
	body := struct {
		Seq  uint64 `json:"seq"`
		Next string `json:"next_by_subj"`
	}{from, subject}
	if err := request(ctx, conn, apiGet, body, &answer); err != nil {
		return replica.Entry{}, err
	}
	switch e := answer.Error; {
	case e != nil && e.Code == codeNoMessage:
		return replica.Entry{}, nil
	case e != nil:
		return replica.Entry{}, e
	case answer.Message.Seq < from:
		return replica.Entry{}, fmt.Errorf("entry %d came instead of %d or a later one", answer.Message.Seq, from)
	}
	return replica.Entry{Seq: answer.Message.Seq, Data: answer.Message.Data}, nil
}

// entryOf reads an entry from a message of the stream.
func entryOf(m *nats.Msg) (replica.Entry, error) {
	text := m.Header.Get(headerSequence)
	seq, err := strconv.ParseUint(text, 10, 64)
	if err != nil || seq == 0 {
		return replica.Entry{}, fmt.Errorf("a message on %s has the sequence %q", m.Subject, text)
	}
	return replica.Entry{Seq: seq, Data: m.Data}, nil
}
