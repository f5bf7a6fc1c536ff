package natsserver

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"

	"github.com/postern-im/postern/internal/secretfile"
)

// NewKey creates a user key that is never stored.
func NewKey() (nkeys.KeyPair, error) {
	return nkeys.CreateUser()
}

// EnsureSeed returns the public key for the nkey seed in a file. If there is no
// file, it creates one that only its owner can read. A file that others may
// read is refused, because its secret may be known already.
func EnsureSeed(path string) (publicKey string, err error) {
	publicKey, err = ReadSeed(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return publicKey, err
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", fmt.Errorf("make an nkey: %w", err)
	}
	seed, err := pair.Seed()
	if err != nil {
		return "", fmt.Errorf("make an nkey: %w", err)
	}
	if err := writeSecret(path, append(seed, '\n')); err != nil {
		return "", fmt.Errorf("write seed: %w", err)
	}
	return ReadSeed(path)
}

// ReadSeed returns the public key for the nkey seed in a file. Only the owner
// may be able to read the file.
func ReadSeed(path string) (publicKey string, err error) {
	text, err := secretfile.Read(path)
	if err != nil {
		return "", fmt.Errorf("read seed: %w", err)
	}
	pair, err := nkeys.FromSeed(bytes.TrimSpace(text))
	if err != nil {
		return "", fmt.Errorf("read seed %s: %w", path, err)
	}
	publicKey, err = pair.PublicKey()
	if err != nil {
		return "", fmt.Errorf("read seed %s: %w", path, err)
	}
	if !nkeys.IsValidPublicUserKey(publicKey) {
		return "", fmt.Errorf("read seed %s: it is not a seed of a user key", path)
	}
	return publicKey, nil
}

// writeSecret creates a file atomically: even after a power failure it is
// either complete or absent. An existing file is kept.
func writeSecret(path string, content []byte) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".seed-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
