package backend

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// These are the files in a server's certificate folder. The chain file holds
// key and certificate, as ejabberd expects.
const (
	caName    = "ca.pem"
	frontName = "front.pem"
	frontKey  = "front.key"
	certName  = "server.pem"
	keyName   = "server.key"
	chainName = "server-with-key.pem"
)

// certLifetime is so long that ejabberd does not warn about the expiry.
const certLifetime = 60 * 24 * time.Hour

// writeCertificates creates a certificate authority and two certificates signed
// by it: one for the server's domains, and one for a gateway in front, which
// names all hosts. The authority's key is discarded.
func writeCertificates(dir string, config Config) error {
	now := time.Now()
	authority := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "End-to-end tests"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(certLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make CA key: %w", err)
	}
	caPEM, err := sign(authority, authority, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	certPEM, keyPEM, err := issue(authority, caKey, 2, config.Domains)
	if err != nil {
		return err
	}
	frontPEM, frontKeyPEM, err := issue(authority, caKey, 3, config.hosts())
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		caName: caPEM, certName: certPEM, keyName: keyPEM, chainName: slices.Concat(keyPEM, certPEM),
		frontName: frontPEM, frontKey: frontKeyPEM,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// issue creates a key and a certificate for it that names the hosts.
func issue(authority *x509.Certificate, caKey crypto.Signer, serial int64, hosts []string) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: hosts[0]},
		NotBefore:    authority.NotBefore,
		NotAfter:     authority.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     hosts,
	}
	if certPEM, err = sign(leaf, authority, key.Public(), caKey); err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode key: %w", err)
	}
	return certPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %s: %w", template.Subject.CommonName, err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
