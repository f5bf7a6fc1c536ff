package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/policy/suite"
	"github.com/postern-im/postern/tenants/policyfile"
)

// casesSuffix marks the files of cases in a folder.
const casesSuffix = ".test.toml"

type testCmd struct {
	Paths   []string `arg:"" name:"path" help:"A file of cases, or a folder: all *.test.toml files in it and its subfolders."`
	Only    string   `name:"run" help:"Only cases whose name matches this regular expression." placeholder:"REGEXP"`
	JUnit   string   `name:"junit" help:"Also write the results as JUnit XML to this file." placeholder:"FILE"`
	Verbose bool     `short:"v" help:"Also show the cases that passed, and the roles that no case tests."`
}

// Help is the command's help.
func (*testCmd) Help() string {
	return `It decides offline, by the same code as a policy node. A file of cases:

    policy = ["acme.toml"]           # beside this file

    [[case]]
    name = "the kiosk does not write"
    account = "kiosk@acme.example"   # or role = "acme:kiosk",
                                     # or permissions = ["xmpp:federate"]
    stanza = "message to bob@acme.example"
    expect = "refuse"                # pass, refuse, drop, clamp, strip, end
    missing = "xmpp:account:messages:write"

missing is the first missing permission, or a list of all of them. A case with
role or permissions also needs domain if the policy files have several domains.
Services that the operator shares with all tenants are listed above the cases, as
shared_services = ["push.vendor.example"]. Further keys of a case are resource,
direction (out or in), and the state of the session: joined = ["ROOM"] and
outstanding = ["PEER#ID"].

A stanza is XML or in the short form. In the short form, a stanza with from is
incoming:

    message [groupchat|headline|…] [to JID] [from JID] [event NODE]
    presence [unavailable|subscribe|…] [priority N] [to JID] [from JID]
    iq get|set [ELEMENT] NAMESPACE [node NODE] [to JID] [from JID]

Exit codes: 0 all passed; 1 some failed; 2 a file could not be read, or there
are no cases.

Examples:

    policyctl test policies
    policyctl test acme.test.toml --run kiosk -v
    policyctl test policies --junit results.xml`
}

// A testReport is the result of all cases.
type testReport struct {
	Passed   int          `json:"passed"`
	Failed   int          `json:"failed"`
	Cases    []caseResult `json:"cases"`
	Untested []string     `json:"untested_roles"`
}

// A caseResult is the result of one case.
type caseResult struct {
	File     string           `json:"file"`
	Line     int              `json:"line"`
	Name     string           `json:"name"`
	Who      string           `json:"who"`
	Stanza   string           `json:"stanza"`
	Passed   bool             `json:"passed"`
	Expected string           `json:"expected"`
	Effect   string           `json:"effect"`
	Missing  []string         `json:"missing"`
	Row      string           `json:"row"`
	Text     string           `json:"text,omitempty"`
	Why      []api.Permission `json:"permissions"`

	expectedMissing string
	took            time.Duration
}

// resultOf converts an outcome for the report.
func resultOf(file string, o *suite.Outcome) caseResult {
	c := o.Case
	r := caseResult{
		File: file, Line: c.Line, Name: o.Name, Who: o.Account, Stanza: c.Stanza, Passed: o.Passed, Expected: c.Expect,
		Effect: o.Effect, Missing: o.Missing, Row: o.Row, Text: o.Text, Why: []api.Permission{}, took: o.Took,
	}
	switch {
	case c.Role != "":
		r.Who = "role " + c.Role
	case c.Account == "":
		r.Who = "permissions " + orNone(c.Permissions)
	}
	if c.MissingGiven {
		r.expectedMissing = ", missing " + orNone(c.Missing)
	}
	for _, asked := range o.Asked {
		p := api.Permission{Permission: asked.Permission, Steps: []api.Step{}}
		for _, step := range asked.Steps {
			p.Steps = append(p.Steps, api.Step{Role: step.Role, Depth: step.Depth, Answer: step.Answer.String()})
			p.Granted = step.Answer.Granted() // the last step decides
		}
		r.Why = append(r.Why, p)
	}
	return r
}

// add adds the outcomes of one file of cases.
func (r *testReport) add(file string, outcomes []suite.Outcome, untested []string) {
	for i := range outcomes {
		r.Cases = append(r.Cases, resultOf(file, &outcomes[i]))
		if outcomes[i].Passed {
			r.Passed++
		} else {
			r.Failed++
		}
	}
	r.Untested = append(r.Untested, untested...)
}

// errCasesFailed ends a run in which cases failed. The report has been printed
// already.
var errCasesFailed = errors.New("some cases failed")

