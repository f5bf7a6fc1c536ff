package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/idna"

	"github.com/postern-im/postern/xmpp/jid"
)

// Certificates are the certificates in a directory, by domain: NAME.crt with
// NAME.key, or NAME/fullchain.pem with NAME/privkey.pem. A certificate is used
// for the domain NAME and for the DNS names in it, wildcards included. If
// several certificates match a domain, an exact name is preferred to a
// wildcard, and then a NAME to a DNS name in a certificate.
type Certificates struct {
	dir        string
	selfSigned bool

	mu     sync.Mutex                  // guards all below
	byFile map[string]*tls.Certificate // by NAME
	byName map[string]*tls.Certificate // certificates of byFile, by their DNS names
	made   map[string]*tls.Certificate // self-signed, by domain
}

// maxSelfSigned bounds the self-signed certificates, because clients choose the
// names for which they are made.
const maxSelfSigned = 256

// NewCertificates returns the certificates of dir; Load must be called to read
// them. With selfSigned, a domain without a certificate gets a self-signed
// certificate, which is for demonstrations only.
func NewCertificates(dir string, selfSigned bool) *Certificates {
	return &Certificates{dir: dir, selfSigned: selfSigned}
}

// Load reads the directory, and replaces the certificates that were loaded
// before. If a pair of files cannot be read, its NAME keeps the certificate
// loaded before; Load loads all other pairs and returns an error. If the
// directory cannot be read, Load returns an error and keeps all certificates.
// It does the same if the directory holds no certificate, unless selfSigned is
// set.
func (c *Certificates) Load() (loaded int, err error) {
	var pairs [][3]string
	if c.dir != "" {
		if pairs, err = c.pairs(); err != nil {
			return 0, err
		}
		if len(pairs) == 0 && !c.selfSigned {
			return 0, fmt.Errorf("certificates: %s holds no certificate: want DOMAIN.crt with DOMAIN.key, or DOMAIN/fullchain.pem with DOMAIN/privkey.pem", c.dir)
		}
	}
	c.mu.Lock()
	old := c.byFile
	c.mu.Unlock()
	files, names := make(map[string]*tls.Certificate), make(map[string]*tls.Certificate)
	var errs []error
	for _, p := range pairs {
		name, cert, err := loadPair(p)
		if err != nil {
			errs = append(errs, err)
			if cert = old[name]; cert == nil {
				continue
			}
		}
		files[name] = cert
		for _, n := range cert.Leaf.DNSNames {
			if n, err := certName(n); err == nil {
				names[n] = cert
			}
		}
	}
	c.mu.Lock()
	c.byFile, c.byName = files, names
	c.mu.Unlock()
	return len(files), errors.Join(errs...)
}

// KeyFiles returns the paths of the private keys that Load reads.
func (c *Certificates) KeyFiles() (files []string, err error) {
	pairs, err := c.pairs()
	for _, p := range pairs {
		files = append(files, p[2])
	}
	return files, err
}

// pairs returns the NAME, certificate file and key file of each certificate.
func (c *Certificates) pairs() (pairs [][3]string, err error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(c.dir, e.Name())
		if name, ok := strings.CutSuffix(e.Name(), ".crt"); ok {
			pairs = append(pairs, [3]string{name, path, filepath.Join(c.dir, name+".key")})
			continue
		}
		chain := filepath.Join(path, "fullchain.pem")
		if _, err := os.Stat(chain); err == nil {
			pairs = append(pairs, [3]string{e.Name(), chain, filepath.Join(path, "privkey.pem")})
		}
	}
	return pairs, nil
}

func loadPair(p [3]string) (name string, cert *tls.Certificate, err error) {
	if name, err = certName(p[0]); err != nil {
		return "", nil, fmt.Errorf("certificate %s: %w", p[1], err)
	}
	pair, err := tls.LoadX509KeyPair(p[1], p[2])
	if err != nil {
		return name, nil, fmt.Errorf("certificate %s: %w", p[1], err)
	}
	return name, &pair, nil
}

// certName prepares a domain name that may begin with a wildcard.
func certName(s string) (string, error) {
	base, wild := strings.CutPrefix(s, "*.")
	name, err := jid.Domain(base)
	if wild {
		name = "*." + name
	}
	return name, err
}

// For returns the certificate for a prepared domain, or nil if there is none.
// For an empty domain it returns the certificate whose NAME sorts first.
func (c *Certificates) For(domain string) *tls.Certificate {
	if domain == "" {
		return c.first()
	}
	wild := ""
	if _, parent, ok := strings.Cut(domain, "."); ok {
		wild = "*." + parent
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range [...]string{domain, wild} {
		for _, m := range [...]map[string]*tls.Certificate{c.byFile, c.byName} {
			if cert := m[name]; cert != nil {
				return cert
			}
		}
	}
	if !c.selfSigned {
		return nil
	}
	return c.make(domain)
}

func (c *Certificates) first() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.byFile) == 0 {
		return nil
	}
	return c.byFile[slices.Min(slices.Collect(maps.Keys(c.byFile)))]
}

// make returns the self-signed certificate for a domain, and creates it if
// needed. It returns nil if that fails or maxSelfSigned is reached. The caller
// holds the lock.
func (c *Certificates) make(domain string) *tls.Certificate {
	if cert := c.made[domain]; cert != nil {
		return cert
	}
	if len(c.made) >= maxSelfSigned {
		return nil
	}
	cert, err := selfSign(domain)
	if err != nil {
		return nil
	}
	if c.made == nil {
		c.made = make(map[string]*tls.Certificate)
	}
	c.made[domain] = cert
	return cert
}

// selfSignedFor is the lifetime of a self-signed certificate.
const selfSignedFor = 30 * 24 * time.Hour

func selfSign(domain string) (*tls.Certificate, error) {
	name, err := idna.Lookup.ToASCII(domain)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(selfSignedFor),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
