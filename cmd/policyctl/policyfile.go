package main

import (
	"errors"
	"fmt"

	"github.com/postern-im/postern/api"
	"github.com/postern-im/postern/tenants/policyfile"
)

// parsePolicy reads a policy file.
func parsePolicy(name string, text []byte) (*policyfile.File, error) {
	if name == "-" {
		name = "standard input"
	}
	f, err := policyfile.Parse(name, text)
	if err != nil {
		return nil, &usageError{err}
	}
	return f, nil
}

// parseWarned reads a policy file and writes its warnings.
func parseWarned(a *app, name string, text []byte) (*policyfile.File, error) {
	f, err := policyfile.Parse(name, text)
	if err != nil {
		return nil, err
	}
	for _, n := range f.Warnings {
		a.warn(n.String())
	}
	return f, nil
}

// refused adds the lines of the policy file to a node's refusal of it. An error
// that is not about a field of the file is returned unchanged.
func refused(f *policyfile.File, err error) error {
	e, ok := errors.AsType[*api.Error](err)
	if !ok || len(e.Details) == 0 {
		return err
	}
	var refusals []policyfile.Refusal
	for _, d := range e.Details {
		refusals = append(refusals, policyfile.Refusal{Field: d.Field, Text: d.Text})
	}
	return &api.Error{Code: e.Code, Text: fmt.Sprint(f.Refused(refusals)), Details: e.Details}
}
