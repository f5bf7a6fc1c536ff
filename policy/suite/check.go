package suite

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postern-im/postern/decision"
	"github.com/postern-im/postern/policy"
	"github.com/postern-im/postern/policy/trial"
	"github.com/postern-im/postern/projections"
	"github.com/postern-im/postern/xmpp/jid"
	"github.com/postern-im/postern/xmpp/stanza"
)

// maxCheckLine bounds one line of input. The largest stanza that a gateway
// accepts from a backend fits, escaped as JSON.
const maxCheckLine = 64 << 20

// A checkQuestion is one line of input.
type checkQuestion struct {
	ID        json.RawMessage `json:"id"`
	Account   *string         `json:"account"`
	Resource  *string         `json:"resource"`
	Direction *string         `json:"direction"`
	Stanza    *string         `json:"stanza"`
	Session   checkMemory     `json:"session"`
}

// A checkMemory is the state of the session: the rooms that it has asked to join
// and its requests that are not answered yet.
type checkMemory struct {
	JoinedRooms []string       `json:"joined"`
	Requests    []checkRequest `json:"outstanding"`
}

type checkRequest struct {
	Peer string `json:"peer"`
	ID   string `json:"id"`
}

// memory returns the state for the trial. It leaves out malformed addresses,
// because no stanza can match them.
func (m *checkMemory) memory() *trial.Memory {
	memory := &trial.Memory{}
	for _, room := range m.JoinedRooms {
		_ = memory.Join(room)
	}
	for _, r := range m.Requests {
		_ = memory.Await(r.Peer, r.ID)
	}
	return memory
}

// A checkAnswer is one line of output.
type checkAnswer struct {
	ID          json.RawMessage `json:"id"`
	Effect      string          `json:"effect"`
	Permissions []string        `json:"permissions"`
	Missing     []string        `json:"missing"`
	Error       *checkError     `json:"error"`
	Text        string          `json:"text"`
}

type checkError struct {
	Type      string `json:"type"`
	Condition string `json:"condition"`
}

// A LineError reports a line of input that is not a valid question.
type LineError struct {
	line int
	err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *LineError) Unwrap() error { return e.err }

// Check decides the question in each line of in by the state v, and writes one
// line to out for each, in order. At the first line that is not a question, it
// writes the answers to the lines before and returns a *LineError.
func Check(v *projections.View, now func() time.Time, in io.Reader, out io.Writer) error {
	r := bufio.NewReaderSize(in, 64<<10)
	w := bufio.NewWriterSize(out, 64<<10)
	c := &checker{view: v, trial: trial.New(), now: now}
	err := c.lines(r, w)
	if flushErr := w.Flush(); flushErr != nil {
		return fmt.Errorf("write answers: %w", flushErr)
	}
	return err
}

// A checker answers questions offline, with the code that answers gateways.
type checker struct {
	view  *projections.View
	trial *trial.Trial
	now   func() time.Time
}

// lines answers line after line until the end of the input. Blank lines are
// skipped.
func (c *checker) lines(r *bufio.Reader, w *bufio.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for n := 1; ; n++ {
		line, err := readLine(r)
		if err != nil && !errors.Is(err, io.EOF) {
			return &LineError{n, err}
		}
		if len(bytes.TrimSpace(line)) > 0 {
			q, badLine := parseQuestion(line)
			if badLine != nil {
				return &LineError{n, badLine}
			}
			if err := enc.Encode(c.answer(q)); err != nil {
				return fmt.Errorf("write answer %d: %w", n, err)
			}
		}
		if err != nil {
			return nil
		}
	}
}

// readLine reads one line of at most maxCheckLine bytes. It returns io.EOF
// together with the last line.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxCheckLine {
			return nil, fmt.Errorf("longer than %d bytes", maxCheckLine)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func parseQuestion(line []byte) (*checkQuestion, error) {
	var q checkQuestion
	if err := json.Unmarshal(line, &q); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	for _, f := range []struct {
		name    string
		present bool
	}{
		{"id", q.ID != nil}, {"account", q.Account != nil}, {"resource", q.Resource != nil},
		{"direction", q.Direction != nil}, {"stanza", q.Stanza != nil},
	} {
		if !f.present {
			return nil, fmt.Errorf("field %q is missing", f.name)
		}
	}
	if *q.Direction != "out" && *q.Direction != "in" {
		return nil, fmt.Errorf("direction %q: want \"out\" or \"in\"", *q.Direction)
	}
	return &q, nil
}

// answer decides one question.
func (c *checker) answer(q *checkQuestion) checkAnswer {
	a := checkAnswer{ID: q.ID, Permissions: []string{}, Missing: []string{}}
	refuse := func(format string, args ...any) checkAnswer {
		a.Effect, a.Text = decision.Refuse.String(), fmt.Sprintf(format, args...)
		return a
	}
	session, err := c.session(q)
	if err != nil {
		return refuse("%v", err)
	}
	dir := decision.Out
	if *q.Direction == "in" {
		dir = decision.In
	}
	e, fault, err := c.trial.Explain(c.view, session, dir, *q.Stanza, q.Session.memory(), c.now())
	if err != nil {
		return refuse("%v", err)
	}
	return fill(a, e, fault)
}

// session returns the session that the question is about.
func (c *checker) session(q *checkQuestion) (decision.Session, error) {
	account, err := jid.Bare(*q.Account)
	if err != nil {
		return decision.Session{}, fmt.Errorf("account %q: %w", *q.Account, err)
	}
	full, err := jid.Parse([]byte(account + "/" + *q.Resource))
	if err != nil {
		return decision.Session{}, fmt.Errorf("resource %q: %w", *q.Resource, err)
	}
	owner, place := c.view.Owner(full.Domain())
	if place != projections.Domain {
		return decision.Session{}, fmt.Errorf("account %q: the policy files do not have its domain", *q.Account)
	}
	return trial.Session(c.view, owner.ID(), full), nil
}

// fill copies an explanation into the answer. A stripped stanza counts as
// passed. A verdict that ends the session counts as a refusal, as does a
// malformed to or from address in a stanza of any kind.
func fill(a checkAnswer, e policy.Explanation, fault stanza.Fault) checkAnswer {
	v := &e.Verdict
	a.Permissions, a.Missing = e.Asked.Names(), e.Missing.Names()
	a.Text = v.Text()
	switch v.Effect {
	case decision.Strip:
		a.Effect = decision.Pass.String()
	case decision.End:
		a.Effect = decision.Refuse.String()
	default:
		a.Effect = v.Effect.String()
	}
	if fault == stanza.BadTo || fault == stanza.BadFrom {
		a.Effect = decision.Refuse.String()
	}
	if answer := v.Answer(); a.Effect == decision.Refuse.String() && answer.Type != "" {
		a.Error = &checkError{Type: answer.Type, Condition: answer.Condition}
	}
	return a
}
