// Package daemontest helps to test daemons and other programs that read and write
// files: it compares folders, makes certificates, and lists metrics. It is for tests
// only.
package daemontest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Snapshot returns the mode, modification time and content of a folder and of
// everything below it, by path. Two snapshots are equal if nothing was changed
// between them. The snapshot of a missing folder is empty.
func Snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String() + info.ModTime().String()
		if d.Type().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += string(content)
		}
		all[path] = text
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return all
}

// WriteCertificate writes a self-signed certificate and its private key to two
// files, and returns a pool that trusts it. The certificate became valid age ago,
// expires after left, and is for the given DNS names and IP addresses.
func WriteCertificate(t *testing.T, cert, key string, age, left time.Duration, names ...string) *x509.CertPool {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), NotBefore: now.Add(-age), NotAfter: now.Add(left),
		IsCA: true, BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return pool
}

// MetricNames returns the names of the metrics that are registered, the runtime's and
// the process's excepted. It also finds metrics with labels that have no series yet.
func MetricNames(t *testing.T, registry *prometheus.Registry) []string {
	t.Helper()
	// A registry lists only metrics with series. It keeps the names of all in this
	// field, because two metrics of one name must have the same labels.
	names := reflect.ValueOf(registry).Elem().FieldByName("dimHashesByName")
	if names.Kind() != reflect.Map {
		t.Fatal("the registry of this version keeps its names elsewhere")
	}
	var list []string
	for _, name := range names.MapKeys() {
		if s := name.String(); !strings.HasPrefix(s, "go_") && !strings.HasPrefix(s, "process_") {
			list = append(list, s)
		}
	}
	slices.Sort(list)
	return list
}

var metricRow = regexp.MustCompile("^\\| `([a-z_]+)` \\| ")

// DocumentedMetrics returns the names in the tables of a section of docs/METRICS.md.
func DocumentedMetrics(t *testing.T, file, section string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "\n## "+section+"\n")
	if !found {
		t.Fatalf("%s has no section %s", file, section)
	}
	after, _, _ = strings.Cut(after, "\n## ")
	var list []string
	for line := range strings.Lines(after) {
		if row := metricRow.FindStringSubmatch(line); row != nil {
			list = append(list, row[1])
		}
	}
	return list
}
