package main

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern-im/postern/internal/certdate"
)

// certificates returns the certificates in use, by the section of the configuration
// that names them: admin, nats or cluster.
func (p *process) certificates() map[string]*x509.Certificate {
	all := make(map[string]*x509.Certificate)
	if p.built.Load() && p.network != nil {
		if cert := p.network.current.Load(); cert != nil {
			all["admin"] = cert.Leaf
		}
	}
	if p.server != nil {
		if leaf := p.server.Certificate(); leaf != nil {
			all["nats"] = leaf
		}
	}
	if p.cluster != nil && p.cluster.logServer != nil {
		all["cluster"] = p.cluster.logServer.Certificate()
	}
	return all
}

// sayRenewed logs the certificates that are in use in place of those before.
func (p *process) sayRenewed(before map[string]*x509.Certificate) {
	files := p.certificateFiles()
	for of, leaf := range p.certificates() {
		if old := before[of]; old == nil || !old.Equal(leaf) {
			p.logger.Info("a new certificate is in use", "of", of, "file", files[of], "not_after", leaf.NotAfter.UTC().Format(time.RFC3339))
		}
	}
}

// certificateFiles returns the files of certificates, by the section that names them.
func (p *process) certificateFiles() map[string]string {
	return map[string]string{"admin": p.config.Admin.Cert, "nats": p.config.NATS.Cert, "cluster": p.config.Cluster.Cert}
}

// noticeCertificates logs certificates that have expired or expire soon.
func (p *process) noticeCertificates() {
	files := p.certificateFiles()
	for of, leaf := range p.certificates() {
		if level, message := certdate.Look(leaf, time.Now()); message != "" {
			p.logger.Log(context.Background(), level, message, "of", of, "file", files[of], "not_after", leaf.NotAfter.UTC().Format(time.RFC3339))
		}
	}
}

// expiry describes the metric of the expiry times of certificates.
var expiry = prometheus.NewDesc("postern_policyd_certificate_expiry_seconds",
	"Unix time at which the certificate of [admin], [nats] or [cluster] expires.", []string{"of"}, nil)

// A certificateCollector collects the metric.
type certificateCollector struct{ p *process }

// Describe implements prometheus.Collector.
func (c certificateCollector) Describe(ch chan<- *prometheus.Desc) { ch <- expiry }

// Collect implements prometheus.Collector.
func (c certificateCollector) Collect(ch chan<- prometheus.Metric) {
	for of, leaf := range c.p.certificates() {
		ch <- prometheus.MustNewConstMetric(expiry, prometheus.GaugeValue, float64(leaf.NotAfter.Unix()), of)
	}
}
