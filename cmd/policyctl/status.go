package main

import (
	"context"
	"io"
	"time"
)

type statusCmd struct{}

// Help is the command's help.
func (*statusCmd) Help() string {
	return `Example:

    policyctl status`
}

// Run shows the state of the node.
func (c *statusCmd) Run(ctx context.Context, a *app) error {
	s, err := a.client.Status(ctx)
	if err != nil {
		return err
	}
	return a.print(s, func(w io.Writer) {
		t := &table{}
		t.add("version", s.Version)
		t.add("started", s.Started.UTC().Format(time.DateTime))
		t.add("log", s.LogID)
		t.add("position", number(s.Position))
		t.add("tenants", number(s.Tenants))
		t.add("domains", number(s.Domains))
		t.add("members", number(s.Members))
		t.write(w)
	})
}
