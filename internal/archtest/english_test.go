package archtest

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

// hardWords are words that make a reader of a comment look for the noun they
// stand for. A sentence that names the noun is understood at the first reading.
var hardWords = regexp.MustCompile(`(?i)\b(whoever|whomever|whom|whosoever|anew|thereof|of which|that of)\b`)

// pronounSubjects are sentences that begin with a pronoun in place of a noun, as
// in "What is late is refused". A question may begin so.
var pronounSubjects = regexp.MustCompile(`(?:^|[.;:] )(What|Who|Whose|Which|Whatever) [^.?]*(?:\.|$)`)

// checkEnglish holds comments to plain English, as CONTRIBUTING.md asks. It
// finds only the words that a program can judge; a reader finds the rest.
func checkEnglish(t *testing.T, all []*file) {
	for _, f := range all {
		for _, group := range f.ast.Comments {
			for _, fault := range hardEnglish(prose(group)) {
				t.Errorf("%s: %q: name the subject", f.at(group), fault)
			}
		}
	}
}

// prose is the text of a comment on one line, without its code blocks and
// directives.
func prose(group *ast.CommentGroup) string {
	var lines []string
	for line := range strings.Lines(group.Text()) {
		if !strings.HasPrefix(line, "\t") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, " ")
}

// hardEnglish returns the passages of a text that the rules refuse.
func hardEnglish(text string) (faults []string) {
	faults = append(faults, hardWords.FindAllString(text, -1)...)
	return append(faults, pronounSubjects.FindAllString(text, -1)...)
}

// TestHardEnglish holds the rules to sentences of both kinds.
func TestHardEnglish(t *testing.T) {
	for text, faulty := range map[string]bool{
		"What is late is refused.":                          true,
		"A late answer is refused. Who asks again waits.":   true,
		"A late answer is refused.":                         false,
		"The node tells whoever asks.":                      true,
		"The gateway connects anew.":                        true,
		"Its limit is that of the tenant.":                  true,
		"The sessions, of which none is closed.":            true,
		"What does a client see? It sees an error.":         false,
		"Question says what a client wants to do.":          false,
		"A tenant that has no domain can still be renamed.": false,
	} {
		if got := len(hardEnglish(text)) > 0; got != faulty {
			t.Errorf("%q: refused: %v, want %v", text, got, faulty)
		}
	}
}
