package gateway

import (
	"crypto/tls"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/idna"

	"github.com/postern-im/postern/internal/certdate"
)

// A CertificateNotice warns an operator about a certificate.
type CertificateNotice struct {
	Level   slog.Level
	Message string   // one of a few constants
	Domain  string   // NAME of its file
	Names   []string // the DNS names in the certificate
	Expires time.Time
}

// wrongName is the message about a certificate that clients of its domain refuse.
const wrongName = "a certificate is not for the domain its file is named for"

// Notices returns a notice for each loaded certificate that has expired or
// expires soon, and for each that is not valid for the NAME of its file.
func (c *Certificates) Notices(now time.Time) (all []CertificateNotice) {
	for _, domain := range c.domains() {
		cert := c.ofFile(domain)
		if cert == nil {
			continue
		}
		n := CertificateNotice{Domain: domain, Names: cert.Leaf.DNSNames, Expires: cert.Leaf.NotAfter}
		if level, message := certdate.Look(cert.Leaf, now); message != "" {
			n.Level, n.Message = level, message
			all = append(all, n)
		}
		if !isFor(cert, domain) {
			n.Level, n.Message = slog.LevelWarn, wrongName
			all = append(all, n)
		}
	}
	return all
}

// isFor reports whether a client that connects to a domain accepts the
// certificate (RFC 6125, as RFC 6120 section 13.7.2.1 requires). If the domain is
// a wildcard, the certificate must be valid for any name that it matches.
func isFor(cert *tls.Certificate, domain string) bool {
	base, wild := strings.CutPrefix(domain, "*.")
	name, err := idna.Lookup.ToASCII(base)
	if err != nil {
		return false
	}
	if wild {
		name = "any." + name
	}
	return cert.Leaf.VerifyHostname(name) == nil
}

// domains returns the NAMEs of the loaded files, sorted.
func (c *Certificates) domains() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.byFile))
}

func (c *Certificates) ofFile(domain string) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byFile[domain]
}

// expiry describes the metric of the expiry times of certificates.
var expiry = prometheus.NewDesc("postern_gateway_certificate_expiry_seconds",
	"Unix time at which the certificate of a domain expires, by the name of its file.", []string{"domain"}, nil)

// Describe implements prometheus.Collector.
func (c *Certificates) Describe(ch chan<- *prometheus.Desc) { ch <- expiry }

// Collect implements prometheus.Collector.
func (c *Certificates) Collect(ch chan<- prometheus.Metric) {
	for _, domain := range c.domains() {
		if cert := c.ofFile(domain); cert != nil {
			ch <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, float64(cert.Leaf.NotAfter.Unix()), domain)
		}
	}
}
