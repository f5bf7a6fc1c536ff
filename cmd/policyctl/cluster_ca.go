package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"time"
)

// The lifetimes of certificates. A node's certificate is renewed with cluster
// issue; policyd warns from 30 days before its end.
const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	nodeLifetime = 2 * 365 * 24 * time.Hour
	// backdated is how long before its creation a certificate becomes valid, so
	// that nodes with a slow clock accept it.
	backdated = time.Hour
)

// maxPEM bounds a file of the certificate authority, in bytes.
const maxPEM = 64 << 10

// A clusterCA is the certificate authority of one cluster. Nodes trust every
// certificate for clients that it has issued as a node's, so its key must not
// issue such certificates to anything else.
type clusterCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// A pemPair is a certificate and its private key, both as PEM.
type pemPair struct{ cert, key []byte }

// newClusterCA creates a certificate authority for the cluster.
func newClusterCA(cluster string, now time.Time) (*clusterCA, pemPair, error) {
	key, serial, err := newKey()
	if err != nil {
		return nil, pemPair{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Postern cluster " + cluster},
		NotBefore: now.Add(-backdated), NotAfter: now.Add(caLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, pemPair{}, fmt.Errorf("sign the certificate of the authority: %w", err)
	}
	return parseClusterCA(der, key)
}

func parseClusterCA(der []byte, key *ecdsa.PrivateKey) (*clusterCA, pemPair, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, pemPair{}, err
	}
	pair, err := encodePair(der, key)
	return &clusterCA{cert, key}, pair, err
}

// readClusterCA reads a certificate authority. Only the owner of the key's file
// may be able to read it.
func readClusterCA(certFile, keyFile string) (*clusterCA, error) {
	certBlock, err := readPEM(certFile, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(keyFile)
	if err != nil {
		return nil, err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %04o, so other users can read the key: run chmod 600 %s", keyFile, perm, keyFile)
	}
	keyBlock, err := readPEM(keyFile, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(certBlock)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s is not the key of the certificate %s", keyFile, certFile)
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("%s is not the certificate of an authority", certFile)
	}
	return &clusterCA{cert, key}, nil
}

// issue creates a certificate for a node. With peer, the node can also use it as
// a client, which makes it a member of the routes between the nodes. The
// certificate never outlives the authority.
func (ca *clusterCA) issue(n clusterNode, peer bool, now time.Time) (pemPair, error) {
	if !now.Before(ca.cert.NotAfter) {
		return pemPair{}, fmt.Errorf("the authority's certificate has expired (%s)", ca.cert.NotAfter.UTC().Format(time.DateOnly))
	}
	key, serial, err := newKey()
	if err != nil {
		return pemPair{}, err
	}
	until := now.Add(nodeLifetime)
	if until.After(ca.cert.NotAfter) {
		until = ca.cert.NotAfter
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: n.ID},
		NotBefore: now.Add(-backdated), NotAfter: until,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{n.ID},
	}
	if peer {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if ip := net.ParseIP(n.Host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else if n.Host != n.ID {
		template.DNSNames = append(template.DNSNames, n.Host)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return pemPair{}, fmt.Errorf("sign the certificate of node %s: %w", n.ID, err)
	}
	return encodePair(der, key)
}

func newKey() (*ecdsa.PrivateKey, *big.Int, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, fmt.Errorf("make a serial number: %w", err)
	}
	return key, serial, nil
}

func encodePair(der []byte, key *ecdsa.PrivateKey) (pemPair, error) {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pemPair{}, fmt.Errorf("encode a key: %w", err)
	}
	return pemPair{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}, nil
}

// readPEM reads a file whose first PEM block must have this type.
func readPEM(file, kind string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPEM))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s: %w", file, errors.New("want a PEM file that begins with "+kind))
	}
	return block.Bytes, nil
}