// Run decides the cases and reports the results.
func (c *testCmd) Run(a *app) error {
	only, err := regexp.Compile(c.Only)
	if err != nil {
		return usagef("--run: %w", err)
	}
	files, err := caseFiles(c.Paths)
	if err != nil {
		return &usageError{err}
	}
	report := testReport{Cases: []caseResult{}, Untested: []string{}}
	for _, file := range files {
		s, err := loadSuite(a, file)
		if err != nil {
			return &usageError{err}
		}
		outcomes, untested, err := s.Decide(only)
		if err != nil {
			return &usageError{err}
		}
		report.add(file, outcomes, untested)
	}
	if len(report.Cases) == 0 {
		return usagef("no case matches --run %s", c.Only)
	}
	slices.Sort(report.Untested)
	report.Untested = slices.Compact(report.Untested)
	if c.JUnit != "" {
		if err := os.WriteFile(c.JUnit, report.junit(), 0o644); err != nil {
			return &usageError{err}
		}
	}
	if err := a.print(report, func(w io.Writer) { report.write(w, c.Verbose) }); err != nil {
		return err
	}
	if report.Failed > 0 {
		return errCasesFailed
	}
	return nil
}

// caseFiles finds the files of cases.
func caseFiles(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			files = append(files, path)
			continue
		}
		n := len(files)
		err = filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasSuffix(p, casesSuffix) {
				files = append(files, p)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(files) == n {
			return nil, fmt.Errorf("%s has no files of cases (*%s)", path, casesSuffix)
		}
	}
	slices.Sort(files)
	return slices.Compact(files), nil
}

// loadSuite reads a file of cases and the policy files it names.
func loadSuite(a *app, file string) (*suite.Suite, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}
	cases, err := policyfile.ParseCases(file, data)
	if err != nil {
		return nil, err
	}
	var policies []*policyfile.File
	for i, name := range cases.Policies {
		key := fmt.Sprintf("policy[%d]", i)
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(file), name)
		}
		text, err := readFile(name)
		if err != nil {
			return nil, cases.Note(nil, key, "%v", err)
		}
		f, err := parseWarned(a, name, text)
		if err != nil {
			return nil, err
		}
		policies = append(policies, f)
	}
	view, err := policyfile.View(policies...)
	if err != nil {
		return nil, err
	}
	if view, err = policyfile.Share(view, cases.Shared); err != nil {
		return nil, cases.Note(nil, "shared_services", "%v", err)
	}
	return suite.New(suite.Config{Cases: cases, View: view, Now: time.Now}), nil
}

// write writes the results of the failed cases, or of all cases if verbose.
func (r *testReport) write(w io.Writer, verbose bool) {
	t := &table{}
	t.add("RESULT", "CASE", "WHO", "STANZA", "EFFECT")
	t.colour(0, inkOf)
	t.colour(4, inkOf)
	for _, c := range r.Cases {
		if verbose || !c.Passed {
			t.add(c.result(), c.Name, c.Who, c.Stanza, c.Effect)
		}
	}
	if len(t.rows) > 1 {
		t.write(w)
		fmt.Fprintln(w)
	}
	for _, c := range r.Cases {
		if !c.Passed {
			c.writeFailure(w)
		}
	}
	if verbose && len(r.Untested) > 0 {
		fmt.Fprintf(w, "Roles that no case tests: %s\n", clean(strings.Join(r.Untested, ", ")))
	}
	fmt.Fprintf(w, "%s, %s, %s\n", plural(len(r.Cases), "case"), inked(w, inkPass, fmt.Sprintf("%d passed", r.Passed)), r.failedWords(w))
}

func (r *testReport) failedWords(w io.Writer) string {
	words := fmt.Sprintf("%d failed", r.Failed)
	if r.Failed == 0 {
		return words
	}
	return inked(w, inkRefuse, words)
}

func (c *caseResult) result() string {
	if c.Passed {
		return "ok"
	}
	return "FAIL"
}

// writeFailure writes the expected and the actual effect of a case, and why.
func (c *caseResult) writeFailure(w io.Writer) {
	fmt.Fprintln(w, inked(w, inkHeading, clean(fmt.Sprintf("%s:%d: %s", c.File, c.Line, c.Name))))
	t := &table{}
	t.add("  expected", c.Expected+c.expectedMissing)
	t.add("  got", c.Effect+", missing "+orNone(c.Missing))
	if c.Text != "" {
		t.add("  text", c.Text)
	}
	t.add("  row", c.Row)
	for _, p := range c.Why {
		t.add("  "+p.Permission, yesNo(p.Granted)+": "+because(p))
	}
	t.write(w)
	fmt.Fprintln(w)
}
