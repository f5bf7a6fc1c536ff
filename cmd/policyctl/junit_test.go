package main

import (
	"bytes"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// These types have the structure that build servers read, by their common schema.
type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Time     float64     `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name      string  `xml:"name,attr"`
	ClassName string  `xml:"classname,attr"`
	Time      float64 `xml:"time,attr"`
	Failure   *struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	} `xml:"failure"`
}

// TestJUnit: the file has the common structure, and its counts are right.
func TestJUnit(t *testing.T) {
	name := filepath.Join(t.TempDir(), "results.xml")
	var out, errOut bytes.Buffer
	code := run(t.Context(), []string{"test", "testdata/sessions/cases/failing.toml", "testdata/sessions/cases/demo.test.toml", "--junit", name}, nil, &out, &errOut)
	if code != exitError {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var s junitSuites
	d := xml.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(&s); err != nil {
		t.Fatal(err)
	}
	if s.Tests != 18 || s.Failures != 2 || len(s.Suites) != 2 {
		t.Fatalf("%+v", s)
	}
	for _, suite := range s.Suites {
		failed := 0
		for _, c := range suite.Cases {
			if c.Name == "" || c.ClassName == "" {
				t.Errorf("%+v", c)
			}
			if c.Failure != nil {
				failed++
				if c.Failure.Type == "" || !strings.Contains(c.Failure.Message, "expected") || !strings.Contains(c.Failure.Text, "row") {
					t.Errorf("%+v", c.Failure)
				}
			}
		}
		if suite.Name == "" || suite.Tests != len(suite.Cases) || suite.Failures != failed {
			t.Errorf("%+v", suite)
		}
	}
}

// TestJUnitEscapes: no name breaks the document.
func TestJUnitEscapes(t *testing.T) {
	r := testReport{Cases: []caseResult{{File: "f", Name: "a\"<&>'\x00\x1b\uFFFE\u202e\xff ]]>", Effect: "pass"}}, Failed: 1}
	var s junitSuites
	if err := xml.Unmarshal(r.junit(), &s); err != nil || len(s.Suites) != 1 {
		t.Fatalf("%v\n%s", err, r.junit())
	}
}

// TestDemoCases: the sessions use the same cases as the demo.
func TestDemoCases(t *testing.T) {
	ours, err := os.ReadFile("testdata/sessions/cases/demo.test.toml")
	if err != nil {
		t.Fatal(err)
	}
	demo, err := os.ReadFile("../../test/e2e/demo/demo.test.toml")
	if err != nil || !bytes.Equal(ours, demo) {
		t.Errorf("test/e2e/demo/demo.test.toml differs: copy it here (%v)", err)
	}
}
