//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/postern-im/postern/policy"
)

// The scenarios of package policy list every stanza with its effect for an
// account with all permissions, with none, and with all but one. Here they are
// sent through the real programs to the real servers.
const (
	outgoingScenario = "../../policy/testdata/outgoing.txt"
	incomingScenario = "../../policy/testdata/incoming.txt"
)

// A line is one stanza of a scenario.
type line struct {
	where  string // file and line
	words  []string
	stanza string
	row    string
	asks   []string
	facts  map[string]string // other facts about the stanza
	// verdicts has the verdict for "all", "none", or the only permission that
	// is missing.
	verdicts map[string]verdict
}

// A verdict is the effect of a decision on a stanza.
type verdict struct {
	effect          string // pass, clamp, strip, refuse, drop, end
	kind, condition string // of the error, if the effect has one
	text            string
}

// of returns the verdict for "all", for "none", or for an account that lacks
// the one permission who.
func (l line) of(who string) verdict {
	if v, ok := l.verdicts[who]; ok {
		return v
	}
	switch {
	case !slices.Contains(l.asks, who):
		return l.verdicts["all"]
	case len(l.asks) == 1:
		return l.verdicts["none"] // the same permission is missing
	}
	// A missing verdict would be a hole in the scenario; no stanza has this
	// effect.
	return verdict{effect: "unknown"}
}

// is reports whether word is among the words before the stanza.
func (l line) is(word string) bool { return slices.Contains(l.words, word) }

// readScenario reads one of package policy's scenarios.
func readScenario(t *testing.T, file string) []line {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []line
	for i, s := range strings.Split(string(text), "\n") {
		fact, isFact := strings.CutPrefix(s, "\t")
		switch {
		case s == "" || strings.HasPrefix(s, "#"):
		case !isFact:
			words, stanza, _ := strings.Cut(s, "<")
			lines = append(lines, line{
				where: fmt.Sprintf("%s:%d", file, i+1), words: strings.Fields(words),
				stanza: "<" + stanza, verdicts: map[string]verdict{}, facts: map[string]string{},
			})
		case len(lines) == 0:
			t.Fatalf("%s:%d: a fact without a stanza", file, i+1)
		default:
			lines[len(lines)-1].learn(fact)
		}
	}
	return lines
}

// learn adds one of the facts below a stanza.
func (l *line) learn(fact string) {
	name, value, _ := strings.Cut(fact, ": ")
	permission, isWithout := strings.CutPrefix(name, "without ")
	switch {
	case name == "row":
		l.row = value
	case name == "asks":
		l.asks = strings.Fields(value)
	case isWithout:
		l.verdicts[permission] = parseVerdict(value)
	case name == "all", name == "none":
		l.verdicts[name] = parseVerdict(value)
	default:
		l.facts[name] = value
	}
}

func parseVerdict(s string) verdict {
	what, text, _ := strings.Cut(s, ": ")
	effect, condition, _ := strings.Cut(what, " ")
	v := verdict{effect: effect, condition: condition, text: text}
	if kind, condition, ok := strings.Cut(condition, "/"); ok {
		v.kind, v.condition = kind, condition
	}
	if effect == "refuse" && strings.HasPrefix(text, "not delivered: ") {
		v.text = "" // the text is for operators; the sender gets none
	}
	return v
}

// permission is the permission that a refusal names in <denied/>, "" if it
// names none.
func (v verdict) permission() string {
	if v.kind != "auth" {
		return ""
	}
	switch v.text {
	case "You do not have permission to send account presence":
		return "xmpp:account:presence:write"
	case "You do not have permission to receive messages (use presence priority -1)":
		return "xmpp:account:messages:read"
	}
	_, name, _ := strings.Cut(v.text, "(")
	return strings.TrimSuffix(name, ")")
}

// wantRows fails the test for each row of the printed table that no stanza
// tested.
func wantRows(t *testing.T, table []policy.Line, driven map[string]bool) {
	t.Helper()
	for _, row := range table {
		if name := strings.TrimPrefix(row.Stanza, "iq get, set: "); !driven[name] {
			t.Errorf("no stanza of the row %q", name)
		}
	}
}
