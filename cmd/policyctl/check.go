package main

import (
	"errors"
	"os"
	"time"

	"github.com/postern-im/postern/policy/suite"
	"github.com/postern-im/postern/tenants/policyfile"
)

type checkCmd struct {
	File   []string `short:"f" required:"" help:"A policy file; give the flag once for each tenant." placeholder:"FILE"`
	Shared []string `help:"A service that the operator shares with all tenants (policy files do not have these); may be given more than once." placeholder:"DOMAIN"`
	JSONL  string   `name:"jsonl" help:"The questions, one JSON object a line; standard input if omitted or -." default:"-" placeholder:"FILE"`
}

// Help is the command's help.
func (*checkCmd) Help() string {
	return `Each line of input is one question:

    {"id": 1, "account": "bob@alpha.test", "resource": "phone",
     "direction": "out", "stanza": "<message to='a@beta.test'><body/></message>",
     "session": {"joined": ["room@muc.alpha.test"],
                 "outstanding": [{"peer": "a@beta.test/x", "id": "7"}]}}

account and resource name the session. direction is out (client to server) or
in (server to client). session may be left out. joined lists the rooms that the
session has asked to join. outstanding lists the requests that have no answer
yet; a request to a bare JID counts as an archive query too. Each question is
answered with one line, in order:

    {"id": 1, "effect": "refuse", "permissions": ["xmpp:federate", …],
     "missing": ["xmpp:federate"],
     "error": {"type": "auth", "condition": "forbidden"}, "text": "…"}

effect is pass, refuse (the sender gets an error), drop (silently) or clamp
(presence, forwarded with priority -1). A line that is not a valid question ends
the run with exit code 2; the answers before it have been written.

Example:

    policyctl check -f acme.toml --jsonl questions.jsonl`
}

// Run answers the questions.
func (c *checkCmd) Run(a *app) error {
	files, err := c.policies(a)
	if err != nil {
		return &usageError{err}
	}
	view, err := policyfile.View(files...) // it has only the tenants of the files
	if err == nil {
		view, err = policyfile.Share(view, c.Shared)
	}
	if err != nil {
		return &usageError{err}
	}
	in := a.in
	if c.JSONL != "-" {
		f, err := os.Open(c.JSONL)
		if err != nil {
			return &usageError{err}
		}
		defer f.Close()
		in = f
	}
	err = suite.Check(view, time.Now, in, a.out)
	if bad, ok := errors.AsType[*suite.LineError](err); ok {
		return &usageError{bad}
	}
	return err
}

// policies reads the policy files.
func (c *checkCmd) policies(a *app) ([]*policyfile.File, error) {
	var files []*policyfile.File
	for _, name := range c.File {
		text, err := readFile(name)
		if err != nil {
			return nil, err
		}
		f, err := parseWarned(a, name, text)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}
