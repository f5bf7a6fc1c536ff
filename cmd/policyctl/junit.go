package main

import (
	"fmt"
	"strings"
)

// junit returns the report as JUnit XML, which build servers read: testsuites has
// a testsuite for each file, each of these a testcase for each case, and each
// failed testcase a failure.
func (r *testReport) junit() []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"policyctl test\" tests=\"%d\" failures=\"%d\" errors=\"0\">\n", len(r.Cases), r.Failed)
	for from := 0; from < len(r.Cases); {
		to := from
		failed, seconds := 0, 0.0
		for to < len(r.Cases) && r.Cases[to].File == r.Cases[from].File {
			if !r.Cases[to].Passed {
				failed++
			}
			seconds += r.Cases[to].took.Seconds()
			to++
		}
		fmt.Fprintf(&b, "  <testsuite name=%s tests=\"%d\" failures=\"%d\" errors=\"0\" skipped=\"0\" time=\"%.6f\">\n", xmlAttr(r.Cases[from].File), to-from, failed, seconds)
		for _, c := range r.Cases[from:to] {
			c.junit(&b)
		}
		b.WriteString("  </testsuite>\n")
		from = to
	}
	b.WriteString("</testsuites>\n")
	return []byte(b.String())
}

func (c *caseResult) junit(b *strings.Builder) {
	fmt.Fprintf(b, "    <testcase name=%s classname=%s file=%s line=\"%d\" time=\"%.6f\"", xmlAttr(c.Name), xmlAttr(c.File), xmlAttr(c.File), c.Line, c.took.Seconds())
	if c.Passed {
		b.WriteString("/>\n")
		return
	}
	p := &page{}
	c.writeFailure(p)
	fmt.Fprintf(b, ">\n      <failure type=\"policy\" message=%s>%s</failure>\n    </testcase>\n",
		xmlAttr(fmt.Sprintf("expected %s%s, got %s, missing %s", c.Expected, c.expectedMissing, c.Effect, orNone(c.Missing))), xmlText(p.String()))
}

func xmlAttr(s string) string { return `"` + xmlText(s) + `"` }

// xmlText escapes a text. clean and the first replacer remove the characters that
// XML 1.0 does not allow.
func xmlText(s string) string {
	s = strings.NewReplacer("\uFFFE", "\uFFFD", "\uFFFF", "\uFFFD").Replace(clean(s))
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(s)
}
