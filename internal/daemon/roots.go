package daemon

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Roots returns a TLS configuration for a client that trusts the certificates in a
// PEM file and no others. If file is empty, it returns nil.
func Roots(file string) (*tls.Config, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}
