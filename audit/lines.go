package audit

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/postern-im/postern/decision"
)

// lines are JSON objects, a line each. Every key but time begins with a comma.
// Programs of others read them: keys are added, never renamed or moved.
type lines []byte

// add adds the line of one record.
func (l *lines) add(r *Record) {
	*l = append(*l, `{"time":"`...)
	*l = r.Time.UTC().AppendFormat(*l, time.RFC3339Nano)
	*l = append(*l, '"')
	switch r.Kind {
	case Verdict:
		text(l, "msg", "verdict")
		l.verdict(r)
	case Admission:
		text(l, "msg", "admission")
		text(l, "domain", r.Domain)
		l.bool("known", r.Known)
		text(l, "tenant", r.Tenant)
		l.number("position", r.Position)
	case Opening:
		text(l, "msg", "opening")
		l.session(&r.Session)
		l.bool("allowed", r.Allowed)
		l.number("position", r.Position)
	}
	text(l, "node", r.Node)
	text(l, "gateway", r.Gateway)
	*l = append(*l, "}\n"...)
}

func (l *lines) session(s *decision.Session) {
	text(l, "session", s.ID)
	text(l, "tenant", s.Tenant)
	text(l, "account", s.Account)
	text(l, "resource", s.Resource)
	text(l, "grant", s.Grant)
}

func (l *lines) verdict(r *Record) {
	l.number("question", r.Question)
	l.session(&r.Session)
	direction := "out"
	if r.Direction == decision.In {
		direction = "in"
	}
	text(l, "direction", direction)
	s := &r.Stanza
	l.number("kind", uint64(s.Kind))
	l.number("type", uint64(s.Type))
	l.number("fault", uint64(s.Fault))
	l.address("to", &s.To)
	l.address("from", &s.From)
	if s.Space.HasText() {
		text(l, "space", s.OtherSpace)
	} else {
		text(l, "space", s.Space.Text())
	}
	text(l, "name", s.Name)
	text(l, "effect", r.Effect.String())
	l.number("reason", uint64(r.Reason))
	text(l, "permission", r.Permission)
	l.number("position", r.Position)
	l.number("table", r.Table)
}

func (l *lines) address(key string, a *Address) {
	text(l, key, a.Text)
	text(l, key, a.Class.String())
}

func (l *lines) key(key string) {
	*l = append(append(append(*l, `,"`...), key...), `":`...)
}

func (l *lines) number(key string, n uint64) {
	l.key(key)
	*l = strconv.AppendUint(*l, n, 10)
}

func (l *lines) bool(key string, b bool) {
	l.key(key)
	*l = strconv.AppendBool(*l, b)
}

// text adds a text, where it is not empty.
func text[T string | []byte](l *lines, key string, value T) {
	if len(value) == 0 {
		return
	}
	l.key(key)
	if !isPlain(value) {
		quoted, _ := json.Marshal(string(value)) // a string never fails
		*l = append(*l, quoted...)
		return
	}
	*l = append(append(append(*l, '"'), value...), '"')
}

// isPlain reports whether a text stands in JSON as it is.
func isPlain[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
