package jsonl

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/postern-im/postern/decision"
)

// lines are JSON objects, one on each line. Programs of other authors read them, so
// keys may be added but never renamed. In this file, a key is a literal together with
// the comma before it, its quotes and its colon.
type lines []byte

// addAll adds the lines of records. The records of one batch have the same time,
// which is formatted only once.
func (l *lines) addAll(records []Record) {
	var buffer [len(time.RFC3339Nano)]byte
	var at time.Time
	var clock []byte // the text of at
	for i := range records {
		if r := &records[i]; clock == nil || r.Time != at {
			at, clock = r.Time, r.Time.UTC().AppendFormat(buffer[:0], time.RFC3339Nano)
		}
		l.add(&records[i], clock)
	}
}

// add adds the line of one record; clock is the text of its time.
func (l *lines) add(r *Record, clock []byte) {
	*l = append(append(append(*l, `{"time":"`...), clock...), '"')
	switch r.Kind {
	case Verdict:
		l.put(`,"msg":"verdict"`)
		l.verdict(r)
	case Admission:
		l.put(`,"msg":"admission"`)
		text(l, `,"domain":`, r.Domain)
		l.bool(`,"known":`, r.Known)
		text(l, `,"tenant":`, r.Tenant)
		l.number(`,"position":`, r.Position)
	case Opening:
		l.put(`,"msg":"opening"`)
		l.session(&r.Session)
		l.bool(`,"allowed":`, r.Allowed)
		l.number(`,"position":`, r.Position)
	case Resumed:
		l.put(`,"msg":"resumed","stopped":"`)
		*l = append(r.Stopped.UTC().AppendFormat(*l, time.RFC3339Nano), '"')
		text(l, `,"cause":`, r.Cause)
		l.number(`,"position":`, r.Position)
	}
	text(l, `,"node":`, r.Node)
	text(l, `,"gateway":`, r.Gateway)
	*l = append(*l, "}\n"...)
}

func (l *lines) session(s *decision.Session) {
	text(l, `,"session":`, s.ID)
	text(l, `,"tenant":`, s.Tenant)
	text(l, `,"account":`, s.Account)
	text(l, `,"resource":`, s.Resource)
	text(l, `,"grant":`, s.Grant)
}

func (l *lines) verdict(r *Record) {
	l.number(`,"question":`, r.Question)
	l.session(&r.Session)
	direction := `,"direction":"out"`
	if r.Direction == decision.In {
		direction = `,"direction":"in"`
	}
	l.put(direction)
	s := &r.Stanza
	l.number(`,"kind":`, uint64(s.Kind))
	l.number(`,"type":`, uint64(s.Type))
	l.number(`,"fault":`, uint64(s.Fault))
	l.address(`,"to":`, &s.To)
	l.address(`,"from":`, &s.From)
	if s.Space.HasText() {
		text(l, `,"space":`, s.OtherSpace)
	} else {
		text(l, `,"space":`, s.Space.Text())
	}
	text(l, `,"name":`, s.Name)
	text(l, `,"effect":`, r.Effect.String())
	l.number(`,"reason":`, uint64(r.Reason))
	text(l, `,"permission":`, r.Permission)
	l.number(`,"position":`, r.Position)
	l.number(`,"table":`, r.Table)
}

func (l *lines) address(key string, a *Address) {
	text(l, key, a.Text)
	text(l, key, a.Class.String())
}

// put adds s without quoting.
func (l *lines) put(s string) { *l = append(*l, s...) }

func (l *lines) number(key string, n uint64) {
	*l = strconv.AppendUint(append(*l, key...), n, 10)
}

func (l *lines) bool(key string, b bool) {
	*l = strconv.AppendBool(append(*l, key...), b)
}

// text adds a key and its value, unless the value is empty.
func text[T string | []byte](l *lines, key string, value T) {
	if len(value) == 0 {
		return
	}
	*l = append(*l, key...)
	if !isPlain(value) {
		quoted, _ := json.Marshal(string(value)) // Marshal never fails for a string
		*l = append(*l, quoted...)
		return
	}
	*l = append(append(append(*l, '"'), value...), '"')
}

// isPlain reports whether a text needs no escaping in JSON.
func isPlain[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
