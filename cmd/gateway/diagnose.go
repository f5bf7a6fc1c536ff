package main

import (
	"context"
	"strings"
	"time"
)

// noticeCertificates logs certificates that expire soon or have wrong names.
func (p *process) noticeCertificates() {
	for _, n := range p.certs.Notices(time.Now()) {
		p.logger.Log(context.Background(), n.Level, n.Message, "domain", n.Domain,
			"not_after", n.Expires.UTC().Format(time.RFC3339), "names", strings.Join(n.Names, " "))
	}
}
